"""The desk at which every call is served: choose its scenario, wait, commit, make it durable, answer or go wrong.

The commit is one synchronous function, so a decision and the change it rests on cannot be torn apart; a caller who
hangs up changes nothing about it. What was served is remembered, so that tests may ask who called when and for what.
This module must never answer before the journal is on disk.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from adapters.sandbox.answers import Answer, Refused, as_response
from adapters.sandbox.clock import Clock
from adapters.sandbox.faults import go_wrong
from adapters.sandbox.journal import Journal
from adapters.sandbox.scenario import BadScenario, Scenario
from adapters.sandbox.stage import Call, Stage

CALLS_KEPT: Final = 100_000

Commit = Callable[[Scenario], Answer]
"""Decides a call and changes the books; synchronous. May raise `Refused`."""


@dataclass(slots=True)
class Served:
    """One call: when it came, what it was, what it played, and how it ended (None: not yet)."""

    seq: int
    at_ms: int
    operation: str
    reference: str
    scenario: str
    committed: bool = False
    outcome: str | None = None


class Desk:
    """Serves calls, and remembers the last hundred thousand."""

    def __init__(self, *, stage: Stage, journal: Journal, clock: Clock) -> None:
        self._stage = stage
        self._journal = journal
        self._clock = clock
        self._served: deque[Served] = deque(maxlen=CALLS_KEPT)
        self._count = 0

    def served(self, *, operation: str | None, reference: str | None) -> list[Served]:
        """Return the calls, all or those of an operation or reference, oldest first."""
        return [
            line for line in self._served if operation in (None, line.operation) and reference in (None, line.reference)
        ]

    async def serve(self, request: web.Request, call: Call, commit: Commit) -> web.StreamResponse:
        """Serve one call.

        Raises:
            Refused: the request makes no sense, or the commit refused it.
        """
        try:
            scenario = self._stage.choose(call)
        except BadScenario as error:
            raise Refused(400, "INVALID_SCENARIO", str(error)) from None
        self._count += 1
        line = Served(self._count, self._clock.now_ms(), call.operation, call.reference, scenario.text)
        self._served.append(line)
        if scenario.delay_ms:
            await self._clock.sleep(scenario.delay_ms)
        return await self._play(request, scenario, commit, line)

    async def _play(self, request: web.Request, scenario: Scenario, commit: Commit, line: Served) -> web.StreamResponse:
        fault = scenario.fault
        if fault is not None and not fault.after_commit:
            line.outcome = fault.kind
            return await go_wrong(request, fault, {})
        try:
            # The point of no return: the books change here, whatever becomes of the answer.
            answer = commit(scenario)
        except Refused as refused:
            line.outcome = str(refused.status)
            await self._journal.durable()
            raise
        line.committed = True
        await self._journal.durable()
        if fault is not None:
            line.outcome = fault.kind
            return await go_wrong(request, fault, dict(answer.body))
        line.outcome = str(answer.status)
        return as_response(answer)
