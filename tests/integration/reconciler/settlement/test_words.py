"""Words of lines: said once the job cannot be submitted any more, and again only if nothing came of them."""

import pytest

from reconciler.settlement.words import QUIET_MS, REST_MS, Said
from shared.clock import wall_ms
from shared.ids import IntentId
from shared.streams import keys, permits
from shared.streams.permits import PermitFor, PermitState
from tests.integration.reconciler.settlement.scene import Line, Scene, ipps_file

_LIFE_MS = permits.LIFE_MS


def permit_of(intent: IntentId) -> str:
    """The key of a withdrawal's permit."""
    return keys.permit("ipps", str(intent), 1, "IPPS_WITHDRAWAL")


async def taken(scene: Scene, intent: IntentId, *, ago_ms: int, untouched_ms: int) -> None:
    """Let an adapter have the permit since a while, and have touched it last a while ago."""
    value = f"TAKEN adapter.1 {wall_ms() - ago_ms}"
    await scene.redis.set(permit_of(intent), value, px=_LIFE_MS - untouched_ms)


async def barred(scene: Scene, intent: IntentId) -> bool:
    """Whether nobody will submit it any more."""
    seen = await permits.look(scene.redis, permit=PermitFor(permit_of(intent), wall_ms(), "mesh:1"))
    value = await scene.redis.get(permit_of(intent))
    return seen.state is PermitState.TAKEN and b"barred.settlement." in (value or b"")


@pytest.mark.parametrize("status", ["SETTLED", "REJECTED"])
async def test_the_job_is_barred_before_its_end_is_told(scene: Scene, status: str) -> None:
    """Its entry may still stand in the stream: whoever finds it only asks."""
    intent = await scene.doubt()
    await scene.take(ipps_file(Line(await scene.reference(intent), status=status)))
    await scene.look_again()
    assert not await barred(scene, intent)
    assert await scene.say() == Said(said=1)
    assert await barred(scene, intent)


@pytest.mark.parametrize(
    ("ago_ms", "untouched_ms"), [(REST_MS - 60_000, REST_MS - 60_000), (REST_MS + 60_000, QUIET_MS - 30_000)]
)
async def test_failed_waits_for_whoever_may_be_sending(scene: Scene, ago_ms: int, untouched_ms: int) -> None:
    """Taken a moment ago, or touched a moment ago; it is barred at once, and said once that is over (C1, C2)."""
    intent = await scene.doubt()
    await scene.take(ipps_file(Line(await scene.reference(intent), status="REJECTED")))
    await scene.look_again()
    await taken(scene, intent, ago_ms=ago_ms, untouched_ms=untouched_ms)
    assert await scene.say() == Said(resting=1)
    assert await barred(scene, intent)
    assert await scene.words() == []
    assert (await scene.saga.state(intent))[0] == "IN_DOUBT"
    await taken(scene, intent, ago_ms=REST_MS + 1_000, untouched_ms=QUIET_MS + 1_000)
    assert await scene.say() == Said(said=1)


async def test_paid_waits_for_nobody(scene: Scene) -> None:
    """The money has moved, whoever is sending."""
    intent = await scene.doubt()
    await scene.take(ipps_file(Line(await scene.reference(intent))))
    await taken(scene, intent, ago_ms=1_000, untouched_ms=500)
    assert await scene.say() == Said(said=1)


async def test_a_word_that_was_lost_with_redis_is_said_again_after_an_hour(scene: Scene) -> None:
    """And not before: an orchestrator may only be slow."""
    intent = await scene.doubt()
    await scene.take(ipps_file(Line(await scene.reference(intent))))
    await scene.say()
    await scene.words()
    for ago_s, again in ((3_500, 0), (3_700, 1)):
        await scene.pool.execute(
            "UPDATE pm.settlement_line SET said_at = now() - make_interval(secs => $1)", float(ago_s)
        )
        await scene.look_again()
        assert (await scene.say()).said == again
    await scene.saga.hear(*(await scene.words()))
    assert (await scene.saga.state(intent))[0] == "SETTLED"


async def test_words_said_twice_settle_once(scene: Scene) -> None:
    """The process ended between the stream and the database."""
    intent = await scene.doubt()
    await scene.take(ipps_file(Line(await scene.reference(intent))))
    await scene.say()
    await scene.pool.execute("UPDATE pm.settlement_line SET said_at = NULL")
    await scene.say()
    words = await scene.words()
    assert len(words) == 2
    await scene.saga.hear(*words)
    assert (await scene.saga.booked(scene.payer)) == (700, 0)
    assert await scene.saga.alerts() == set()


async def test_failed_is_not_said_once_a_later_file_says_paid(scene: Scene) -> None:
    """The word was to be said; what the PSP has written since comes first, though nobody has judged the line anew."""
    intent = await scene.doubt()
    reference = await scene.reference(intent)
    await scene.take(ipps_file(Line(reference, transaction="T0", status="REJECTED")))
    await scene.look_again()
    assert await scene.verdicts() == ["says"]
    await scene.take(ipps_file(Line(reference)))
    assert await scene.hear() == 1
    assert (await scene.saga.state(intent))[0] == "SETTLED"
    await scene.look_again()
    assert (await scene.verdicts(), await scene.breaks()) == (["agrees", "agrees"], [])
