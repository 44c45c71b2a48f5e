"""Plays the script: every step over real HTTP, and what came of it held against what must.

This module must never make an expectation fit an outcome.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Final

import aiohttp

from ops.client import TERMINAL, Answer, Client
from ops.demo.script import Kind, Script, Step
from shared.errors import PaymeshError

CONCURRENCY: Final = 24
SAME_KEY_POSTS: Final = 50
_DECIDED_TIMEOUT_S: Final = 20.0
_TIMEOUT_S: Final = 30.0


@dataclass(slots=True)
class Tally:
    """What has come of the play so far."""

    states: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    """The intent of each accepted step, by the step's name."""
    alone_ms: list[float] = field(default_factory=list)
    """How long each payment took that had the mesh to itself."""
    outcomes: dict[str, str] = field(default_factory=dict)
    """What came of each step, in a word, by the step's name."""
    steps_done: int = 0

    @property
    def median_ms(self) -> float | None:
        """The median time of a payment that had the mesh to itself."""
        return median(self.alone_ms) if self.alone_ms else None


Changed = Callable[[], None]
"""Told whenever the tally has changed."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the play takes place: a client whose signature is good, and the tally."""

    client: Client
    tally: Tally
    changed: Changed

    async def open_wallets(self, wallets: Sequence[str]) -> None:
        """Open the wallets, all at once."""
        answers = await asyncio.gather(*(self.client.open_account(name) for name in wallets))
        for name, answer in zip(wallets, answers, strict=True):
            if answer.status not in (200, 201):
                self.tally.faults.append(f"{name} was not opened: HTTP {answer.status} {answer.code}")

    async def play(self, steps: Sequence[Step], *, at_once: int = CONCURRENCY) -> None:
        """Play steps, some at once."""
        turn = asyncio.Semaphore(at_once)

        async def one(step: Step) -> None:
            async with turn:
                await self._step(step)

        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(one(step))

    async def crowd(self, step: Step) -> None:
        """Post one step many times at once, under its one key: one intent, one movement, equal answers."""
        answers = await asyncio.gather(*(self.sent(step) for _ in range(SAME_KEY_POSTS)))
        told = Counter((answer.status, str(answer.document.get("id"))) for answer in answers)
        if len(told) != 1:
            self.tally.faults.append(f"{step.name}: {SAME_KEY_POSTS} posts under one key were told {dict(told)}")
        first = sum(not answer.replayed for answer in answers)
        if first != 1:
            self.tally.faults.append(f"{step.name}: {first} of {SAME_KEY_POSTS} posts were taken for the first")
        self._judge(step, answers[0], await self._final(answers[0]))
        self.tally.steps_done += 1
        self.changed()

    async def balances(self, wallets: Sequence[str]) -> dict[str, int]:
        """Ask what the wallets hold."""
        answers = await asyncio.gather(*(self.client.balance(name) for name in wallets))
        return {
            name: int(answer.document.get("balance_minor", -1)) for name, answer in zip(wallets, answers, strict=True)
        }

    async def _step(self, step: Step) -> None:
        started = time.perf_counter()
        try:
            answer = await self.sent(step)
            if step.kind is Kind.ALONE:
                self.tally.alone_ms.append((time.perf_counter() - started) * 1000)
            final = await self._final(answer)
        except (PaymeshError, aiohttp.ClientError, TimeoutError) as error:
            self.tally.faults.append(f"{step.name}: {type(error).__name__}: {error}")
        else:
            self._judge(step, answer, final)
        self.tally.steps_done += 1
        self.changed()

    async def sent(self, step: Step) -> Answer:
        """Post a step until somebody answers."""
        client = self.client
        if step.forged:
            client = replace(client, secret=f"{client.secret}x")
        if step.after_s:
            client = replace(client, now_unix_s=lambda: time.time() + step.after_s)
        return await client.send_until_answered(
            step.operation, idempotency_key=step.key, user_id=step.user, wait_s=step.wait_s, timeout_s=_TIMEOUT_S
        )

    async def _final(self, answer: Answer) -> Answer:
        """Return the answer itself, or, where the intent was not decided yet, the one that says what became of it."""
        if not answer.accepted or answer.document.get("state") in TERMINAL:
            return answer
        return await self.client.decided(answer.document["id"], timeout_s=_DECIDED_TIMEOUT_S)

    def _judge(self, step: Step, answer: Answer, final: Answer) -> None:
        state = str(final.document.get("state")) if answer.accepted else f"HTTP {answer.status}"
        self.tally.states[state] += 1
        self.tally.outcomes[step.name] = f"{state} {final.code or ''}".strip()
        if answer.accepted:
            self.tally.ids[step.name] = str(answer.document.get("id"))
        for fault in faults(step, answer, final, self.tally.ids):
            self.tally.faults.append(f"{step.name}: {fault}")


def faults(step: Step, answer: Answer, final: Answer, ids: dict[str, str]) -> list[str]:
    """Say in what the outcome of a step differs from what must come of it."""
    expected = step.expected
    found: list[str] = []
    if answer.status not in expected.status:
        found.append(f"HTTP {answer.status} ({answer.code}) instead of {' or '.join(map(str, expected.status))}")
    if expected.state is not None and final.document.get("state") != expected.state:
        found.append(f"{final.document.get('state')} ({final.code}) instead of {expected.state}")
    if expected.code is not None and final.code != expected.code:
        found.append(f"{final.code} instead of {expected.code}")
    if expected.same_as is not None:
        if answer.document.get("id") != ids.get(expected.same_as):
            found.append("answered with another intent than the first time")
        if not answer.replayed:
            found.append("not marked as a replay")
    return found


async def play_script(stage: Stage, script: Script, say: Callable[[str], None]) -> dict[str, int]:
    """Play a whole script and return what the wallets hold in the end."""
    say(f"opening {len(script.wallets)} wallets")
    await stage.open_wallets(script.wallets)
    say(f"funding {len(script.funding)} wallets")
    await stage.play(script.funding)
    say(f"posting {len(script.transfers)} payments")
    await stage.play(script.transfers)
    say(f"posting {len(script.alone)} payments one after the other")
    await stage.play(script.alone, at_once=1)
    say(f"posting one payment {SAME_KEY_POSTS} times at once, under one key")
    await stage.crowd(script.crowd)
    say(f"posting {len(script.refusals)} that must be refused, or be recognised as repeated")
    await stage.play(script.refusals)
    return await stage.balances(script.wallets)
