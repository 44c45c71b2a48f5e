"""The proof: what the client knows, what the database says and what the ledger holds, compared to the last unit.

Everything expected is worked out from the client's journal alone; the mesh's own code is asked only for account ids,
transfer ids and, at the very end, for its own invariants.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import asyncpg
import tigerbeetle as tb

from ops.invariants.run import check_invariants
from ops.stores import OpenStores
from shared.ids import IntentId, Phase, account_id, transfer_id
from shared.streams import keys
from tests.chaos.journal import Journal, Operation, Story
from tests.chaos.mesh import PARTITIONS, SERVICE_KEY, Mesh
from tests.waiting import until

DRAIN_TIMEOUT_S: Final = 60.0
ACCEPTED_MIN: Final = 60
"""A reckoning over fewer accepted intents than this proves nothing: the load has not run."""

_FAULTS_SHOWN: Final = 20
_PAGE: Final = 2000
_READS_AT_ONCE: Final = 32
_EVENTS: Final = {"SETTLED": (3, 3), "REJECTED": (1, 2), "DUPLICATE": (1, 1)}
"""How many events an intent of each state has at least and at most."""
_ROWS: Final = """
SELECT i.id, i.idempotency_key, i.state, i.alias_of, i.error_code, i.version,
       (SELECT count(*) FROM pm.intent_event AS e WHERE e.intent_id = i.id) AS events,
       (SELECT count(*) FROM pm.tx_history AS h WHERE h.intent_id = i.id) AS movements
FROM pm.intent AS i
WHERE i.service_key_id = $1 AND i.idempotency_key LIKE $2
"""
_BALANCES: Final = """
SELECT m.name, coalesce(b.posted, 0)::text AS posted
FROM pm.tb_account_map AS m LEFT JOIN pm.account_balance AS b ON b.account_id = m.id WHERE m.name = ANY ($1)
"""


@dataclass(slots=True)
class Reckoning:
    """What was compared, and every difference."""

    accepted: int = 0
    states: Counter[str] = field(default_factory=Counter)
    moved_minor: int = 0
    refused: int = 0
    cut_off: int = 0
    put_off: int = 0
    faults: list[str] = field(default_factory=list)

    def expect(self, holds: object, fault: str) -> None:
        """Note a difference unless it holds."""
        if not holds:
            self.faults.append(fault)

    def __str__(self) -> str:
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        return (
            f"{self.accepted} intents accepted ({states}), {self.refused} requests refused, {self.cut_off} cut off and "
            f"{self.put_off} put off and asked again, {self.moved_minor} moved, {len(self.faults)} differences"
        )


async def reckon(
    mesh: Mesh,
    journal: Journal,
    *,
    dead_letters: int = 0,
    accepted_min: int = ACCEPTED_MIN,
    killed: Collection[str] = (),
) -> Reckoning:
    """Wait until the mesh has drained, compare everything, and vouch for the mesh.

    Args:
        mesh: the mesh.
        journal: what the client knows.
        dead_letters: how many are to be left.
        accepted_min: how many intents must have been accepted at least.
        killed: each of these must have been ended with SIGKILL at least once while it was running.

    Raises:
        AssertionError: the first differences, or what was left when time was up.
    """
    await mesh.all_up()
    await drained(mesh, dead_letters=dead_letters)
    stories = list(journal.stories.values())
    found = Reckoning(
        accepted=len(journal.ids),
        refused=sum(sum(story.refusals.values()) for story in stories),
        cut_off=sum(story.unanswered for story in stories),
        put_off=sum(story.put_off for story in stories),
    )
    found.expect(found.accepted >= accepted_min, f"no more than {found.accepted} of {accepted_min} intents accepted")
    found.faults += [f"{victim} was never killed" for victim in killed if not mesh.kills[victim]]
    found.faults += journal.faults
    found.faults += [f"an end that nobody asked for: {end}" for end in mesh.failures]
    rows = await _rows(mesh.stores, journal)
    settled = _compare_intents(found, journal, rows)
    await _compare_movements(found, mesh.stores, settled, rows)
    await _compare_balances(found, mesh.stores, settled)
    await _compare_answers(found, mesh, journal, rows)
    await _check_invariants(found, mesh.stores, nothing_open=not dead_letters)
    found.faults += [f"{story.key} was never answered" for story in stories if story.open]
    assert not found.faults, f"{found}:\n" + "\n".join(found.faults[:_FAULTS_SHOWN])
    mesh.sound = True
    return found


async def drained(mesh: Mesh, *, dead_letters: int = 0) -> None:
    """Wait until nothing is under way: no entry, nothing pending, no marker, no open intent, no (other) dead letter."""
    left: dict[str, int] = {}

    async def nothing_left() -> bool:
        left.update(await what_is_left(mesh.stores))
        return not any(count for what, count in left.items() if what != "dead letters") and (
            left["dead letters"] == dead_letters
        )

    try:
        await until(nothing_left, "a drained mesh", timeout_s=DRAIN_TIMEOUT_S)
    except AssertionError:
        markers = await _markers_left(mesh.stores)
        raise AssertionError(f"not drained after {DRAIN_TIMEOUT_S:.0f} s: {left}; markers of: {markers}") from None


async def _markers_left(stores: OpenStores) -> dict[str, str]:
    """Return some of the intents that still have their accepted marker, with the state the database knows."""
    found: dict[str, str] = {}
    for partition in range(PARTITIONS):
        async for key in stores.redis.scan_iter(match=_any_marker(partition), count=1000):
            intent = key.decode().rpartition(":")[2]
            if len(found) < _FAULTS_SHOWN:
                state = await stores.pool.fetchval("SELECT state FROM pm.intent WHERE id = $1", UUID(intent))
                found[intent] = state or "unknown to the database"
    return found


def _any_marker(partition: int) -> str:
    return keys.acc(partition, "*")


async def what_is_left(stores: OpenStores) -> dict[str, int]:
    """Count what is still under way."""
    redis = stores.redis
    left = {"entries": 0, "delayed": 0, "dead letters": 0, "counted alone": 0, "pending": 0, "accepted markers": 0}
    left["open intents"] = await stores.pool.fetchval(
        "SELECT count(*) FROM pm.intent WHERE state IN ('VALIDATED', 'AUTHORIZED', 'IN_DOUBT')"
    )
    for partition in range(PARTITIONS):
        stream = keys.intents(partition)
        left["entries"] += await redis.xlen(stream)
        left["delayed"] += await redis.zcard(keys.delay(stream))
        left["dead letters"] += await redis.xlen(keys.dlq(stream))
        left["counted alone"] += await redis.hlen(keys.solo(stream))
        left["pending"] += (await redis.xpending(stream, keys.ORCHESTRATOR_GROUP))["pending"]
        async for _ in redis.scan_iter(match=_any_marker(partition), count=1000):
            left["accepted markers"] += 1
    return left


async def _rows(stores: OpenStores, journal: Journal) -> list[asyncpg.Record]:
    return await stores.pool.fetch(_ROWS, SERVICE_KEY, f"{journal.tag}-%")


def _compare_intents(found: Reckoning, journal: Journal, rows: Sequence[asyncpg.Record]) -> dict[str, Story]:
    """Compare every story with its rows; return the settled intents, each with its story."""
    by_key: defaultdict[str, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        by_key[row["idempotency_key"]].append(row)
        found.states[row["state"]] += 1
        low, high = _EVENTS.get(row["state"], (0, -1))
        found.expect(low <= row["events"] <= high, f"{row['id']} is {row['state']} with {row['events']} events")
    for key in by_key.keys() - journal.stories.keys():
        found.faults.append(f"{key}: nobody has asked for this")
    settled: dict[str, Story] = {}
    for story in journal.stories.values():
        settled.update(_compare_story(found, story, by_key[story.key]))
    return settled


def _compare_story(found: Reckoning, story: Story, rows: Sequence[asyncpg.Record]) -> dict[str, Story]:
    recorded = {str(row["id"]): row for row in rows}
    found.expect(story.ids <= recorded.keys(), f"{story.key}: lost {sorted(story.ids - recorded.keys())}")
    if not story.forgotten:
        unheard = sorted(recorded.keys() - story.ids)
        found.expect(not unheard, f"{story.key}: {unheard} recorded, and the client was never told")
    if not story.lands:
        found.expect(not rows, f"{story.key}: had to be refused, and is recorded as {sorted(recorded)}")
        return {}
    originals = [row for row in rows if row["state"] != "DUPLICATE"]
    found.expect(len(originals) == 1, f"{story.key}: {len(originals)} intents instead of 1: {sorted(recorded)}")
    for row in originals:
        found.expect(row["state"] in story.lands, f"{story.key}: {row['state']} ({row['error_code']}), {row['id']}")
    for row in rows:
        if row["state"] == "DUPLICATE":
            alias = originals and row["alias_of"] == originals[0]["id"]
            found.expect(alias and story.forgotten, f"{story.key}: {row['id']} is an alias of {row['alias_of']}")
    return {str(row["id"]): story for row in originals if row["state"] == "SETTLED"}


async def _compare_movements(
    found: Reckoning,
    stores: OpenStores,
    settled: Mapping[str, Story],
    rows: Sequence[asyncpg.Record],
) -> None:
    """Compare the ledger's transfers, all of them, with what the settled stories ask for."""
    booked = await _booked(stores, {row["id"].int for row in rows})
    for intent, story in settled.items():
        expected = _legs(UUID(intent), story.operation)
        found.expect(booked.pop(intent, None) == expected, f"{story.key}: {intent} is not in the ledger as asked for")
        found.moved_minor += int(story.operation["amount_minor"])
    for intent, legs in booked.items():
        found.faults.append(f"{intent}: {len(legs)} transfers of an intent that moves nothing")
    movements = {str(row["id"]): row["movements"] for row in rows}
    for intent, count in movements.items():
        story_of = settled.get(intent)
        expected_count = 0 if story_of is None else len(_wallet_effects(story_of.operation))
        found.expect(count == expected_count, f"{intent}: {count} movements in the history instead of {expected_count}")


async def _booked(stores: OpenStores, intents: set[int]) -> dict[str, list[tuple[int, ...]]]:
    """Return every transfer of these intents, by intent, in the order of their ids."""
    legs: defaultdict[str, list[tuple[int, ...]]] = defaultdict(list)
    since = 0
    while True:
        page = await stores.ledger().query_transfers(
            tb.QueryFilter(
                user_data_128=0, user_data_64=0, user_data_32=0, ledger=0, code=0, timestamp_min=since,
                timestamp_max=0, limit=_PAGE, flags=tb.QueryFilterFlags.NONE,
            )
        )  # fmt: skip
        for transfer in page:
            if transfer.user_data_128 in intents:
                legs[str(UUID(int=transfer.user_data_128))].append(
                    (transfer.id, transfer.debit_account_id, transfer.credit_account_id, transfer.amount)
                )
        if len(page) < _PAGE:
            return {intent: sorted(found) for intent, found in legs.items()}
        since = page[-1].timestamp + 1


def _sides(operation: Operation) -> tuple[str, str, str]:
    """Return who pays, what lies between, and who is paid."""
    currency = operation["currency"]
    house = f"equity:{currency}"
    if operation["operation_type"] == "P2P_TRANSFER":
        payer, payee = operation["from_account"], operation["to_account"]
    elif operation["direction"] == "CREDIT":
        payer, payee = house, operation["account"]
    else:
        payer, payee = operation["account"], house
    return str(payer), f"transit:{currency}", str(payee)


def _legs(intent: UUID, operation: Operation) -> list[tuple[int, ...]]:
    payer, between, payee = (account_id(name) for name in _sides(operation))
    amount = int(operation["amount_minor"])
    first, second = (transfer_id(IntentId(intent), attempt=1, phase=Phase.MOVE, leg=leg) for leg in (0, 1))
    return [(first, payer, between, amount), (second, between, payee, amount)]


def _wallet_effects(operation: Operation) -> list[tuple[str, int]]:
    """Return what a settled operation does to each wallet, in minor units."""
    payer, _, payee = _sides(operation)
    amount = int(operation["amount_minor"])
    return [(name, change) for name, change in ((payer, -amount), (payee, amount)) if name.startswith("user:")]


async def _compare_balances(found: Reckoning, stores: OpenStores, settled: Mapping[str, Story]) -> None:
    """Compare what the journal says each wallet must hold with the ledger and with the read model."""
    expected = Counter[str]()
    for story in settled.values():
        for name, change in _wallet_effects(story.operation):
            expected[name] += change
    names = sorted(expected)
    ids = {account_id(name): name for name in names}
    ledger = {
        ids[account.id]: account.credits_posted - account.debits_posted
        for account in await _accounts(stores, list(ids))
    }
    recorded = {row["name"]: int(row["posted"]) for row in await stores.pool.fetch(_BALANCES, names)}
    for name in names:
        held, shown = ledger.get(name), recorded.get(name)
        same = held == shown == expected[name]
        found.expect(same, f"{name}: the client says {expected[name]}, the ledger {held}, the database {shown}")
    (transit,) = await _accounts(stores, [account_id("transit:THB")])
    found.expect(transit.debits_posted == transit.credits_posted, f"money is left in transit: {transit}")


async def _accounts(stores: OpenStores, ids: list[int]) -> list[tb.Account]:
    return await stores.ledger().lookup_accounts(ids)


async def _compare_answers(found: Reckoning, mesh: Mesh, journal: Journal, rows: Sequence[asyncpg.Record]) -> None:
    """Ask for every accepted intent over HTTP: it must be known, decided, and the same as in the database."""
    originals = {row["id"]: row for row in rows}
    pending = list(journal.ids)

    async def ask() -> None:
        while pending:
            intent = pending.pop()
            answer = await mesh.client.intent(intent)
            row = originals.get(UUID(intent))
            if row is not None and row["alias_of"] is not None:
                row = originals.get(row["alias_of"])
            told: tuple[Any, ...] = (answer.status, answer.document.get("id"), answer.document.get("state"))
            expected = None if row is None else (200, str(row["id"]), row["state"])
            found.expect(told == expected, f"{intent}: GET says {told}, the database {expected}")

    await asyncio.gather(*(ask() for _ in range(_READS_AT_ONCE)))


async def _check_invariants(found: Reckoning, stores: OpenStores, *, nothing_open: bool) -> None:
    """Ask the mesh's own checks, which look at all it ever did."""
    report = await check_invariants(
        ledger=stores.ledger(),
        pool=stores.pool,
        redis=stores.redis,
        begin=lambda _title, _total: lambda _count: None,
        nothing_open=nothing_open,
    )
    for check in report.checks:
        for violation in check.violations:
            found.faults.append(f"{check.name}: {violation.subject}: {violation.detail}")
