"""Callbacks: what a sandbox tells its partner of its own accord, and all that may go wrong with that.

A callback is a POST of JSON to the agreed URL with two headers::

    X-<Psp>-Timestamp: 1767225600                unix seconds, when this attempt was made
    X-<Psp>-Signature: <hex HMAC-SHA256>         with the agreed secret, over `timestamp + "." + body`, as bytes

Any 2xx answer within five seconds is an acknowledgement; anything else is tried again after a pause that doubles, up
to the agreed number of attempts. A forged or replayed callback is sent once, whatever the answer: an attacker does
not queue. Every event has an `eventId`, which its copies share. This module must never tell what the books do not
say, unless a scenario asks it to lie.
"""

import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal
from uuid import uuid4

from aiohttp import ClientError, ClientSession, ClientTimeout
from pydantic import JsonValue

from adapters.sandbox.agenda import Again, Agenda, Task
from adapters.sandbox.clock import Clock, iso
from adapters.sandbox.journal import Journal
from adapters.sandbox.scenario import Scenario
from adapters.sandbox.terms import Contract

ACTION: Final = "callback"
TIMEOUT_S: Final = 5.0
PAUSE_MAX_MS: Final = 60_000
REPLAYED_AGE_S: Final = 3_600
_EARLIER_MS: Final = 1_000
_WRONG_SECRET: Final = b"a secret that nobody ever agreed on"

Manner = Literal["genuine", "forged", "replayed"]


@dataclass(frozen=True, slots=True)
class News:
    """Something to tell: the status that is true, the one before it, and the one a forger would claim."""

    reference: str
    status: str
    earlier: str
    contrary: str
    amount_minor: int
    write: Callable[[str, int], dict[str, JsonValue]]
    """Gives the body for a status and an amount; event id and time are added here."""


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return the signature of a callback."""
    return hmac.digest(secret, timestamp.encode() + b"." + body, "sha256").hex()


class Callbacks:
    """Plans callbacks and delivers them."""

    def __init__(self, *, psp: str, agenda: Agenda, contract: Contract, clock: Clock, journal: Journal) -> None:
        self._header = f"X-{psp.capitalize()}"
        self._agenda = agenda
        self._contract = contract
        self._clock = clock
        self._journal = journal

    def announce(self, news: News, scenario: Scenario) -> None:
        """Plan what the partner will hear of the news."""
        now_ms = self._clock.now_ms()
        if scenario.callback_forged:
            self.send(news, status=news.contrary, at_ms=now_ms, manner="forged")
        if scenario.callback_replayed:
            self.send(news, at_ms=now_ms, manner="replayed")
        if scenario.callback_lost:
            return
        last = self.send(
            news,
            amount_minor=scenario.callback_amount_minor,
            at_ms=now_ms,
            in_ms=scenario.callback_late_ms,
            copies=scenario.callback_copies,
        )
        if scenario.callback_out_of_order and last is not None:
            self.send(news, status=news.earlier, at_ms=now_ms - _EARLIER_MS, after=last.id)

    def send(
        self,
        news: News,
        *,
        status: str | None = None,
        amount_minor: int | None = None,
        at_ms: int,
        manner: Manner = "genuine",
        in_ms: int = 0,
        copies: int = 1,
        after: str | None = None,
    ) -> Task | None:
        """Plan one callback, or copies of it; return the last, None where no URL is agreed."""
        if self._contract.terms.callback_url is None:
            return None
        amount = news.amount_minor if amount_minor is None else amount_minor
        body = {"eventId": uuid4().hex, "occurredAt": iso(at_ms)} | news.write(status or news.status, amount)
        data: dict[str, JsonValue] = {"body": json.dumps(body), "manner": manner}
        task = None
        for _ in range(copies):
            task = self._agenda.add(ACTION, news.reference, in_ms=in_ms, data=data, after=after)
        return task

    async def deliver(self, task: Task, *, http: ClientSession) -> Task | Again:
        """Make one attempt to deliver a callback."""
        await self._journal.durable()
        terms = self._contract.terms
        manner, body = task.data["manner"], str(task.data["body"]).encode()
        if terms.callback_url is None or terms.callback_secret is None:
            return task.model_copy(update={"state": "given_up"})
        timestamp = str(self._clock.wall_ms() // 1000 - (REPLAYED_AGE_S if manner == "replayed" else 0))
        secret = _WRONG_SECRET if manner == "forged" else terms.callback_secret.get_secret_value().encode()
        headers = {
            "Content-Type": "application/json",
            f"{self._header}-Timestamp": timestamp,
            f"{self._header}-Signature": sign(secret, timestamp, body),
        }
        status = await _post(http, terms.callback_url, body, headers)
        tried = task.model_copy(update={"attempt": task.attempt + 1, "answers": (*task.answers, status)})
        if manner != "genuine" or 200 <= status < 300:  # noqa: PLR2004
            return tried.model_copy(update={"state": "done"})
        if tried.attempt >= terms.callback_attempts_max:
            return tried.model_copy(update={"state": "given_up"})
        return Again(task=tried, in_ms=min(PAUSE_MAX_MS, terms.callback_retry_ms << min(task.attempt, 16)))


async def _post(http: ClientSession, url: str, body: bytes, headers: dict[str, str]) -> int:
    """Post once; return the status, 0 where there was no answer."""
    try:
        async with http.post(
            url, data=body, headers=headers, timeout=ClientTimeout(total=TIMEOUT_S), allow_redirects=False
        ) as answer:
            return answer.status
    except (ClientError, TimeoutError, OSError):
        return 0
