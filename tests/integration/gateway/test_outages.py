"""Outages: what clients hear while a store is away, and that the gateway comes back by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from tests.integration.gateway.outage import Outage
from tests.integration.gateway.stand import Client, Stand
from tests.waiting import until


@asynccontextmanager
async def without_database(stand: Stand, **overrides: float) -> AsyncIterator[tuple[Client, Outage]]:
    """A gateway whose database can be taken away."""
    async with Outage(stand.database_url) as outage:
        stand.database_url = outage.url
        async with stand.gateway(**overrides) as client:
            yield client, outage


@asynccontextmanager
async def without_redis(stand: Stand) -> AsyncIterator[tuple[Client, Outage]]:
    """A gateway whose Redis can be taken away."""
    async with Outage(stand.redis_url) as outage:
        stand.redis_url = outage.url
        async with stand.gateway() as client:
            yield client, outage


async def test_intents_are_accepted_while_the_database_is_away(stand: Stand) -> None:
    """Acceptance needs the stream alone; waiting and replaying answer 202, never an error."""
    async with without_database(stand) as (client, outage):
        await client.post(key="before")
        outage.cut()
        answers = [await client.post(key="k"), await client.post(key="k"), await client.post(key="l", wait_s=1)]
        assert [(answer.status, answer.document["state"]) for answer in answers] == [(202, "CREATED")] * 3
        assert [answer.replayed for answer in answers] == [False, True, False]
    assert len(await stand.entries()) == 3


async def test_reads_are_503_while_the_database_is_away_and_never_404(stand: Stand) -> None:
    """Not to be able to look is not the same as not to find."""
    async with without_database(stand) as (client, outage):
        posted = (await client.post()).document["id"]
        await stand.record(await stand.only_entry())
        outage.cut()
        targets = [f"/v1/intents/{posted}", "/v1/accounts/user:alice:THB/balance", "/v1/accounts/user:bob:THB/history"]
        for target in targets:
            answer = await client.send("GET", target)
            assert (answer.status, answer.code, answer.document["retry"]) == (503, "database_unavailable", "same_key")
            assert answer.headers["Retry-After"] == "1"
        outage.mend()
        await until(partial(_found, client, posted), "the intent is found again")


async def _found(client: Client, intent: str) -> bool:
    return (await client.get(intent)).status == 200


async def test_readiness_follows_the_database(stand: Stand) -> None:
    """Within a second or two, and back again."""
    async with without_database(stand) as (client, outage):
        assert not await client.unready()
        outage.cut()
        await until(client.unready, "not ready")
        assert (await client.raw("GET", "/livez", b"", {})).status == 200
        outage.mend()
        await until(partial(_ready, client), "ready")


async def _ready(client: Client) -> bool:
    return not await client.unready()


async def test_keys_that_could_not_be_checked_for_too_long_are_not_trusted(stand: Stand) -> None:
    """A key disabled meanwhile would not be noticed."""
    async with without_database(stand, keys_stale_max_s=2.0) as (client, outage):
        outage.cut()
        assert (await client.post()).status == 202
        await until(partial(client.refused_as, "keys_unavailable"), "keys are stale")
        outage.mend()
        await until(client.accepted, "keys are fresh")


async def test_without_redis_nothing_is_accepted_and_nobody_hears_500(stand: Stand) -> None:
    """Every post is 503 with the same key; afterwards the same key is accepted once."""
    async with without_redis(stand) as (client, outage):
        await client.post(key="before")
        outage.cut()
        refused = await asyncio.gather(*(client.post(key=f"k-{turn % 4}") for turn in range(20)))
        assert {answer.status for answer in refused} == {503}
        assert {answer.document["retry"] for answer in refused} == {"same_key"}
        assert {answer.code for answer in refused} <= {"outcome_unknown", "stream_unavailable"}
        await until(client.unready, "not ready")
        outage.mend()
        await until(partial(_ready, client), "ready")
        accepted = [await client.post(key=f"k-{turn}") for turn in range(4)]
    assert {answer.status for answer in accepted} == {202}
    assert len(await stand.entries()) == 5


async def test_without_redis_a_recorded_intent_is_still_read_and_an_unknown_one_is_not_denied(stand: Stand) -> None:
    """PostgreSQL alone can say yes; without the marker nobody can say no."""
    async with without_redis(stand) as (client, outage):
        recorded = (await client.post(key="k")).document["id"]
        await stand.settle(await stand.only_entry())
        queued = (await client.post(key="l")).document["id"]
        outage.cut()
        assert (await client.get(recorded)).status == 200
        answer = await client.get(queued)
        assert (answer.status, answer.code) == (503, "stream_unavailable")
