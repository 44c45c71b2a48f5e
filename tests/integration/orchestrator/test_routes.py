"""Routes: which channel is taken, which are passed over and why, and that the choice stays with the intent."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from shared.ids import IntentId
from shared.operations import IppsWithdrawal, Metadata
from shared.rules.routes import ChannelHealth
from tests.channels import PAYOUTS
from tests.integration.orchestrator.saga import Saga
from tests.integration.orchestrator.world import intent_entry, message, new_id

pytestmark = pytest.mark.asyncio
BANK = replace(PAYOUTS, psp="bank", channel="BANK")


@pytest.fixture
async def routed(saga: Saga) -> Saga:
    """Two PSPs that pay out: IPPS first, BANK where it does not take the intent on or does badly."""
    saga.world.channels.manifests = (*saga.world.channels.manifests, BANK)
    await saga.open("psp:bank:THB")
    await saga.world.pool.execute("DELETE FROM pm.payment_route WHERE operation_type = 'IPPS_WITHDRAWAL'")
    await route(saga, "first", "IPPS", priority=1, error_max_pct=20, p95_max_ms=3000)
    await route(saga, "second", "BANK", priority=2)
    return saga


async def route(saga: Saga, name: str, channel: str, **columns: object) -> None:
    """Put a route of withdrawals in force."""
    row = {"name": name, "operation_type": "IPPS_WITHDRAWAL", "currency": "THB", "channel": channel} | columns
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await saga.world.pool.execute(f"INSERT INTO pm.payment_route ({', '.join(row)}) VALUES ({places})", *row.values())


async def withdraw(saga: Saga, payer: str, *tags: str) -> IntentId:
    """A withdrawal of one baht."""
    operation = IppsWithdrawal(
        from_account=payer, amount_minor=100, currency="THB", proxy_type="MOBILE", proxy="k1:AAAA:BBBB",
        metadata=Metadata(tags=tags),
    )  # fmt: skip
    await saga.world.handle(intent_entry(message(operation), intent := new_id()))
    return intent


async def chosen(saga: Saga, intent: IntentId) -> tuple[object, object]:
    """The channel taken, and those passed over."""
    row = await saga.world.row(intent)
    plan = await saga.world.pool.fetchval("SELECT plan FROM pm.intent_attempt WHERE intent_id = $1", intent)
    return row["channel"], json.loads(plan)["route"].get("passed_over", [])


async def test_a_paused_or_broken_channel_is_passed_over_and_that_is_kept(routed: Saga, payer: str) -> None:
    """The next one carries it; with none left it is refused before anything is held."""
    assert await chosen(routed, await withdraw(routed, payer)) == ("IPPS", [])
    for reason in ("paused", "breaker_open", "outbox_full"):
        routed.world.channels.refusals = {"ipps": reason}
        assert await chosen(routed, await withdraw(routed, payer)) == ("BANK", [["IPPS", reason]])
    routed.world.channels.refusals = {"ipps": "paused", "bank": "breaker_open"}
    refused = await withdraw(routed, payer)
    row = await routed.world.row(refused)
    assert (row["state"], row["error_code"]) == ("REJECTED", "psp_unavailable")
    assert "IPPS: paused, BANK: breaker_open" in str(row["error_detail"])


@pytest.mark.parametrize(
    ("health", "reason"),
    [(ChannelHealth(error_pct=21), "fails 21%"), (ChannelHealth(p95_ms=3001), "takes 3001ms")],
)
async def test_a_channel_past_its_objective_is_passed_over(
    routed: Saga, payer: str, health: ChannelHealth, reason: str
) -> None:
    """At its objective it is still taken; past it another one is better, unless there is no other."""
    routed.world.channels.healths = {"ipps": ChannelHealth(error_pct=20, p95_ms=3000)}
    assert await chosen(routed, await withdraw(routed, payer)) == ("IPPS", [])
    routed.world.channels.healths = {"ipps": health}
    assert await chosen(routed, await withdraw(routed, payer)) == ("BANK", [["IPPS", reason]])
    routed.world.channels.refusals = {"bank": "paused"}
    assert await chosen(routed, await withdraw(routed, payer)) == ("IPPS", [["BANK", "paused"]])


async def test_tags_choose_a_route_of_their_own(routed: Saga, payer: str) -> None:
    """A route with tags is for intents that carry them all."""
    await route(routed, "vip", "BANK", priority=0, tags=["vip", "fast"])
    channels = [
        (await chosen(routed, await withdraw(routed, payer, *tags)))[0] for tags in ((), ("vip",), ("fast", "x", "vip"))
    ]
    assert channels == ["IPPS", "IPPS", "BANK"]


async def test_routes_of_one_priority_share_by_weight(routed: Saga) -> None:
    """Three to one, by the intents' own ids."""
    payer = routed.world.wallet("rich")
    await routed.world.fund({payer: 100_000})
    await routed.world.pool.execute("UPDATE pm.payment_route SET priority = 1, weight = 3 WHERE name = 'first'")
    await routed.world.pool.execute("UPDATE pm.payment_route SET priority = 1 WHERE name = 'second'")
    taken = Counter([(await chosen(routed, await withdraw(routed, payer)))[0] for _ in range(100)])
    assert 55 <= taken["IPPS"] <= 92
    assert taken["IPPS"] + taken["BANK"] == 100
