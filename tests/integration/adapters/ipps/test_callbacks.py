"""Callbacks of the sandbox over real HTTP: verified, taken in as hints, as often as they come."""

import base64
import json
from typing import Any

from shared.contracts import Outcome, Source
from shared.sealing import unseal
from shared.streams import keys
from tests.integration.adapters.ipps.scene import AMOUNT, RING, World, a_job, open_world
from tests.waiting import until


async def delivered(world: World, reference: str, number: int) -> list[dict[str, Any]]:
    """Wait until so many callbacks about a reference are through; return them."""

    async def through() -> list[dict[str, Any]]:
        told = await world.control.callbacks(reference)
        return told if len(told) >= number and all(one["state"] != "waiting" for one in told) else []

    return await until(through, f"{number} callbacks", timeout_s=15)


async def test_a_callback_is_an_observation_beside_the_result(world: World) -> None:
    """It names our reference and no intent; the bytes are kept, sealed."""
    job = a_job()
    result = await world.carried_out(job)
    (seen,) = await world.observations(job)
    assert (seen.source, seen.outcome, seen.intent_id) == (Source.CALLBACK, Outcome.PAID, None)
    assert (seen.psp_transaction_id, seen.amount_minor) == (result.psp_transaction_id, AMOUNT)
    assert seen.raw is not None
    raw = unseal(RING, context=f"callback:ipps:{seen.callback_id}", field="raw", sealed=seen.raw)
    assert json.loads(base64.b64decode(raw))["partnerTxnUid"] == job.reference


async def test_copies_are_observations_of_one_name(world: World) -> None:
    """However many come, and late ones about an earlier state too."""
    job = a_job(scenario="callback_duplicate:3+callback_out_of_order")
    await world.carried_out(job)
    seen = await world.observations(job, 4)
    assert len({one.callback_id for one in seen if one.outcome is Outcome.PAID}) == 1
    assert sorted(one.outcome for one in seen) == ["PAID", "PAID", "PAID", "PENDING"]


async def test_a_forged_callback_and_a_replayed_one_are_refused(world: World) -> None:
    """The forger claims the contrary, the other comes an hour late; the genuine one is heard all the same."""
    job = a_job(scenario="callback_forged+callback_replayed")
    await world.carried_out(job)
    (seen,) = await world.observations(job)
    assert seen.outcome is Outcome.PAID
    answers = {one["data"]["manner"]: one["answers"] for one in await delivered(world, job.reference, 3)}
    assert answers == {"genuine": [200], "forged": [401], "replayed": [401]}
    assert len(await world.observations(job)) == 1


async def test_a_callback_of_another_amount_is_only_a_hint(world: World) -> None:
    """The question that it prompts is answered by the books."""
    job = a_job(scenario="callback_wrong_amount:1")
    await world.carried_out(job)
    (seen,) = await world.observations(job)
    assert seen.amount_minor == 1
    assert (await world.asked(job)).amount_minor == AMOUNT


async def test_nobody_but_the_psp_may_call(redis_url: str) -> None:
    """A right signature from a foreign address is refused, and so is everything else there is at the port."""
    async with open_world(redis_url, callback_networks="192.0.2.0/24") as world:
        job = a_job()
        await world.carried_out(job)

        async def refused() -> bool:
            told = await world.control.callbacks(job.reference)
            return bool(told) and 403 in told[0]["answers"]

        await until(refused, "a refusal")
        assert len(await world.told(job)) == 1
        async with world.http.post(world.callback_url.replace("/callbacks/ipps", "/")) as answer:
            assert answer.status == 404


async def test_a_callback_that_makes_no_sense_is_told_so(world: World) -> None:
    """Genuine, but nothing that IPPS would say: not stored."""
    job = a_job()
    await world.carried_out(job)
    await world.observations(job)
    before = await world.client.xlen(keys.results("ipps"))
    await world.control.tell(job.reference, status="TELEPORTED")

    async def refused() -> bool:
        return 400 in (await world.control.callbacks(job.reference))[-1]["answers"]

    await until(refused, "a refusal")
    assert await world.client.xlen(keys.results("ipps")) == before
