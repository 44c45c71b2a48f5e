"""Codes are watched after their end: from when they end, not from when they were asked for."""

from redis.asyncio import Redis

from shared.contracts import Action
from shared.db.pool import Pool
from shared.streams import keys
from tests.integration.orchestrator.outbound import PSP, Outbound, a_job, manifest_of, now_ms


async def test_a_code_that_was_made_late_is_watched_after_its_end_as_well(pool: Pool, redis: Redis) -> None:
    """The PSP was away for two hours, so the code that ended a minute ago is younger than its job."""
    outbound = Outbound(pool, redis, jobs_max=4)
    await outbound.enrol(manifest_of())
    job = a_job(age_s=7200 + 1200 + 60, operation="TEST_TOPUP", destination={"ttl_s": "1200"})
    await outbound.open_intent(job, state="EXPIRED")
    action = f'{{"kind": "qr", "link": "https://qr", "expires_ms": {now_ms() - 60_000}}}'
    await pool.execute("UPDATE pm.intent SET next_action = $2 WHERE id = $1::uuid", job.intent_id, action)
    await outbound.relay().turn(PSP)
    await redis.delete(keys.jobs(PSP))
    await outbound.poller().turn()
    assert [question.action for question in await outbound.jobs()] == [Action.INQUIRE]
