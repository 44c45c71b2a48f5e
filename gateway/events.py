"""One intent followed live, as Server-Sent Events: each step it takes is an event, by the number of the step.

What has happened already comes first, then what happens. The steps are read from PostgreSQL; the channel
`intent.<id>` only says when to look, and a look every few seconds makes up for a hint that never came. A stream ends
behind the final state, when the process stops, when its key is taken out of force, or after an hour; whoever was cut
off comes back with `Last-Event-ID` and has missed nothing.

This module must never send a step that is not in the database, and never hold more streams than its bounds.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import hdrs, web

from gateway.auth import Caller
from gateway.calls import Call
from gateway.intents import Intents
from gateway.problems import Problem
from gateway.reads import Reads, StepRow
from gateway.views import IntentRow, next_action_view, write_time
from gateway.waiting import Hints, tolerant
from shared.ids import IntentId, parse_intent_id
from shared.states import TERMINAL, IntentState

LAST_EVENT_ID: Final = "Last-Event-ID"
HEARTBEAT_S: Final = 15.0
"""A comment after so long a silence; a proxy that closes idle connections waits longer."""
POLL_S: Final = 5.0
"""How often the database is asked though no hint came, and whether the client is still there."""
STREAM_MAX_S: Final = 3600.0
WRITE_TIMEOUT_S: Final = 10.0
"""A client that takes nothing for so long is cut off."""
RECONNECT_MS: Final = 2000
_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "Server": "paymesh",
    # What a proxy collects before it passes it on is not live.
    "X-Accel-Buffering": "no",
}
_DIGITS_MAX: Final = 9
_ENCODE: Final = json.JSONEncoder(separators=(",", ":")).encode


class Streams:
    """How many streams are open, in this process and of each key."""

    def __init__(self, *, streams_max: int, per_key_max: int) -> None:
        self._streams_max = streams_max
        self._per_key_max = per_key_max
        self._count = 0
        self._of_key: Counter[str] = Counter()

    @contextmanager
    def one_more(self, key_id: str) -> Iterator[None]:
        """Count a stream of a key for the length of the block.

        Raises:
            Problem: ``too_many_streams`` or ``streams_exhausted``.
        """
        if self._of_key[key_id] >= self._per_key_max:
            raise Problem("too_many_streams", f"a key follows at most {self._per_key_max} intents at a time")
        if self._count >= self._streams_max:
            raise Problem("streams_exhausted")
        self._count += 1
        self._of_key[key_id] += 1
        try:
            yield
        finally:
            self._count -= 1
            self._of_key[key_id] -= 1
            if not self._of_key[key_id]:
                del self._of_key[key_id]


@dataclass(frozen=True, slots=True)
class Events:
    """The handler of ``/v1/intents/{id}/events``."""

    intents: Intents
    streams: Streams

    async def follow(self, call: Call) -> web.StreamResponse:
        """Send an intent's steps as they happen, until there are no more."""
        start = asyncio.get_running_loop().time()
        authenticator, hints = self.intents.authenticator, self.intents.hints
        caller = await authenticator.caller(call)
        intent = parse_intent_id(call.params["id"])
        after = _last_seen(call.request)
        row = await self.intents.find(caller, intent)
        if not hints.open:
            raise Problem("streams_exhausted")
        with self.streams.one_more(caller.key.id):
            subject = str(intent if row is None else row.id)
            with hints.expect(subject, follow=True) as hint:
                tail = _Tail(self.intents.reads, intent, after)
                if row is not None:
                    await tail.look()
                    if tail.ended and not tail.lines:
                        # This tells a client that reconnects by itself to stop.
                        return web.Response(status=204, headers={"Cache-Control": "no-store", "Server": "paymesh"})
                if call.request.method == hdrs.METH_HEAD:
                    return web.Response(headers=_HEADERS)
                response = await _Sender(call, hints, hint, tail, caller, self).run()
        call.wait_s = asyncio.get_running_loop().time() - start
        return response

    async def in_force(self, caller: Caller) -> bool:
        """Say whether the caller's key may still follow anything; one that cannot be checked may not."""
        try:
            return await self.intents.authenticator.in_force(caller)
        except Problem:
            return False


@dataclass(slots=True)
class _Tail:
    """What of an intent has not been sent yet; `lines` are whole events."""

    reads: Reads
    intent: IntentId
    after: int
    lines: list[bytes] = field(default_factory=list, init=False)
    ended: bool = field(default=False, init=False)
    _state: IntentState | None = field(default=None, init=False)
    _asked: bool = field(default=False, init=False)
    """Whether the client has been told what the payer has to do."""

    async def look(self) -> None:
        """Add what has happened since the last look.

        Raises:
            Transient, OutcomeUnknown: the database is out of reach.
        """
        row = await self.reads.intent(self.intent)
        if row is None:
            return
        if row.state is not self._state:
            await self._steps(row)
        if row.waits_for_somebody and not self._asked:
            self._asked = True
            self.lines.append(_event("next_action", {"id": str(row.id), "next_action": next_action_view(row)}))

    async def _steps(self, row: IntentRow) -> None:
        steps = await self.reads.steps(row.id, after=self.after)
        if steps and steps[-1].to_state is not row.state:
            # The intent has moved on between the two reads; why it ended stands in its row.
            row = await self.reads.intent(row.id) or row
        for step in steps:
            self.after = step.seq
            self.lines.append(_event("state", _step(row, step), seq=step.seq))
        self._state = steps[-1].to_state if steps else row.state
        self.ended = self._state in TERMINAL


@dataclass(frozen=True, slots=True)
class _Sender:
    """One open stream."""

    call: Call
    hints: Hints
    hint: asyncio.Event
    tail: _Tail
    caller: Caller
    events: Events

    async def run(self) -> web.StreamResponse:
        """Send until there is nothing more to send, or nobody to send it to."""
        response = web.StreamResponse(headers={**_HEADERS, **self.call.headers})
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + STREAM_MAX_S
        try:
            await response.prepare(self.call.request)
            await self._write(response, b"retry: %d\n\n" % RECONNECT_MS)
            beat_at = loop.time() + HEARTBEAT_S
            while True:
                if lines := self._taken():
                    await self._write(response, lines)
                    beat_at = loop.time() + HEARTBEAT_S
                if self.tail.ended or self.hints.closed or self._left_alone() or loop.time() >= ends_at:
                    break
                if loop.time() >= beat_at:
                    if not await self.events.in_force(self.caller):
                        break
                    await self._write(response, b": still here\n\n")
                    beat_at = loop.time() + HEARTBEAT_S
                await self._next_look(min(beat_at, ends_at))
            await self._end(response)
        except (ConnectionError, TimeoutError):
            # The client has gone, or takes nothing; there is nobody to tell.
            if self.call.request.transport is not None:
                self.call.request.transport.abort()
        return response

    def _left_alone(self) -> bool:
        transport = self.call.request.transport
        return transport is None or transport.is_closing()

    def _taken(self) -> bytes:
        lines, self.tail.lines = b"".join(self.tail.lines), []
        return lines

    async def _next_look(self, deadline: float) -> None:
        """Wait for a hint or the next poll, and look; trouble with the database only means that nothing is sent."""
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(0.0, min(POLL_S, deadline - now))):
                await self.hint.wait()
        except TimeoutError:
            pass
        self.hint.clear()
        await tolerant(self.tail.look)

    async def _write(self, response: web.StreamResponse, text: bytes) -> None:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await response.write(text)

    async def _end(self, response: web.StreamResponse) -> None:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await response.write_eof()


def _last_seen(request: web.BaseRequest) -> int:
    text = request.headers.get(LAST_EVENT_ID, "").strip()
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise Problem("bad_header", f"{LAST_EVENT_ID} is the id of an event of this intent")
    return int(text)


def _step(row: IntentRow, step: StepRow) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": str(row.id),
        "seq": step.seq,
        "from_state": step.from_state,
        "state": step.to_state,
        "final": step.to_state in TERMINAL,
        "at": write_time(step.at),
    }
    if step.to_state in TERMINAL and (error := row.error) is not None:
        document["error"] = error
    return document


def _event(name: str, document: dict[str, Any], *, seq: int | None = None) -> bytes:
    """Write one event; what has no number leaves the client's last one as it is."""
    number = "" if seq is None else f"id: {seq}\n"
    return f"{number}event: {name}\ndata: {_ENCODE(document)}\n\n".encode()
