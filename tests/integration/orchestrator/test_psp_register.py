"""The PSP register: what is in force is known within a poll, and the kill switch outlives the store that shows it."""

import asyncio

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from shared.db.pool import Pool
from shared.errors import OutcomeUnknown
from shared.streams import keys
from shared.streams.breaker import BreakerRules, BreakerState, read_breaker, record
from shared.streams.client import connect
from shared.streams.control import lift, pause, read_control, read_pauses
from tests.integration.orchestrator.outbound import PAYOUT, PSP, Outbound, a_job, manifest_of
from tests.waiting import until


@pytest.fixture
def outbound(pool: Pool, redis: Redis) -> Outbound:
    """A small outbox over real stores."""
    return Outbound(pool, redis, outbox_max=3)


async def test_a_registered_psp_is_known_by_its_id_and_its_channel(outbound: Outbound) -> None:
    """And nothing is known of any other."""
    await outbound.enrol(manifest_of("tp"), manifest_of("zz"))
    assert outbound.psps.psps == ("tp", "zz")
    assert outbound.psps.manifest("tp") == manifest_of("tp")
    assert outbound.psps.manifest_of_channel("ZZ") == manifest_of("zz")
    assert outbound.psps.manifest("xx") is None
    assert outbound.psps.manifest_of_channel("INTERNAL_P2P") is None
    assert outbound.psps.refusal("tp", PAYOUT) is None
    assert outbound.psps.refusal("xx", PAYOUT) == "paused"
    assert not outbound.psps.may_ask("xx")


async def test_a_psp_is_picked_up_and_a_manifest_replaced_while_it_runs(outbound: Outbound) -> None:
    """Nobody restarts orchestrators for a PSP."""
    stop = asyncio.Event()
    register = outbound.another_register()
    running = asyncio.create_task(register.run(stop))
    try:
        await outbound.enrol(manifest_of())
        await until(lambda: register.manifest(PSP) == manifest_of(), "the first manifest")
        await outbound.enrol(manifest_of(job_ttl_s=77))
        await until(lambda: register.manifest(PSP) == manifest_of(job_ttl_s=77), "the second manifest")
    finally:
        stop.set()
        await asyncio.wait_for(running, 5)


async def test_a_bad_manifest_never_takes_the_others_along(outbound: Outbound) -> None:
    """It is logged; where a good one was known before, that one stays in force."""
    await outbound.enrol(manifest_of("tp"), manifest_of("zz"))
    await outbound.pool.execute("UPDATE pm.psp SET manifest = '{\"v\":1}' WHERE psp = 'tp'")
    await outbound.pool.execute("INSERT INTO pm.psp (psp, manifest) SELECT 'yy', manifest FROM pm.psp WHERE psp = 'zz'")
    with capture_logs() as logs:
        await outbound.psps.refresh()
    assert [(line["psp"], line["log_level"]) for line in logs if line["event"] == "psp_manifest_skipped"] == [
        ("tp", "error"),
        ("yy", "error"),
    ]
    assert outbound.psps.psps == ("tp", "zz")
    fresh = outbound.another_register()
    await fresh.refresh()
    assert fresh.psps == ("zz",)


async def test_a_pause_is_copied_to_adapters_even_after_redis_lost_it(outbound: Outbound) -> None:
    """The database decides; nobody submits because a cache was emptied."""
    await outbound.enrol(manifest_of())
    await outbound.pause(PSP)
    await outbound.pause(PSP, PAYOUT)
    for _ in range(2):
        await outbound.psps.refresh()
        assert (await read_control(outbound.redis, PSP)).paused == {"*", PAYOUT}
        assert all(len(value.split()) == 2 for value in (await read_pauses(outbound.redis, PSP)).values())
        await outbound.redis.delete(keys.control(PSP))
    assert outbound.psps.refusal(PSP, PAYOUT) == "paused"
    assert not outbound.psps.may_ask(PSP)


async def test_a_pause_that_the_database_has_lifted_does_not_linger_in_redis(outbound: Outbound) -> None:
    """The command's own write to Redis may have been lost."""
    await outbound.enrol(manifest_of())
    await outbound.pause(PSP)
    await outbound.psps.refresh()
    await outbound.pool.execute("DELETE FROM pm.psp_control")
    await outbound.psps.refresh()
    assert (await read_control(outbound.redis, PSP)).paused == frozenset()
    assert outbound.psps.refusal(PSP, PAYOUT) is None


async def test_a_pause_made_since_the_look_is_not_lifted(redis: Redis) -> None:
    """Whoever copies an older decision must not undo a newer one."""
    await pause(redis, PSP, who="me", at_ms=1)
    seen = (await read_pauses(redis, PSP))["*"]
    await pause(redis, PSP, who="me", at_ms=2)
    assert not await lift(redis, PSP, "*", seen=seen)
    assert (await read_control(redis, PSP)).all_paused
    assert await lift(redis, PSP, "*", seen=b"me 2")
    assert not (await read_control(redis, PSP)).all_paused


async def test_one_paused_operation_refuses_itself_only_and_may_be_asked_about(outbound: Outbound) -> None:
    """What is under way of it is still looked after."""
    await outbound.enrol(manifest_of())
    await outbound.pause(PSP, PAYOUT)
    await outbound.psps.refresh()
    assert outbound.psps.refusal(PSP, PAYOUT) == "paused"
    assert outbound.psps.refusal(PSP, "TEST_TOPUP") is None
    assert outbound.psps.may_ask(PSP)


async def test_an_open_breaker_refuses_and_a_half_open_one_does_not(outbound: Outbound) -> None:
    """Without new work nobody would ever find out that the PSP is back."""
    await outbound.enrol(manifest_of())
    rules = BreakerRules(open_ms_min=300, open_ms_max=300)
    await record(outbound.redis, PSP, "0" * 10, rules=rules, jitter=0.0)
    await outbound.psps.refresh()
    assert outbound.psps.refusal(PSP, PAYOUT) == "breaker_open"
    assert not outbound.psps.may_ask(PSP)

    async def half_open() -> bool:
        return (await read_breaker(outbound.redis, PSP)).state is BreakerState.HALF_OPEN

    await until(half_open, "half open")
    await outbound.psps.refresh()
    assert outbound.psps.refusal(PSP, PAYOUT) is None
    assert outbound.psps.may_ask(PSP)


async def test_a_full_outbox_refuses_before_funds_are_held(outbound: Outbound) -> None:
    """Its own PSP only, and only what waits counts."""
    await outbound.enrol(manifest_of("tp"), manifest_of("zz"))
    await outbound.write(a_job(), a_job())
    await outbound.write(*(a_job() for _ in range(5)), sent=True)
    await outbound.psps.refresh()
    assert outbound.psps.refusal("tp", PAYOUT) is None
    await outbound.write(a_job())
    await outbound.psps.refresh()
    assert outbound.psps.refusal("tp", PAYOUT) == "outbox_full"
    assert outbound.psps.refusal("zz", PAYOUT) is None
    shown = [outbound.registry.get_sample_value("paymesh_outbox_unsent", {"psp": psp}) for psp in ("tp", "zz")]
    assert shown == [3, 0]


async def test_while_redis_is_away_what_was_seen_last_stays_in_force(outbound: Outbound) -> None:
    """An outage lifts no pause, and ends no process."""
    await outbound.enrol(manifest_of())
    await outbound.pause(PSP)
    await outbound.psps.refresh()
    away = connect("redis://127.0.0.1:1")
    outbound.psps._redis = away
    with pytest.raises(OutcomeUnknown):
        await outbound.psps.refresh()
    stop = asyncio.Event()
    running = asyncio.create_task(outbound.psps.run(stop))
    await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(running, 5)
    assert outbound.psps.refusal(PSP, PAYOUT) == "paused"
    await away.aclose()
