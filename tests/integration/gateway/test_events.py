"""Following an intent live: what has happened first, then what happens, and nothing twice."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from gateway import events
from gateway.views import FollowedView
from shared.streams import keys
from tests.integration.gateway.psps import TOPUP, WITHDRAWAL, ask_the_payer
from tests.integration.gateway.stand import FREE, SECRET, USER, Accepted, Client, Stand
from tests.waiting import until


@dataclass
class Told:
    """What one stream has sent so far."""

    response: aiohttp.ClientResponse
    lines: list[str] = field(default_factory=list)
    ended: bool = False

    async def listen(self) -> None:
        """Take in every line until the stream ends."""
        async for line in self.response.content:
            self.lines.append(line.decode().rstrip("\n"))
        self.ended = True

    @property
    def events(self) -> list[tuple[str | None, str, dict[str, Any]]]:
        """Id, name and data of every event."""
        found = []
        for block in "\n".join(self.lines).split("\n\n"):
            named = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if "data" in named:
                document = json.loads(named["data"])
                FollowedView.model_validate(document)
                found.append((named.get("id"), named["event"], document))
        return found

    @property
    def states(self) -> list[str]:
        """The states it has told, in order."""
        return [document["state"] for _, name, document in self.events if name == "state"]

    def told(self, *states: str) -> bool:
        """Say whether these are the states it has told."""
        return self.states == list(states)


@asynccontextmanager
async def following(
    client: Client, intent: str, *, user_id: str = "", headers: Mapping[str, str] | None = None, method: str = "GET"
) -> AsyncIterator[Told]:
    """Follow an intent for the length of a block."""
    target = f"/v1/intents/{intent}/events"
    signed = {**client.signed(method, target, user_id=user_id), **(headers or {})}
    async with client.session.request(method, client.url + target, headers=signed) as response:
        told = Told(response)
        listening = asyncio.create_task(told.listen())
        try:
            yield told
        finally:
            listening.cancel()


async def step(stand: Stand, entry: Accepted, seq: int, before: str, state: str, **more: Any) -> None:
    """Record a step as the orchestrator would, and say so on the intent's channel."""
    await stand.record(entry, state, **more)
    await stand.pool.execute(
        "INSERT INTO pm.intent_event (intent_id, seq, from_state, to_state) VALUES ($1, $2, $3, $4)",
        entry.intent, seq, before, state,
    )  # fmt: skip
    await stand.redis.publish(keys.intent_channel(entry.envelope.id), state)


async def accepted(stand: Stand, client: Client, operation: Mapping[str, Any]) -> Accepted:
    """Post an intent and return its entry."""
    posted = (await client.post(operation)).document["id"]
    return next(entry for entry in await stand.entries() if entry.envelope.id == posted)


async def listens(stand: Stand, entry: Accepted) -> bool:
    """Say whether a gateway follows the intent's channel."""
    ((_, count),) = await stand.redis.pubsub_numsub(keys.intent_channel(entry.envelope.id))
    return bool(count == 1)


async def test_a_stream_tells_what_was_then_what_happens_and_ends_with_the_final_state(
    stand: Stand, client: Client
) -> None:
    """Quicker than any poll; each step once, by its number; a decline says why."""
    entry = await accepted(stand, client, WITHDRAWAL)
    await step(stand, entry, 1, "CREATED", "VALIDATED", funds="none")
    async with following(client, entry.envelope.id) as told:
        assert told.response.status == 200
        assert told.response.content_type == "text/event-stream"
        assert told.response.headers["X-Accel-Buffering"] == "no"
        assert told.response.headers["Cache-Control"] == "no-store"
        await until(partial(told.told, "VALIDATED"), "the step before")
        await until(partial(listens, stand, entry), "the subscription")
        started = time.monotonic()
        await step(stand, entry, 2, "VALIDATED", "AUTHORIZED", funds="held")
        await until(partial(told.told, "VALIDATED", "AUTHORIZED"), "the next step")
        await step(stand, entry, 3, "AUTHORIZED", "FAILED", funds="none", error=("over_limit", "declined"))
        await until(lambda: told.ended, "the end")
        assert time.monotonic() - started < events.POLL_S - 1
        assert told.states == ["VALIDATED", "AUTHORIZED", "FAILED"]
        assert [number for number, _, _ in told.events] == ["1", "2", "3"]
        last = told.events[-1][2]
        assert (last["final"], last["error"]["code"]) == (True, "over_limit")
        assert told.lines[0] == f"retry: {events.RECONNECT_MS}"
    await until(partial(_silent, stand, entry), "nobody listens any more")


async def _silent(stand: Stand, entry: Accepted) -> bool:
    return not await listens(stand, entry)


async def test_an_intent_is_followed_before_the_database_knows_it(stand: Stand, client: Client) -> None:
    """From its acceptance on."""
    entry = await accepted(stand, client, WITHDRAWAL)
    async with following(client, entry.envelope.id, user_id=USER) as told:
        await until(partial(listens, stand, entry), "the subscription")
        assert told.states == []
        await step(stand, entry, 1, "CREATED", "REJECTED", funds="none", error=("no_route", "no channel"))
        await until(lambda: told.ended, "the end")
        assert told.states == ["REJECTED"]


def test_the_front_door_waits_longer_than_a_stream_is_silent() -> None:
    """It must not close what is only quiet, nor collect what is live."""
    front_door = (Path(__file__).parents[3] / "compose" / "nginx.conf").read_text()
    found = re.search(r"proxy_read_timeout (\d+)s;", front_door)
    assert found is not None
    assert int(found[1]) > 2 * events.HEARTBEAT_S
    assert "proxy_ignore_headers" not in front_door


async def test_a_lost_hint_is_made_up_for_by_the_poll(
    stand: Stand, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs time, not the event."""
    monkeypatch.setattr(events, "POLL_S", 0.2)
    entry = await accepted(stand, client, WITHDRAWAL)
    async with following(client, entry.envelope.id) as told:
        await stand.record(entry)
        await stand.pool.execute(
            "INSERT INTO pm.intent_event (intent_id, seq, from_state, to_state) VALUES ($1, 1, 'CREATED', 'SETTLED')",
            entry.intent,
        )
        await until(lambda: told.ended, "the end")
        assert told.states == ["SETTLED"]


async def test_whoever_comes_back_gets_what_followed_and_is_told_when_there_is_nothing_more(
    stand: Stand, client: Client
) -> None:
    """By Last-Event-ID; 204 stops a client that reconnects by itself."""
    entry = await accepted(stand, client, WITHDRAWAL)
    for seq, (before, state) in enumerate(
        [("CREATED", "VALIDATED"), ("VALIDATED", "AUTHORIZED"), ("AUTHORIZED", "SETTLED")], 1
    ):
        await step(stand, entry, seq, before, state)
    async with following(client, entry.envelope.id, headers={"Last-Event-ID": "1"}) as told:
        await until(lambda: told.ended, "the end")
        assert told.states == ["AUTHORIZED", "SETTLED"]
    async with following(client, entry.envelope.id, headers={"Last-Event-ID": "3"}) as told:
        assert told.response.status == 204
    async with following(client, entry.envelope.id, method="HEAD") as told:
        assert (told.response.status, told.response.content_type) == (200, "text/event-stream")
    for nonsense in ("x", "-1", "1.5", "9" * 10):
        async with following(client, entry.envelope.id, headers={"Last-Event-ID": nonsense}) as told:
            assert told.response.status == 400


async def test_what_the_payer_has_to_do_is_told_without_a_number(stand: Stand, client: Client) -> None:
    """It is no step: whoever comes back is told again."""
    entry = await accepted(stand, client, TOPUP)
    async with following(client, entry.envelope.id) as told:
        await until(partial(listens, stand, entry), "the subscription")
        await step(stand, entry, 1, "CREATED", "VALIDATED", funds="none")
        await ask_the_payer(stand, entry)
        await stand.pool.execute(
            "INSERT INTO pm.intent_event (intent_id, seq, from_state, to_state) VALUES ($1, 2, $2, $3)",
            entry.intent, "VALIDATED", "AUTHORIZED",
        )  # fmt: skip
        await stand.redis.publish(keys.intent_channel(entry.envelope.id), "AUTHORIZED")
        await until(lambda: "next_action" in [name for _, name, _ in told.events], "the next action")
        assert [(number, name) for number, name, _ in told.events] == [
            ("1", "state"), ("2", "state"), (None, "next_action"),
        ]  # fmt: skip
        assert told.events[-1][2]["next_action"]["link"].startswith("https://qr.nspk.ru/")


async def test_silence_is_broken_by_comments_while_the_key_is_in_force(
    stand: Stand, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies see life; a key that is taken out of force loses its streams."""
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.1)
    entry = await accepted(stand, client, WITHDRAWAL)
    async with following(client, entry.envelope.id) as told:
        await until(lambda: told.lines.count(": still here") >= 2, "heartbeats")
        assert told.events == []
        await stand.pool.execute("UPDATE pm.service_key SET disabled_at = now()")
        await until(lambda: told.ended, "the end")


async def test_streams_are_bounded_by_key_and_by_process(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each refusal says when to come again; a client that leaves makes room."""
    monkeypatch.setattr(events, "POLL_S", 0.1)
    await stand.add_key("other", SECRET, FREE)
    async with stand.gateway(event_streams_max=2, event_streams_per_key_max=1) as client:
        others = Client(client.url, client.port, client.session, key="other")
        mine, theirs = await accepted(stand, client, WITHDRAWAL), await accepted(stand, others, WITHDRAWAL)
        async with following(client, mine.envelope.id) as first:
            async with following(client, mine.envelope.id) as second:
                assert (second.response.status, second.response.headers["Retry-After"]) == (429, "5")
            async with following(others, theirs.envelope.id) as third:
                assert (first.response.status, third.response.status) == (200, 200)
                await stand.add_key("third", SECRET, FREE)
                last = Client(client.url, client.port, client.session, key="third")
                await until(last.accepted, "the key is known")
                own = (await last.post(WITHDRAWAL)).document["id"]
                async with following(last, own) as fourth:
                    assert (fourth.response.status, fourth.response.headers["Retry-After"]) == (503, "5")
        await until(partial(_open, client, mine.envelope.id), "the room that was left")


async def _open(client: Client, intent: str) -> bool:
    async with following(client, intent) as told:
        return told.response.status == 200


async def test_nobody_follows_what_is_not_theirs(stand: Stand, client: Client) -> None:
    """Another's intent and an unknown one are the same 404; an unsigned request is 401."""
    await stand.add_key("other", SECRET, FREE)
    others = Client(client.url, client.port, client.session, key="other")
    entry = await accepted(stand, client, WITHDRAWAL)
    await until(others.accepted, "the key is known")
    async with following(others, entry.envelope.id) as told:
        assert told.response.status == 404
    async with following(client, entry.envelope.id, user_id="mallory") as told:
        assert told.response.status == 404
    async with following(client, str(UUID(int=entry.intent.int + (1 << 30)))) as told:
        assert told.response.status == 404
    assert (await client.raw("GET", f"/v1/intents/{entry.envelope.id}/events", b"", {})).status == 401


async def test_stopping_ends_every_stream_in_order(stand: Stand) -> None:
    """At once and whole, so that the client comes back to another gateway."""
    async with stand.gateway() as client:
        entry = await accepted(stand, client, WITHDRAWAL)
        stream = following(client, entry.envelope.id)
        told = await stream.__aenter__()
        await until(partial(listens, stand, entry), "the subscription")
        started = time.monotonic()
    await until(lambda: told.ended, "the end")
    assert time.monotonic() - started < 5
    await stream.__aexit__(None, None, None)


async def test_a_client_that_goes_away_leaves_nothing_behind(
    stand: Stand, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its subscription ends with the first thing that cannot be sent."""
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.1)
    entry = await accepted(stand, client, WITHDRAWAL)
    async with following(client, entry.envelope.id) as told:
        await until(partial(listens, stand, entry), "the subscription")
        told.response.close()
    await until(partial(_silent, stand, entry), "nobody listens any more")
