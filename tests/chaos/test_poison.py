"""Entries that cannot be processed: they take nobody along, and what was accepted returns until it can be."""

import time
from collections.abc import Callable, Mapping
from uuid import UUID

import pytest

from shared.contracts import Envelope, IntentMessage, Kind
from shared.ids import IntentId, Phase, intent_id, partition_of, transfer_id
from shared.operations import Metadata, P2PTransfer
from shared.process import EXIT_INVARIANT
from shared.streams import keys
from shared.streams.client import command
from shared.streams.dead_letters import DeadLetterRecord, Reason, read_page
from shared.streams.dead_letters import discard as take_away
from tests.chaos import length
from tests.chaos.clock import lapse
from tests.chaos.frozen import holder_of, stop_orchestrators, wake_orchestrators
from tests.chaos.journal import Journal, Story
from tests.chaos.load import SETTLED, Load, Wallets, pay, payer_of
from tests.chaos.mesh import PARTITIONS, SERVICE_KEY, Mesh
from tests.chaos.reckoning import reckon, what_is_left
from tests.chaos.stumbling import FAILS, HANGS, end_sleepers, somebody_sleeps, stumbling
from tests.waiting import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.parametrize("ledger_kind", length.kinds(), indirect=True, scope="package"),
]

NEIGHBOURS = 40
"""How many intents go before the poison, and how many after it, into the same batches."""
CRASHES_MAX = 6
"""One in company and three alone; a few more where a heartbeat came late and two processes had it at once."""


@pytest.fixture
def quick_load(load: Load) -> Load:
    """A client that waits for nobody's decision."""
    load.wait_share = 0.0
    return load


async def test_intent_that_crashes_its_process_takes_no_neighbour_along(
    mesh: Mesh, quick_load: Load, journal: Journal, tell: Callable[[object], None]
) -> None:
    """Each process that touches it is killed; only it is dead-lettered, and it settles once that is over."""
    load = quick_load
    poison = poisonous(journal)
    letters: list[DeadLetterRecord] = []
    crashes = 0
    async with stumbling(mesh.stores, key=poison.key, deed=HANGS):
        await among_neighbours(mesh, load, poison)
        while not (letters and await neighbours_done(mesh)):
            letters = letters or await dead_letters(mesh)
            assert letters or crashes <= CRASHES_MAX, "it is never given up"
            if await somebody_sleeps(mesh.stores):
                crashes += await crash_holder(mesh, poison)
            await lapse(0.02)
    assert [(letter.id, letter.reason) for letter in letters] == [(*poison.ids, Reason.MAX_DELIVERIES)]
    assert mesh.kills.total() == crashes
    tell(f"crashed {crashes} processes; {await reckon(mesh, journal)}")


async def test_intent_that_fails_is_dead_lettered_alone_and_returns_until_it_settles(
    mesh: Mesh, quick_load: Load, journal: Journal, tell: Callable[[object], None]
) -> None:
    """An error that is no outage counts against its entry alone; no process ends, and the sweeper brings it back."""
    load = quick_load
    poison = poisonous(journal)
    async with stumbling(mesh.stores, key=poison.key, deed=FAILS):
        await among_neighbours(mesh, load, poison)
        letter = await redriven(mesh, times=2)
        assert letter.reason == Reason.PERMANENT
        assert {letter.id} == poison.ids
        await until(lambda: neighbours_done(mesh), "the neighbours to be settled", timeout_s=30)
    assert not mesh.exits
    tell(f"dead-lettered {letter.replay_count + 1} times, then settled; {await reckon(mesh, journal)}")


async def test_planned_intent_that_fails_comes_back_until_its_decision_is_recorded(
    mesh: Mesh, quick_load: Load, journal: Journal, tell: Callable[[object], None]
) -> None:
    """Its plan is stored and its money moved: its entry and every reminder of it fail, and none is lost or repeated."""
    load = quick_load
    poison = poisonous(journal)
    async with stumbling(mesh.stores, key=poison.key, deed=FAILS, at="decision"):
        await among_neighbours(mesh, load, poison)
        await redriven(mesh, times=2)
        letters = await until(lambda: reminders_dead(mesh), "a reminder to be dead-lettered too", timeout_s=30)
        assert {letter.reason for letter in letters} == {Reason.PERMANENT}
        assert {letter.id for letter in letters} == poison.ids
        (intent,) = poison.ids
        assert await mesh.stores.pool.fetchval("SELECT state FROM pm.intent WHERE id = $1", UUID(intent)) == "VALIDATED"
        first_leg = transfer_id(IntentId(UUID(intent)), attempt=1, phase=Phase.MOVE, leg=0)
        assert await mesh.stores.ledger().lookup_transfers([first_leg]), "nothing has moved yet"
    assert not mesh.exits
    tell(f"dead-lettered as {len(letters)} entries, then settled; {await reckon(mesh, journal)}")


async def test_entry_that_no_database_takes_is_kept_untouched(
    mesh: Mesh, quick_load: Load, journal: Journal, tell: Callable[[object], None]
) -> None:
    """A NUL character in a text, and bytes that are no message: both are kept as they came, everything else settles."""
    load = quick_load
    wallets = Wallets.of(journal.tag)
    foreign = message(journal, {**operation_of(wallets), "metadata": Metadata(tags=("nul \x00",))})
    noise = {b"\xff\x00": b"not a message", b"v": b"one"}
    stop_orchestrators(mesh)
    await load.burst(NEIGHBOURS)
    await plant(mesh, foreign.fields(), partition=0)
    await plant(mesh, noise, partition=1)
    await load.burst(NEIGHBOURS)
    wake_orchestrators(mesh)
    await redriven(mesh, times=1)
    letters = await until(lambda: both_dead(mesh), "both to be dead-lettered")
    assert {letter.reason for letter in letters} == {Reason.PERMANENT, Reason.DECODE}
    for letter in letters:
        planted = noise if letter.reason == Reason.DECODE else foreign.fields()
        assert planted.items() <= letter.fields.items()
        await discard(mesh, letter.reason)
    assert not mesh.exits
    tell(await reckon(mesh, journal))


async def test_entry_that_contradicts_the_books_is_quarantined_before_its_process_ends(
    mesh: Mesh, quick_load: Load, journal: Journal, tell: Callable[[object], None]
) -> None:
    """Another request under a settled intent's id: one process ends with 70, the rest settles, nobody redrives it."""
    load = quick_load
    settled = await load.post(operation_of(Wallets.of(journal.tag)), wait_s=5)
    (taken,) = settled.ids
    clash = message(journal, {**operation_of(Wallets.of(journal.tag)), "amount_minor": 7}, taken)
    stop_orchestrators(mesh)
    await load.burst(NEIGHBOURS)
    await plant(mesh, clash.fields(), partition=partition_of(IntentId(UUID(taken))))
    await load.burst(NEIGHBOURS)
    wake_orchestrators(mesh)
    (letter,) = await until(lambda: dead_letters(mesh), "the contradiction to be dead-lettered")
    await lapse(2.0)  # several sweeps
    assert await dead_letters(mesh) == [letter]
    assert (letter.reason, letter.replay_count) == (Reason.INVARIANT, 0)
    assert [end.code for end in mesh.excuse(EXIT_INVARIANT)] == [EXIT_INVARIANT]
    key_taken = "SELECT count(*) FROM pm.idempotency_key WHERE key LIKE $1 || '-foreign-%'"
    assert await mesh.stores.pool.fetchval(key_taken, journal.tag) == 0, "the contradiction has left a trace"
    await discard(mesh, Reason.INVARIANT)
    tell(await reckon(mesh, journal))


def poisonous(journal: Journal) -> Story:
    """Begin the story of an intent that will be accepted as any other."""
    operation = operation_of(Wallets.of(journal.tag))
    return journal.begin(operation, user_id=payer_of(operation), lands=SETTLED)


def operation_of(wallets: Wallets) -> dict[str, object]:
    """A payment that settles unless something is in its way."""
    return pay(wallets.rich[0], wallets.rich[1], 100)


async def among_neighbours(mesh: Mesh, load: Load, poison: Story) -> None:
    """Have the poison accepted in the midst of others, so that it shares its first batch with them."""
    stop_orchestrators(mesh)
    await load.burst(NEIGHBOURS)
    await load.insist(poison)
    await load.burst(NEIGHBOURS)
    wake_orchestrators(mesh)


async def crash_holder(mesh: Mesh, poison: Story) -> int:
    """Kill the process that has the poison in its hands; return how many were killed."""
    holder = await holder_of(mesh, poison.ids)
    if holder is None:
        return 0
    mesh.kill(holder)
    await end_sleepers(mesh.stores)
    return 1


def message(journal: Journal, operation: Mapping[str, object], intent: str | None = None) -> Envelope:
    """An entry as a gateway might write it, if it did not know better; under a fresh id unless one is given."""
    chosen = intent or str(intent_id(time.time_ns() // 1000, 0, time.time_ns()))
    body = IntentMessage(
        service_key=SERVICE_KEY,
        idempotency_key=f"{journal.tag}-foreign-{chosen}",
        fingerprints=("none:00",),
        operation=P2PTransfer.model_validate(operation),
    )
    return Envelope(Kind.INTENT, chosen, body.model_dump_json(exclude_none=True).encode())


async def plant(mesh: Mesh, fields: Mapping[bytes, bytes], *, partition: int) -> None:
    """Write an entry into a stream past every door."""
    words = [word for pair in fields.items() for word in pair]
    await command(mesh.stores.redis, "XADD", keys.intents(partition), "*", *words)


async def dead_letters(mesh: Mesh) -> list[DeadLetterRecord]:
    """Return every dead letter of the mesh."""
    return [
        letter
        for partition in range(PARTITIONS)
        for letter in await read_page(mesh.stores.redis, keys.intents(partition))
    ]


async def both_dead(mesh: Mesh) -> list[DeadLetterRecord]:
    """Return the dead letters when there are two."""
    letters = await dead_letters(mesh)
    return letters if len(letters) == 2 else []


async def reminders_dead(mesh: Mesh) -> list[DeadLetterRecord]:
    """Return the dead letters if one of them is what the sweeper wrote to remind of a planned intent."""
    letters = await dead_letters(mesh)
    return letters if any(letter.kind == Kind.RESUME for letter in letters) else []


async def redriven(mesh: Mesh, *, times: int) -> DeadLetterRecord:
    """Wait for a dead letter that has come back so often."""

    async def returned() -> list[DeadLetterRecord]:
        return [letter for letter in await dead_letters(mesh) if letter.replay_count >= times]

    return (await until(returned, f"a dead letter redriven {times} times", timeout_s=30))[0]


async def discard(mesh: Mesh, reason: str) -> None:
    """Throw a planted dead letter away, as only a test may; the sweeper may have it in its hands at the moment."""

    async def thrown_away() -> bool:
        for letter in await dead_letters(mesh):
            if letter.reason == reason and await take_away(mesh.stores.redis, letter.src, letter.entry_id):
                return True
        return False

    await until(thrown_away, f"a dead letter ({reason}) to be there", timeout_s=30)


async def neighbours_done(mesh: Mesh) -> bool:
    """Say whether nothing but one accepted intent, the poison, is under way, wherever it is at the moment."""
    left = await what_is_left(mesh.stores)
    return left["open intents"] == 0 and left["accepted markers"] == 1
