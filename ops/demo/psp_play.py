"""Plays the second act: money out and in through the PSPs, every state followed as the gateway tells it.

The sandboxes are asked for nothing but what a payer does: to pay a code, or to let its time pass. This module must
never make an expectation fit an outcome.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from adapters.sandbox.client import ControlError, SandboxControl
from ops.client import TERMINAL, Answer
from ops.demo.play import Stage, faults
from ops.demo.psp_script import LATE_CREDITS, LIMIT_SATANG, Fate, Payout, PspScript, Topup, Way
from ops.demo.script import Step
from shared.errors import OutcomeUnknown, PaymeshError

_PAUSE_S: Final = 0.1
_TIMEOUT_S: Final = 30.0
_LINK: Final = "https://qr.nspk.ru/"


@dataclass(slots=True)
class Course:
    """How far an intent has come: the states it was seen in, and when (seconds since it was posted)."""

    name: str
    way: Way
    posted_at: float
    seen: list[tuple[float, str]] = field(default_factory=list)
    id: str = ""
    outcome: str = ""
    late_credits: int = 0

    @property
    def state(self) -> str:
        """The state it was seen in last."""
        return self.seen[-1][1] if self.seen else "CREATED"


@dataclass(slots=True)
class Board:
    """What the audience sees: every intent of the act, by the name of its step."""

    courses: dict[str, Course] = field(default_factory=dict)

    def count(self) -> Mapping[Way, Counter[str]]:
        """Count states by the way that money takes; ``LATE_CREDIT`` counts what became intents of their own."""
        found: dict[Way, Counter[str]] = {}
        for course in self.courses.values():
            states = found.setdefault(course.way, Counter())
            states[course.state] += 1
            if course.late_credits:
                states["LATE_CREDIT"] += course.late_credits
        return found


@dataclass(frozen=True, slots=True)
class PspStage:
    """Where the act takes place.

    Attributes:
        stage: the client, and where faults are noted.
        ipps: control over the sandbox that pays out.
        qp: control over the sandbox that is paid.
        board: what is seen.
        shown: told the link of a code that is to be drawn.
        moved: told of every new state of an intent.
    """

    stage: Stage
    ipps: SandboxControl
    qp: SandboxControl
    board: Board
    shown: Callable[[Step, str], None]
    moved: Callable[[Course], None]

    async def play(self, script: PspScript) -> None:
        """Play the act, all at once; a payout whose answer is lost takes as long as everything else together."""
        await self.ipps.change_terms(amountMaxMinor=LIMIT_SATANG)
        async with asyncio.TaskGroup() as group:
            for payout in script.payouts:
                group.create_task(self._guarded(payout.step, payout.way, self._pay_out(payout)))
            first = True
            for topup in script.topups:
                group.create_task(self._guarded(topup.step, Way.SBP, self._top_up(topup, drawn=first)))
                first = False

    async def _guarded(self, step: Step, way: Way, work: Any) -> None:
        self.board.courses[step.name] = Course(step.name, way, time.monotonic())
        try:
            await work
        except (PaymeshError, ControlError, aiohttp.ClientError, TimeoutError) as error:
            self._fault(step, f"{type(error).__name__}: {error}")

    async def _pay_out(self, payout: Payout) -> None:
        answer = await self._posted(payout.step)
        final = await self._followed(payout.step, answer, lambda seen: seen.document.get("state") in TERMINAL)
        self._judge(payout.step, answer, final)

    async def _top_up(self, topup: Topup, *, drawn: bool) -> None:
        step = topup.step
        answer = await self._posted(step)
        asked = await self._followed(step, answer, lambda seen: "next_action" in seen.document or _final(seen))
        link = str(asked.document.get("next_action", {}).get("link"))
        if not link.startswith(_LINK):
            self._fault(step, f"no link to pay by, but {asked.document.get('state')} ({asked.code})")
            return
        if drawn:
            self.shown(step, link)
        code = link.removeprefix(_LINK).partition("?")[0]
        if topup.fate in (Fate.UNPAID, Fate.LATE):
            await self.qp.call("POST", f"/control/qrs/{code}/expire")
        else:
            await self.qp.call("POST", "/control/pay", {"qrcId": code})
        final = await self._followed(step, answer, _final)
        self._judge(step, answer, final)
        if topup.fate in (Fate.LATE, Fate.TWICE):
            await self.qp.call("POST", "/control/pay", {"qrcId": code, "force": topup.fate is Fate.LATE})
        await self._check_children(topup, final)

    async def _check_children(self, topup: Topup, final: Answer) -> None:
        """Wait for the payments that became intents of their own, and look at them."""
        step, wanted = topup.step, LATE_CREDITS[topup.fate]
        if wanted:
            final = await self._followed(
                step,
                final,
                lambda seen: len(_settled_children(seen)) >= wanted,
            )
        children = final.document.get("children", [])
        self.board.courses[step.name].late_credits = len(children)
        self.stage.changed()
        if len(children) != wanted:
            self._fault(step, f"{len(children)} late credits instead of {wanted}")
        for child in children:
            operation = (await self.stage.client.intent(child["id"])).document.get("operation", {})
            told = (child["operation_type"], child["state"], operation.get("account"), operation.get("amount_minor"))
            due = ("LATE_CREDIT", "SETTLED", step.operation["to_account"], step.operation["amount_minor"])
            if told != due:
                self._fault(step, f"a child {told} instead of {due}")

    async def _posted(self, step: Step) -> Answer:
        answer = await self.stage.sent(step)
        course = self.board.courses[step.name]
        course.id = str(answer.document.get("id", ""))
        self._note(step, answer)
        return answer

    async def _followed(self, step: Step, answer: Answer, enough: Callable[[Answer], bool]) -> Answer:
        """Ask where an intent stands until it is enough.

        Raises:
            OutcomeUnknown: it took too long.
        """
        deadline = time.monotonic() + _TIMEOUT_S
        seen = answer
        while answer.accepted and not enough(seen):
            if time.monotonic() > deadline:
                raise OutcomeUnknown(f"{answer.document['id']} is still {seen.document.get('state')}")
            await asyncio.sleep(_PAUSE_S)
            seen = await self.stage.client.intent(answer.document["id"])
            self._note(step, seen)
        return seen

    def _note(self, step: Step, answer: Answer) -> None:
        course = self.board.courses[step.name]
        state = str(answer.document.get("state")) if answer.accepted else f"HTTP {answer.status}"
        if course.seen and course.state == state:
            return
        course.seen.append((time.monotonic() - course.posted_at, state))
        course.outcome = f"{state} {answer.code or ''}".strip()
        self.moved(course)
        self.stage.changed()

    def _judge(self, step: Step, answer: Answer, final: Answer) -> None:
        tally = self.stage.tally
        tally.states[self.board.courses[step.name].state] += 1
        tally.steps_done += 1
        for fault in faults(step, answer, final, tally.ids):
            self._fault(step, fault)

    def _fault(self, step: Step, text: str) -> None:
        self.stage.tally.faults.append(f"{step.name}: {text}")


def _final(answer: Answer) -> bool:
    return answer.document.get("state") in TERMINAL


def _settled_children(answer: Answer) -> list[Any]:
    return [child for child in answer.document.get("children", []) if child["state"] == "SETTLED"]
