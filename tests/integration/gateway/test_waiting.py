"""Waiting in the request: the hint makes it quick, the polls make it certain, and neither makes it wrong."""

import asyncio
import time
from functools import partial

import pytest

from gateway import waiting
from shared.streams import keys
from tests.integration.gateway.psps import TOPUP, WITHDRAWAL, ask_the_payer
from tests.integration.gateway.stand import Stand
from tests.waiting import until


async def test_a_hint_answers_the_waiting_request_with_the_decision(stand: Stand) -> None:
    """The first poll is five seconds away; the hint is not."""
    async with stand.gateway() as client:
        pending = asyncio.create_task(client.post(wait_s=20))
        await until(stand.entries, "the entry")
        started = time.monotonic()
        await stand.settle(await stand.only_entry())
        answer = await pending
    assert (answer.status, answer.document["state"]) == (200, "SETTLED")
    assert time.monotonic() - started < 4


async def test_without_a_hint_the_poll_at_a_quarter_of_the_time_finds_the_decision(stand: Stand) -> None:
    """A lost publication costs time, not the answer."""
    async with stand.gateway() as client:
        started = time.monotonic()
        pending = asyncio.create_task(client.post(wait_s=4))
        await until(stand.entries, "the entry")
        await stand.record(await stand.only_entry())
        answer = await pending
    assert (answer.status, answer.document["state"]) == (200, "SETTLED")
    assert 0.9 < time.monotonic() - started < 2


async def test_a_hint_is_not_believed(stand: Stand) -> None:
    """It says SETTLED; the database says nothing of the kind."""
    async with stand.gateway() as client:
        pending = asyncio.create_task(client.post(wait_s=1))
        await until(stand.entries, "the entry")
        entry = await stand.only_entry()
        assert entry.message.waiter is not None
        assert await stand.hint(entry.message.waiter, entry.envelope.id, "SETTLED") == 1
        answer = await pending
    assert (answer.status, answer.document["state"]) == (202, "CREATED")


async def test_an_undecided_intent_is_202_when_the_time_is_up(stand: Stand) -> None:
    """Not later than asked for, with the state as far as it has got."""
    async with stand.gateway() as client:
        started = time.monotonic()
        pending = asyncio.create_task(client.post(wait_s=1))
        await until(stand.entries, "the entry")
        await stand.record(await stand.only_entry(), "AUTHORIZED", funds="held")
        answer = await pending
    assert (answer.status, answer.document["state"]) == (202, "AUTHORIZED")
    assert 0.9 < time.monotonic() - started < 2


async def test_a_wait_is_cut_to_what_the_gateway_allows(stand: Stand) -> None:
    """A client cannot hold a connection for an hour."""
    async with stand.gateway(wait_max_s=0) as client:
        assert (await client.post(wait_s=3600)).status == 202


async def test_a_retry_waits_for_the_intent_that_is_there(stand: Stand) -> None:
    """The replay's hint comes with the first one's, on the gateway that both wait at."""
    async with stand.gateway() as client:
        first = asyncio.create_task(client.post(key="k", wait_s=20))
        await until(stand.entries, "the entry")
        retry = asyncio.create_task(client.post(key="k", wait_s=20))
        read = asyncio.create_task(client.get((await stand.only_entry()).envelope.id, wait_s=20))
        await until(lambda: client.raw("GET", "/livez", b"", {}), "a moment has passed")
        await stand.settle(await stand.only_entry())
        answers = [await first, await retry, await read]
    assert [answer.document["state"] for answer in answers] == ["SETTLED"] * 3
    assert [answer.replayed for answer in answers] == [False, True, False]


async def test_the_subscription_is_found_again_after_a_disconnection(stand: Stand) -> None:
    """Hints come again by themselves."""
    async with stand.gateway() as client:
        await stand.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: stand.redis.pubsub_channels("gateway.*"), "the subscription")
        pending = asyncio.create_task(client.post(wait_s=20))
        await until(stand.entries, "the entry")
        started = time.monotonic()
        await stand.settle(await stand.only_entry())
        assert (await pending).status == 200
    assert time.monotonic() - started < 4


async def test_stopping_answers_everybody_who_waits(stand: Stand) -> None:
    """With what is known, at once, and not with a broken connection."""
    started = time.monotonic()
    async with stand.gateway() as client:
        pending = asyncio.create_task(client.post(wait_s=25))
        await until(stand.entries, "the entry")
    answer = await pending
    assert (answer.status, answer.document["state"]) == (202, "CREATED")
    assert time.monotonic() - started < 10


async def test_too_many_waiting_requests_are_answered_at_once(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is bounded; being answered is not."""
    monkeypatch.setattr(waiting, "WAITING_MAX", 2)
    async with stand.gateway() as client:
        pending = [asyncio.create_task(client.post(wait_s=20)) for _ in range(2)]
        await until(partial(stand.has_entries, 2), "two entries")
        started = time.monotonic()
        assert (await client.post(wait_s=20)).status == 202
        assert time.monotonic() - started < 4
        for entry in await stand.entries():
            await stand.record(entry)
            if entry.message.waiter is not None:
                await stand.hint(entry.message.waiter, entry.envelope.id, "SETTLED")
        assert [(await answer).status for answer in pending] == [200, 200]


async def test_what_a_provider_decides_is_heard_on_the_intents_own_channel(stand: Stand) -> None:
    """Whoever hears of it does not know who waits: the first request, a retry, and a read at another gateway."""
    async with stand.gateway() as one, stand.gateway() as two:
        first = asyncio.create_task(one.post(TOPUP, key="k", wait_s=20))
        await until(stand.entries, "the entry")
        entry = await stand.only_entry()
        others = [
            asyncio.create_task(two.post(TOPUP, key="k", wait_s=20)),
            asyncio.create_task(two.get(entry.envelope.id, wait_s=20)),
        ]
        channel = keys.intent_channel(entry.envelope.id)
        await until(partial(_heard, stand, channel, 2), "both gateways listen")
        started = time.monotonic()
        await ask_the_payer(stand, entry)
        await stand.redis.publish(channel, "AUTHORIZED")
        answers = [await first, *[await other for other in others]]
        assert [answer.document["state"] for answer in answers] == ["AUTHORIZED"] * 3
        assert time.monotonic() - started < 4
        await until(partial(_heard, stand, channel, 0), "nobody listens any more")


async def _heard(stand: Stand, channel: str, gateways: int) -> bool:
    ((_, count),) = await stand.redis.pubsub_numsub(channel)
    return bool(count == gateways)


async def test_what_is_followed_is_found_again_after_a_disconnection(stand: Stand) -> None:
    """With everything else that is subscribed."""
    async with stand.gateway() as client:
        pending = asyncio.create_task(client.post(WITHDRAWAL, wait_s=20))
        await until(stand.entries, "the entry")
        entry = await stand.only_entry()
        channel = keys.intent_channel(entry.envelope.id)
        await until(partial(_heard, stand, channel, 1), "it listens")
        await stand.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await until(partial(_heard, stand, channel, 1), "it listens again")
        started = time.monotonic()
        await stand.record(entry)
        await until(lambda: stand.redis.publish(channel, "SETTLED"), "somebody heard")
        assert (await pending).status == 200
    assert time.monotonic() - started < 4


async def test_nobody_follows_a_transfer_that_has_just_been_posted(stand: Stand) -> None:
    """Its decision comes to the gateway by name; a channel of its own would be a cost for nothing."""
    async with stand.gateway() as client:
        pending = asyncio.create_task(client.post(wait_s=20))
        await until(stand.entries, "the entry")
        entry = await stand.only_entry()
        assert await _heard(stand, keys.intent_channel(entry.envelope.id), 0)
        await stand.settle(entry)
        assert (await pending).status == 200
