"""What an intent can tell, over HTTP: the same story as `paymesh intent explain`, by the database's projections.

Only for keys with the permission `timeline`, since operators' names and reasons are part of it; and only of intents
that are theirs. The ledger is not asked: a gateway has no session with it. What Redis knows is left out, and said to
be, where Redis does not answer. This module must never show anything that `shared.timeline` has not been told to read.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web
from redis.asyncio import Redis

from gateway.calls import Call
from gateway.intents import Intents
from gateway.problems import Problem
from gateway.reads import Reads
from gateway.views import json_response, write_time
from shared.errors import OutcomeUnknown, Transient
from shared.ids import parse_intent_id
from shared.timeline.compose import compose
from shared.timeline.read import read_streams
from shared.timeline.story import Child, Event, Known, Next, Timeline

PAGE_DEFAULT: Final = 200
PAGE_MAX: Final = 500
_DIGITS_MAX: Final = 6


@dataclass(frozen=True, slots=True)
class Timelines:
    """The handler of ``/v1/intents/{id}/timeline``."""

    intents: Intents
    reads: Reads
    redis: Redis

    async def read(self, call: Call) -> web.Response:
        """Tell an intent, a page of its events at a time."""
        caller = await self.intents.authenticator.caller(call)
        if not caller.key.permissions.timeline:
            raise Problem("operation_not_permitted", "reading timelines is a permission of its own")
        intent = parse_intent_id(call.params["id"])
        limit = _number(call, "limit", default=PAGE_DEFAULT, least=1, most=PAGE_MAX)
        first = _number(call, "cursor", default=0, least=0, most=10**_DIGITS_MAX)
        await self.intents.find(caller, intent)
        known = await self._beside_streams(await self.reads.known(intent))
        return json_response(200, timeline_document(compose(known, now=datetime.now(UTC)), first=first, limit=limit))

    async def _beside_streams(self, known: Known) -> Known:
        try:
            return await read_streams(self.redis, known)
        except (Transient, OutcomeUnknown):
            sentence = "Redis is out of reach: permits and dead letters are missing"
            return replace(known, missing=(*known.missing, sentence))


def timeline_document(story: Timeline, *, first: int, limit: int) -> dict[str, Any]:
    """Return a story with one page of its events, from number `first` on."""
    past = first + limit
    return {
        "id": story.id,
        "state": story.state,
        "funds": story.funds,
        "headline": story.headline,
        "next": [_next(step) for step in story.next],
        "events": [_event(event) for event in story.events[first:past]],
        "next_cursor": str(past) if past < len(story.events) else None,
        "effects": [
            {
                "account": effect.account,
                "currency": effect.currency,
                "posted_minor": effect.posted_minor,
                "held_minor": effect.held_minor,
            }
            for effect in story.effects
        ],
        "children": [_child(child) for child in story.children],
        "missing": list(story.missing),
    }


def _event(event: Event) -> dict[str, Any]:
    return {"at": write_time(event.at), "source": event.source, "text": event.text, "detail": dict(event.detail)}


def _next(step: Next) -> dict[str, Any]:
    return {"code": step.code, "text": step.text, "at": None if step.at is None else write_time(step.at)}


def _child(child: Child) -> dict[str, Any]:
    return {
        "id": child.id,
        "operation_type": child.operation_type,
        "state": child.state,
        "events": [_event(event) for event in child.events],
    }


def _number(call: Call, name: str, *, default: int, least: int, most: int) -> int:
    text = call.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX and least <= int(text) <= most):
        raise Problem("bad_parameter", f"{name} is a number from {least} to {most}")
    return int(text)
