"""Rules at the door: what an operation would come to, what is left of allowances, and who refused and why.

Intents that are carried out here are carried out by a real intake over the same stores.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from gateway.rule_views import DryRunView, LimitsView
from gateway.views import IntentView
from shared.db.migrations import migrate
from shared.ledger.open import open_ledger
from shared.ledger.postgres import MIGRATIONS
from shared.plans import read_plan
from shared.streams.verdicts import Entry
from tests.integration.gateway.psps import IPPS, OPERATIONS, QP, TOPUP, WITHDRAWAL, pause, register
from tests.integration.gateway.stand import ADJUSTMENT, FREE, SECRET, TRANSFER, Accepted, Answer, Client, Stand
from tests.integration.gateway.test_events import following
from tests.integration.orchestrator.ruled import fee, limit, velocity
from tests.integration.orchestrator.saga import Saga
from tests.integration.orchestrator.world import World
from tests.waiting import until

P2P, OUT, IN = "P2P_TRANSFER", "IPPS_WITHDRAWAL", "QP_TOPUP"
ALICE, BOB = "user:alice:THB", "user:bob:THB"
RUB = "user:alice:RUB"
LABELLED = {**TRANSFER, "metadata": {"tags": ["vip"], "labels": {"tier": "gold"}}}


@pytest_asyncio.fixture
async def world(stand: Stand, database: str) -> AsyncIterator[World]:
    """An orchestrator's handler over the stand's stores, two funded wallets, both PSPs, and a route to each."""
    await migrate(database, directory=MIGRATIONS)
    ledger = open_ledger(pool=stand.pool, tigerbeetle_addresses=None)
    made = World(stand.pool, ledger)
    await Saga(made).open(
        "transit:THB", "equity:THB", "transit:RUB", "equity:RUB", "psp:ipps:THB", "psp:qp:RUB", "suspense:qp:RUB"
    )
    await made.fund({ALICE: 1_000_000, BOB: 0, RUB: 0})
    await register(stand, IPPS, QP)
    yield made
    await ledger.close()


async def dry_run(client: Client, operation: Mapping[str, Any], *, user_id: str = "alice", **named: Any) -> Answer:
    """What the gateway says an operation would come to."""
    answer = await client.send("POST", "/v1/fees/dry-run", json.dumps(operation).encode(), user_id=user_id, **named)
    if answer.status == 200:
        DryRunView.model_validate(answer.document)
    return answer


async def told(client: Client, operation: Mapping[str, Any]) -> dict[str, Any]:
    """The same, where nothing is wrong with the request."""
    answer = await dry_run(client, operation)
    assert answer.status == 200, answer.document
    return answer.document


async def allowances(client: Client, name: str = ALICE) -> dict[str, Any]:
    """What is left, by rule."""
    answer = await client.send("GET", f"/v1/accounts/{name}/limits")
    assert answer.status == 200, answer.document
    LimitsView.model_validate(answer.document)
    assert answer.document["name"] == name
    return {one["rule"]: one for one in answer.document["limits"]}


async def carried_out(client: Client, stand: Stand, world: World, operation: Mapping[str, Any]) -> Answer:
    """Post an intent, have it carried out as far as it goes without a PSP, and read it."""
    posted = await client.post(operation)
    assert posted.status == 202, posted.document
    await carry_out(stand, world, await accepted(stand, posted))
    answer = await client.get(posted.document["id"])
    IntentView.model_validate(answer.document)
    return answer


async def accepted(stand: Stand, posted: Answer) -> Accepted:
    """The entry of an intent."""
    (entry,) = [entry for entry in await stand.entries() if entry.intent == posted.intent]
    return entry


async def carry_out(stand: Stand, world: World, entry: Accepted) -> None:
    """Give an entry to an orchestrator, and take it off its stream."""
    await world.handle(Entry("intents.{i0}", entry.entry_id, entry.envelope.fields(), 1))
    await stand.finish(entry)


def used(rule: Mapping[str, Any]) -> list[tuple[str, int, int, int]]:
    """What is used of each allowance of a rule, reserved and left."""
    return [(one["measure"], one["used"], one["reserved"], one["left"]) for one in rule["allowances"]]


@pytest.mark.parametrize("operation", [LABELLED, ADJUSTMENT, *OPERATIONS], ids=lambda body: str(body["operation_type"]))
async def test_a_dry_run_tells_what_is_then_carried_out_and_moves_nothing(
    stand: Stand, world: World, operation: dict[str, Any]
) -> None:
    """Figure by figure; neither stream nor database nor ledger has heard of it."""
    for ccy in ("THB", "RUB"):
        await fee(stand.pool, f"pre-{ccy.lower()}", [P2P, OUT, "THAI_QR_PAY", IN], ccy, bps=50)
        await fee(stand.pool, f"post-{ccy.lower()}", [P2P, OUT, "THAI_QR_PAY", IN], ccy, timing="POST", fixed_minor=7)
        await limit(stand.pool, f"day-{ccy.lower()}", [P2P, OUT, "THAI_QR_PAY", IN], ccy, daily_max_minor=50_000)
    gold = 'has(metadata.tier) && metadata.tier == "gold"'
    await fee(stand.pool, "gold", P2P, "THB", condition=gold, tags=["vip"], fixed_minor=1)
    async with stand.gateway() as client:
        before = await balances(world)
        document = await told(client, operation)
        assert await stand.entries() == []
        assert await balances(world) == before
        assert await stand.pool.fetchval("SELECT count(*) FROM pm.limit_usage") == 0
        assert document["refusal"] is None
        stored = await carried_out(client, stand, world, operation)
    plan = read_plan(
        await stand.pool.fetchval(
            "SELECT plan FROM pm.intent_attempt WHERE intent_id = $1", UUID(stored.document["id"])
        )
    )
    assert document["channel"] == plan.channel
    assert document["fees"] == [
        {
            "rule": one.rule, "version": one.version, "timing": one.timing, "amount_minor": one.amount_minor,
            "beneficiary": one.beneficiary,
        }
        for one in plan.fees
    ]  # fmt: skip
    assert len(plan.fees) == {"ADJUSTMENT": 0, P2P: 3}.get(operation["operation_type"], 2)
    assert document["psp_amount_minor"] == (plan.dispatch.amount_minor if plan.dispatch else None)
    assert [(one["units"], one["cap"], one["left"]) for one in document["limits"]] == [
        (use.units, use.cap, use.cap) for use in plan.limits
    ]


async def balances(world: World) -> list[int]:
    """What the ledger says."""
    return [await world.ledger_balance(name) for name in (ALICE, BOB, RUB, "transit:THB")]


async def test_what_is_asked_of_a_psp_and_what_each_side_pays_and_gets(stand: Stand, world: World) -> None:
    """Money out: the PSP pays what is left after the POST fee. Money in: it is paid amount and PRE fee in one sum."""
    assert world.pool is stand.pool
    await fee(stand.pool, "pre", [P2P, OUT], "THB", fixed_minor=0, bps=100)
    await fee(stand.pool, "post", [P2P, OUT], "THB", timing="POST", fixed_minor=30)
    await fee(stand.pool, "in-pre", IN, "RUB", fixed_minor=12)
    await fee(stand.pool, "in-post", IN, "RUB", timing="POST", fixed_minor=5)
    async with stand.gateway() as client:
        documents = [await told(client, body) for body in (TRANSFER, WITHDRAWAL, TOPUP)]
    sides = [
        (one["payer_pays_minor"], one["payee_gets_minor"], one["psp_amount_minor"], one["channel"])
        for one in documents
    ]  # fmt: skip
    assert sides == [
        (1_010, 970, None, "INTERNAL_P2P"),
        (25_250, 24_970, 24_970, "IPPS"),
        (30_522, 30_505, 30_522, "QP"),
    ]


async def test_what_the_saga_would_refuse_is_told(stand: Stand, world: World) -> None:
    """In a 200: no route, an unknown wallet, a rule at fault, more than may go at once, a paused PSP."""
    assert world.pool is stand.pool
    await fee(stand.pool, "bad", P2P, "THB", condition="1 / (amount - 500) > 0")
    await limit(stand.pool, "once", P2P, "THB", transaction_max_minor=5_000)
    await limit(stand.pool, "day", P2P, "THB", daily_max_count=0, tags=["shut"])
    await pause(stand, "ipps")
    bodies = [
        {**TRANSFER, "from_account": "user:alice:USD", "to_account": "user:bob:USD", "currency": "USD"},
        {**TRANSFER, "to_account": "user:nobody:THB"},
        {**TRANSFER, "amount_minor": 500},
        {**TRANSFER, "amount_minor": 5_001},
        {**TRANSFER, "metadata": {"tags": ["shut"]}},
        WITHDRAWAL,
        {**TOPUP, "amount_minor": 1},
    ]
    await stand.pool.execute("UPDATE pm.payment_route SET currency = 'THB' WHERE operation_type = 'P2P_TRANSFER'")
    async with stand.gateway() as client:
        documents = [await told(client, body) for body in bodies]
    refusals = [document["refusal"] for document in documents]
    assert [(refusal["code"], refusal["retry"]) for refusal in refusals] == [
        ("no_route", "new_key"),
        ("unknown_account", "new_key"),
        ("fee_rule_failed", "new_key"),
        ("limit_exceeded", "new_key"),
        ("limit_exceeded", "new_key"),
        ("psp_unavailable", "new_key"),
        ("amount_out_of_range", "new_key"),
    ]
    assert refusals[2]["rule"] == {"name": "bad", "version": 1}
    assert "bad version 1: a division by zero" in refusals[2]["detail"]
    once, day = refusals[3]["limit"], refusals[4]["limit"]
    assert (once["rule"], once["period"], once["cap"], once["resets_at"]) == ("once", "transaction", 5_000, None)
    assert (day["rule"], day["measure"], day["cap"]) == ("day", "count", 0)
    assert day["resets_at"].endswith("T00:00:00Z")
    assert documents[5]["passed_over"] == [{"channel": "IPPS", "reason": "paused"}]
    assert documents[5]["channel"] is None
    assert documents[1]["payer_pays_minor"] == 1_000


async def test_a_dry_run_is_read_and_allowed_like_a_post(stand: Stand, world: World) -> None:
    """The same fault, by the same code; only a post has to have an idempotency key."""
    assert world.pool is stand.pool
    await stand.add_key("till", SECRET, {**FREE, "operations": [P2P], "accounts": ["merchant:shop:*"]})
    faulty: list[tuple[dict[str, Any], str]] = [
        ({**TRANSFER, "unknown": 1}, "unknown_field"),
        ({**TRANSFER, "amount_minor": 10.5}, "float_not_allowed"),
        ({**TRANSFER, "amount_minor": 0}, "amount_out_of_range"),
        ({**TRANSFER, "currency": "RUB"}, "currency_mismatch"),
        ({**TRANSFER, "to_account": ALICE}, "self_transfer"),
        ({**TRANSFER, "from_account": "user:bob:THB", "to_account": ALICE}, "foreign_user"),
        ({**TRANSFER, "metadata": {"labels": {"Tier": "gold"}}}, "wrong_type"),
        ({**WITHDRAWAL, "proxy": "1"}, "proxy_length"),
        ({**ADJUSTMENT, "amount_minor": 5_000}, "approval_required"),
        ({**ADJUSTMENT, "amount_minor": 50_000}, "amount_not_permitted"),
        ({"operation_type": "GIFT"}, "unknown_operation"),
    ]
    async with stand.gateway() as client:
        for body, code in faulty:
            ran, posted = await dry_run(client, body), await client.post(body)
            assert (ran.status, ran.code) == (posted.status, posted.code)
            assert ran.code == code
        till = Client(client.url, client.port, client.session, key="till")
        for body, code in ((TRANSFER, "account_not_permitted"), (WITHDRAWAL, "operation_not_permitted")):
            assert ((await dry_run(till, body)).code, (await till.post(body)).code) == (code, code)
        unsigned = await client.raw("POST", "/v1/fees/dry-run", json.dumps(TRANSFER).encode(), {})
        assert (unsigned.status, unsigned.code) == (401, "signature_missing")
        assert (await dry_run(client, TRANSFER, user_id="")).code == "foreign_user"
        assert (await dry_run(client, TRANSFER)).status == 200
    assert await stand.entries() == []


async def test_an_allowance_shrinks_as_intents_are_carried_out(stand: Stand, world: World) -> None:
    """Used once settled, reserved while held; the dry run tells the same, and foresees the refusal word for word."""
    await limit(
        stand.pool, "day", [P2P, OUT], "THB", daily_max_minor=30_000, daily_max_count=3, monthly_max_minor=90_000
    )
    await limit(stand.pool, "in", IN, "RUB", daily_max_minor=5)
    await limit(stand.pool, "once", P2P, "THB", transaction_max_minor=77_000, tags=["vip"])
    async with stand.gateway() as client:
        fresh = await allowances(client)
        assert set(fresh) == {"day", "once"}
        assert (fresh["once"]["transaction_max_minor"], fresh["once"]["tags"]) == (77_000, ["vip"])
        assert fresh["once"]["allowances"] == []
        assert (fresh["day"]["version"], fresh["day"]["operations"]) == (1, [P2P, OUT])
        assert used(fresh["day"]) == [("amount", 0, 0, 30_000), ("count", 0, 0, 3), ("amount", 0, 0, 90_000)]
        await carried_out(client, stand, world, TRANSFER)
        held = await carried_out(client, stand, world, WITHDRAWAL)
        assert held.document["state"] == "AUTHORIZED"
        day = (await allowances(client))["day"]
        assert used(day) == [("amount", 1_000, 25_000, 4_000), ("count", 1, 1, 1), ("amount", 1_000, 25_000, 64_000)]
        last = {**TRANSFER, "amount_minor": 4_001}
        document = await told(client, last)
        assert [one["would_exceed"] for one in document["limits"]] == [True, False, False]
        assert [(one["used"], one["reserved"], one["left"]) for one in document["limits"]] == [
            (one["used"], one["reserved"], one["left"]) for one in day["allowances"]
        ]
        refused = (await carried_out(client, stand, world, last)).document
        assert (refused["state"], refused["funds"]) == ("REJECTED", "none")
        assert refused["error"] == document["refusal"]
        assert refused["error"]["limit"]["left"] == 4_000
        assert used((await allowances(client))["day"])[0] == ("amount", 1_000, 25_000, 4_000)
        # Somebody else's allowance is their own; the same owner's other wallet has others.
        assert used((await allowances(client, BOB))["day"])[0] == ("amount", 0, 0, 30_000)
        assert set(await allowances(client, RUB)) == {"in"}


async def test_a_cap_that_is_changed_shows_within_a_second_and_never_less_than_nothing_left(
    stand: Stand, world: World
) -> None:
    """Lowered below what was used, nothing is left; the version says which rule is meant."""
    await limit(stand.pool, "day", P2P, "THB", daily_max_minor=30_000)
    async with stand.gateway() as client:
        await carried_out(client, stand, world, TRANSFER)
        await limit(stand.pool, "day", P2P, "THB", daily_max_minor=600)
        day = await until(lambda: _at_version(client, 2), "the new cap", timeout_s=5)
        assert used(day) == [("amount", 1_000, 0, 0)]
        assert (await told(client, TRANSFER))["refusal"]["limit"]["cap"] == 600


async def _at_version(client: Client, version: int) -> dict[str, Any] | None:
    rule: dict[str, Any] = (await allowances(client))["day"]
    return rule if rule["version"] == version else None


async def test_allowances_are_shown_to_whoever_may_see_the_balance(stand: Stand, world: World) -> None:
    """And to nobody else."""
    assert world.pool is stand.pool
    await limit(stand.pool, "day", P2P, "THB", daily_max_minor=1)
    await stand.add_key("till", SECRET, {**FREE, "accounts": ["merchant:shop:*"]})
    async with stand.gateway() as client:
        till = Client(client.url, client.port, client.session, key="till")
        for asking, name, user_id in (
            (client, BOB, "alice"), (till, BOB, ""), (client, "user:nobody:THB", ""), (client, "transit:THB", ""),
            (client, "nonsense", ""), (client, ALICE, "alice"),
        ):  # fmt: skip
            balance, limits = [
                await asking.send("GET", f"/v1/accounts/{name}/{tail}", user_id=user_id)
                for tail in ("balance", "limits")
            ]
            assert (limits.status, limits.code) == (balance.status, balance.code)
        assert set(await allowances(client)) == {"day"}
        unknown = await client.send("GET", f"/v1/accounts/{ALICE}/limits?month=1")
        assert (unknown.status, unknown.code) == (400, "bad_parameter")


async def test_who_refused_is_told_wherever_the_intent_is(stand: Stand, world: World) -> None:
    """In its document and to whoever follows it; a limit, a rule at fault, or a velocity rule."""
    await limit(stand.pool, "day", P2P, "THB", daily_max_minor=100)
    await fee(stand.pool, "bad", P2P, "THB", condition="1 / (amount - 50) > 0")
    await velocity(stand.pool, "fast", P2P, "THB", max_count=2)
    async with stand.gateway() as client:
        limited = (await carried_out(client, stand, world, TRANSFER)).document
        faulty = (await carried_out(client, stand, world, {**TRANSFER, "amount_minor": 50})).document
        fast = (await carried_out(client, stand, world, {**TRANSFER, "amount_minor": 1})).document
        assert [one["error"]["code"] for one in (limited, faulty, fast)] == [
            "limit_exceeded", "fee_rule_failed", "velocity_exceeded",
        ]  # fmt: skip
        assert (limited["error"]["limit"]["rule"], limited["error"]["limit"]["cap"]) == ("day", 100)
        assert [one["error"].get("rule") for one in (limited, faulty, fast)] == [
            None, {"name": "bad", "version": 1}, {"name": "fast", "version": 1},
        ]  # fmt: skip
        for document in (limited, faulty, fast):
            async with following(client, document["id"]) as followed:
                await until(lambda: followed.ended, "the end")
            assert followed.events[-1][2]["error"] == document["error"]


async def test_an_alias_tells_what_refused_the_first_one(stand: Stand, client: Client) -> None:
    """And whether that is watched: it answers with the first one's state in everything."""
    limit_data = {
        "rule": "day", "version": 1, "measure": "amount", "period": "2026-01-31", "cap": 5, "left": 2,
        "resets_at": "2026-02-01T00:00:00Z",
    }  # fmt: skip
    first, second = [await accepted(stand, await client.post()) for _ in range(2)]
    error = ("limit_exceeded", "too much")
    await stand.record(
        first, "REJECTED", funds="none", error=error, error_data={"limit": limit_data}, requires_monitoring=True
    )
    await stand.record(second, "DUPLICATE", funds="none", alias_of=first.intent)
    answer = await client.get(second.envelope.id)
    assert (answer.document["id"], answer.document["error"]["limit"]) == (first.envelope.id, limit_data)
    assert answer.document["operation"]["requires_monitoring"] is True
    IntentView.model_validate(answer.document)


async def test_the_timeline_tells_the_rules_in_sentences(stand: Stand, world: World) -> None:
    """Fees and allowances of the plan, who refused and what was left, and who wants it watched."""
    await stand.pool.execute("UPDATE pm.service_key SET permissions = $1", json.dumps(FREE | {"timeline": True}))
    await fee(stand.pool, "pre", P2P, "THB", fixed_minor=25)
    await limit(stand.pool, "day", P2P, "THB", daily_max_minor=1_500, daily_max_count=9)
    await velocity(stand.pool, "watch", P2P, "THB", max_count=1, action="monitor")
    async with stand.gateway() as client:
        texts = []
        for _ in range(2):
            intent = (await carried_out(client, stand, world, TRANSFER)).document["id"]
            timeline = await client.send("GET", f"/v1/intents/{intent}/timeline")
            texts.append(" ".join(event["text"] for event in timeline.document["events"]))
    paid, refused = texts
    assert "; fees: 0.25 THB to fee:pre:THB on top by pre version 1; allowances: 10.00 THB of 15.00 THB in 20" in paid
    assert ", 1 intents of 9 intents in 20" in paid
    assert "watch" not in paid
    assert (
        "CREATED → VALIDATED: its whole plan is written down, no money touched; to be watched, by watch version 1"
        in refused
    )
    assert "because of limit_exceeded by day version 1 (5.00 THB left of 15.00 THB in 20" in refused
    assert ", anew at 20" in refused


async def test_a_velocity_rule_marks_what_its_caller_did_not(stand: Stand, world: World) -> None:
    """The document says so, whether it is posted, replayed or read."""
    await velocity(stand.pool, "watch", P2P, "THB", max_count=1, action="monitor")
    async with stand.gateway() as client:
        plain = await carried_out(client, stand, world, TRANSFER)
        pending = asyncio.create_task(client.post(key="k", wait_s=20))
        await until(stand.entries, "the entry")
        entry = await stand.only_entry()
        await carry_out(stand, world, entry)
        assert entry.message.waiter is not None
        await stand.hint(entry.message.waiter, entry.envelope.id, "SETTLED")
        answers = [await pending, await client.post(key="k"), await client.get(entry.envelope.id)]
    assert plain.document["operation"]["requires_monitoring"] is False
    for answer in answers:
        assert answer.document["state"] == "SETTLED"
        assert answer.document["operation"]["requires_monitoring"] is True
        IntentView.model_validate(answer.document)


async def test_labels_are_shown_as_they_were_posted(stand: Stand, world: World) -> None:
    """Rules ask for them by name; they are nobody's personal data."""
    async with stand.gateway() as client:
        posted = await client.post(LABELLED)
        await carry_out(stand, world, await accepted(stand, posted))
        read = await client.get(posted.document["id"])
    assert posted.document["operation"]["metadata"] == {"tags": ["vip"], "labels": {"tier": "gold"}}
    assert read.document["operation"]["metadata"] == posted.document["operation"]["metadata"]


async def test_a_rule_that_changes_is_told_without_a_restart(stand: Stand, world: World) -> None:
    """By the next dry run, within a second."""
    assert world.pool is stand.pool
    async with stand.gateway() as client:
        assert (await told(client, TRANSFER))["fees"] == []
        await fee(stand.pool, "new", P2P, "THB", fixed_minor=9)
        await until(lambda: _costs(client, 1_009), "the new fee", timeout_s=5)


async def _costs(client: Client, minor: int) -> bool:
    paid: int = (await told(client, TRANSFER))["payer_pays_minor"]
    return paid == minor
