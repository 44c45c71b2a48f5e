"""One call to the PSP, measured, bounded in time and reported to the breaker; and the time a job may take in all.

This module must never repeat a call.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from adapters.runtime.conditions import Conditions
from adapters.runtime.metrics import AdapterMetrics
from adapters.runtime.psp import Ambiguous, Answer, Call, Definite, NotSent, Psp, Ready
from adapters.runtime.steps import SUBMITTING

_BACKOFF_FIRST_S: Final = 0.2
_CALL_S_MIN: Final = 0.05
AnswerT = TypeVar("AnswerT", bound=Ready | Definite | NotSent | Ambiguous)


@dataclass(frozen=True, slots=True)
class Budget:
    """How long the calls of one job may still take, by the loop's clock.

    Attributes:
        until_s: when it is used up.
        tries: of one call, the first included.
        jitter: a random number in [0, 1).
    """

    until_s: float
    tries: int
    jitter: Callable[[], float] = random.random

    @property
    def left_s(self) -> float:
        """What is left."""
        return max(0.0, self.until_s - asyncio.get_running_loop().time())

    async def pause(self, tried: int, retry_after_s: float | None) -> bool:
        """Wait before the next try; False if there is none: the tries or the time are used up.

        The pause is exponential with jitter, never shorter than what the PSP asked for.
        """
        longest_s = _BACKOFF_FIRST_S * 4 ** (tried - 1)
        pause_s = max(longest_s * (0.5 + self.jitter() / 2), retry_after_s or 0.0)
        if tried >= self.tries or pause_s + _CALL_S_MIN >= self.left_s:
            return False
        await asyncio.sleep(pause_s)
        return True

    async def wait(self, wait_s: float, *, keep_s: float) -> bool:
        """Wait before another kind of call, if that leaves `keep_s` for it; False at once if it does not."""
        if wait_s + keep_s > self.left_s:
            return False
        await asyncio.sleep(wait_s)
        return True


@dataclass(slots=True)
class Leave:
    """The breaker's leave for one job: asked for before its first call, and kept until its end."""

    given: bool = False


class Calls:
    """The PSP's methods as the runtime calls them."""

    def __init__(
        self, *, psp: Psp, conditions: Conditions, metrics: AdapterMetrics, timeout_s: float, keep_s: float
    ) -> None:
        self._psp = psp
        self._conditions = conditions
        self._metrics = metrics
        self._timeout_s = timeout_s
        self.keep_s = keep_s
        """What a submission leaves of the budget, for the inquiry that may have to follow."""

    def timeout_s(self, budget: Budget, *, keep_s: float = 0.0) -> float:
        """Return how long the next call may take."""
        return max(_CALL_S_MIN, min(self._timeout_s, budget.left_s - keep_s))

    async def may_begin(self, leave: Leave) -> bool:
        """Say whether a job may call the PSP; False only before its first call.

        While the breaker is half open, leave is what one job at a time has, so it is not asked for without a call to
        make: one that makes none would keep everybody from finding out.
        """
        if not leave.given:
            leave.given = await self._conditions.may_call()
        return leave.given

    async def prepare(self, call: Call) -> Ready | Answer:
        """Prepare a submission."""
        return await self._measured("prepare", self._psp.prepare, call)

    async def submit(self, call: Call) -> Answer:
        """Make a submission."""
        token = SUBMITTING.set(True)
        try:
            return await self._measured("submit", self._psp.submit, call)
        finally:
            SUBMITTING.reset(token)

    async def inquire(self, call: Call) -> Answer:
        """Ask."""
        return await self._measured("inquire", self._psp.inquire, call)

    async def cancel(self, call: Call) -> Answer:
        """Give up at the PSP."""
        return await self._measured("cancel", self._psp.cancel, call)

    async def _measured(
        self, kind: str, method: Callable[[Call], Awaitable[AnswerT]], call: Call
    ) -> AnswerT | Ambiguous:
        name = self._psp.manifest.psp
        answer: AnswerT | Ambiguous
        with self._metrics.call_seconds.labels(name, kind).time():
            try:
                async with asyncio.timeout(call.timeout_s):
                    answer = await method(call)
            except TimeoutError:
                answer = Ambiguous("timeout")
        self._metrics.calls.labels(name, kind, _named(answer)).inc()
        match answer:
            case NotSent(throttled=True):
                pass
            case Ready(data=data) if not data:
                # Nothing came of it that only the PSP could have said: it was not called.
                pass
            case NotSent() | Ambiguous():
                self._conditions.report(answered=False)
            case _:
                self._conditions.report(answered=True)
        return answer


def _named(answer: Ready | Definite | NotSent | Ambiguous) -> str:
    match answer:
        case Ready():
            return "ready"
        case Definite():
            return answer.outcome.lower()
        case NotSent():
            return "not_sent"
        case Ambiguous():
            return "ambiguous"
