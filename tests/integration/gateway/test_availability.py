"""When no provider takes an operation it is refused before its key is bound, and nothing else is."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from gateway.channels import Channels
from shared.ids import partition_of
from shared.streams import keys
from shared.streams.breaker import BreakerRules, BreakerState, read_breaker, record
from tests.integration.gateway.outage import Outage
from tests.integration.gateway.psps import (
    BANK,
    IPPS,
    QP,
    QR_PAY,
    TOPUP,
    WITHDRAWAL,
    ask_the_payer,
    pause,
    queue,
    register,
    resume,
)
from tests.integration.gateway.stand import TRANSFER, Answer, Client, Stand
from tests.waiting import until


async def refused(client: Client, operation: dict[str, Any] = WITHDRAWAL) -> bool:
    """Post something new and say whether no provider took it."""
    return (await client.post(operation)).code == "psp_unavailable"


async def taken(client: Client, operation: dict[str, Any] = WITHDRAWAL) -> bool:
    """Post something new and say whether it was accepted."""
    return (await client.post(operation)).status == 202


def assert_unavailable(answer: Answer) -> None:
    """Nothing was accepted; the same key may be used later."""
    assert (answer.status, answer.code, answer.document["retry"]) == (503, "psp_unavailable", "same_key")
    assert int(answer.headers["Retry-After"]) > 0


async def by_kill_switch(stand: Stand) -> None:
    """Pause the PSP."""
    await pause(stand, "ipps")


async def by_operation(stand: Stand) -> None:
    """Pause the one operation."""
    await pause(stand, "ipps", "IPPS_WITHDRAWAL")


async def by_breaker(stand: Stand) -> None:
    """Ten errors in a row."""
    await record(stand.redis, "ipps", "0" * 10, rules=BreakerRules(), jitter=0.9)


async def by_outbox(stand: Stand) -> None:
    """One job more than the bound."""
    await queue(stand, "ipps", 3)


@pytest.mark.parametrize("close", [by_kill_switch, by_operation, by_breaker, by_outbox])
async def test_a_closed_channel_refuses_from_the_first_request_on(
    stand: Stand, close: Callable[[Stand], Awaitable[None]]
) -> None:
    """Paused, out of order, or with too much to do: 503, the key is not bound, and nobody else is touched."""
    await register(stand, IPPS, QP)
    await close(stand)
    async with stand.gateway(outbox_max=2) as client:
        assert_unavailable(await client.post(WITHDRAWAL, key="k"))
        assert [(await client.post(operation)).status for operation in (TRANSFER, TOPUP)] == [202, 202]
        assert await taken(client, QR_PAY) is (close is by_operation)
    accepted = {entry.message.operation.operation_type for entry in await stand.entries()}
    assert "IPPS_WITHDRAWAL" not in accepted
    await stand.redis.delete(keys.breaker("ipps"))
    await resume(stand)
    await stand.pool.execute("UPDATE pm.outbox_event SET sent_at = now()")
    async with stand.gateway(outbox_max=2) as client:
        answer = await client.post(WITHDRAWAL, key="k")
    assert (answer.status, answer.replayed) == (202, False)


async def test_what_changes_is_known_within_moments(stand: Stand) -> None:
    """Closed and opened again under a running gateway, by each of the three."""
    await register(stand, IPPS)
    async with stand.gateway(outbox_max=2) as client:
        assert await taken(client)
        await pause(stand, "ipps")
        await until(partial(refused, client), "paused", timeout_s=2)
        await resume(stand)
        await until(partial(taken, client), "resumed", timeout_s=2)
        await by_breaker(stand)
        await until(partial(refused, client), "open", timeout_s=2)
        await stand.redis.delete(keys.breaker("ipps"))
        await until(partial(taken, client), "closed", timeout_s=2)
        await by_outbox(stand)
        await until(partial(refused, client), "full", timeout_s=2)
        await stand.pool.execute("DELETE FROM pm.outbox_event WHERE ctid = (SELECT min(ctid) FROM pm.outbox_event)")
        await until(partial(taken, client), "room again", timeout_s=2)


async def test_a_half_open_breaker_lets_work_in(stand: Stand) -> None:
    """Without new work nobody would find out that the PSP is back."""
    await register(stand, IPPS)
    await record(stand.redis, "ipps", "0" * 10, rules=BreakerRules(open_ms_min=1, open_ms_max=1), jitter=0.0)

    async def half_open() -> bool:
        return (await read_breaker(stand.redis, "ipps")).state is BreakerState.HALF_OPEN

    await until(half_open, "half open")
    async with stand.gateway() as client:
        assert await taken(client)


async def test_one_open_channel_is_enough(stand: Stand) -> None:
    """Of two that could carry it; with both closed it is refused, and the answer names both reasons."""
    await register(stand, IPPS, BANK)
    await by_breaker(stand)
    async with stand.gateway() as client:
        assert await taken(client)
        assert await refused(client, QR_PAY)
        await pause(stand, "bank")
        await until(partial(refused, client), "both closed", timeout_s=2)
        answer = await client.post(WITHDRAWAL)
    assert answer.document["detail"] == "IPPS is out of order; BANK is paused"


async def test_what_has_no_route_is_the_orchestrators_to_refuse(stand: Stand) -> None:
    """No route, no registered PSP, an amount outside every route: an answer about the operation, not the moment."""
    await by_kill_switch(stand)
    async with stand.gateway() as client:
        assert await taken(client)
    await register(stand, IPPS)
    await stand.pool.execute("UPDATE pm.payment_route SET amount_max = 100 WHERE channel = 'IPPS'")
    async with stand.gateway() as client:
        assert await taken(client)
        assert await refused(client, {**WITHDRAWAL, "amount_minor": 100})
    await stand.pool.execute("UPDATE pm.payment_route SET active = false WHERE channel = 'IPPS'")
    async with stand.gateway() as client:
        assert await taken(client, {**WITHDRAWAL, "amount_minor": 100})


async def test_a_manifest_that_cannot_be_read_closes_nothing_else(stand: Stand) -> None:
    """Written by a newer version, say; the orchestrator knows what to do."""
    await register(stand, IPPS, QP)
    await stand.pool.execute("""UPDATE pm.psp SET manifest = '{"v":9}' WHERE psp = 'qp'""")
    await pause(stand, "ipps")
    await pause(stand, "qp")
    async with stand.gateway() as client:
        assert await refused(client)
        assert await taken(client, TOPUP)


async def test_what_was_accepted_before_is_answered_while_its_channel_is_closed(stand: Stand) -> None:
    """A replay is a replay, another request under the key a conflict; the intent is read, waited for and cancelled."""
    await register(stand, QP)
    async with stand.gateway() as client:
        first = await client.post(TOPUP, key="k")
        entry = await stand.only_entry()
        await pause(stand, "qp")
        await until(partial(refused, client, TOPUP), "paused", timeout_s=2)
        replay = await client.post(TOPUP, key="k")
        assert (replay.status, replay.replayed, replay.document["id"]) == (202, True, first.document["id"])
        conflict = await client.post({**TOPUP, "amount_minor": 1}, key="k")
        assert (conflict.status, conflict.code) == (422, "idempotency_key_reused")
        assert conflict.document["intent_id"] == first.document["id"]
        await ask_the_payer(stand, entry)
        waited = await client.post(TOPUP, key="k", wait_s=20)
        assert waited.document["next_action"]
        await stand.record(entry)
        assert (await client.post(TOPUP, key="k")).status == 200
        assert (await client.get(first.document["id"])).status == 200


async def test_a_key_that_redis_forgot_is_still_known_while_its_channel_is_closed(stand: Stand) -> None:
    """The database remembers it: replay and conflict are told from a new request."""
    await register(stand, IPPS)
    async with stand.gateway() as client:
        first = await client.post(WITHDRAWAL, key="k")
        entry = await stand.only_entry()
        await stand.record(entry)
        await stand.finish(entry)
        await stand.pool.execute(
            "INSERT INTO pm.idempotency_key (service_key_id, key, fingerprint, intent_id) VALUES ('shop', 'k', $1, $2)",
            entry.message.fingerprints[0],
            entry.intent,
        )
        await stand.redis.delete(keys.idem(partition_of(entry.intent), "shop", "k"))
        await pause(stand, "ipps")
        await until(partial(refused, client), "paused", timeout_s=2)
        replay = await client.post(WITHDRAWAL, key="k")
        assert (replay.status, replay.replayed, replay.document["id"]) == (200, True, first.document["id"])
        assert (await client.post({**WITHDRAWAL, "amount_minor": 100}, key="k")).code == "idempotency_key_reused"
        assert_unavailable(await client.post(WITHDRAWAL, key="l"))


async def test_while_the_database_is_away_what_was_known_last_stays_in_force(stand: Stand) -> None:
    """Closed stays closed, open stays open, and accepted keys are answered."""
    await register(stand, IPPS, QP)
    await pause(stand, "ipps")
    async with Outage(stand.database_url) as outage:
        stand.database_url = outage.url
        async with stand.gateway() as client:
            await client.post(TOPUP, key="k")
            outage.cut()
            await until(client.unready, "the outage is known")
            assert_unavailable(await client.post(WITHDRAWAL))
            assert await taken(client, TOPUP)
            assert (await client.post(TOPUP, key="k")).replayed


async def test_a_transfer_never_looks_at_the_channels(
    stand: Stand, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither their state nor their cost is its business."""
    monkeypatch.setattr(Channels, "refusal", None)
    assert (await client.post(TRANSFER)).status == 202
    assert len(await stand.entries()) == 1
