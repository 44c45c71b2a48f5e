"""What a sandbox has still to do: settle, reverse, expire, call back, each at its time.

Tasks are rows of the books, so a sandbox that was killed goes on where it was. A task may run twice (killed after its
action, before its row says done): actions look at the books first, and a callback that arrives twice is nothing
unusual. Each task runs on its own; a slow receiver of callbacks delays nothing but its own. At most 64 run at a time.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal
from uuid import uuid4

from pydantic import JsonValue

from adapters.sandbox.books import Books, Record
from adapters.sandbox.clock import Clock

RUNNING_MAX: Final = 64
_NAP_MAX_S: Final = 1.0


class Task(Record):
    """One thing to do: `action` says what, `reference` for whom, `data` whatever it needs."""

    id: str
    action: str
    reference: str
    at_ms: int
    data: dict[str, JsonValue]
    after: str | None = None
    """A task that must have ended before this one begins."""
    attempt: int = 0
    state: Literal["waiting", "done", "given_up"] = "waiting"
    answers: tuple[int, ...] = ()
    """What each attempt was told: HTTP statuses, 0 for none."""


class Again(Record):
    """An action's wish to be run once more."""

    task: Task
    in_ms: int


Action = Callable[[Task], Awaitable[Task | Again]]
"""Carries a task out; returns it ended, or the wish to be run again."""


class Agenda:
    """Tasks by time."""

    def __init__(self, *, books: Books, clock: Clock) -> None:
        self._books = books
        self._tasks = books.table("task", Task, key=lambda task: task.id, group=lambda task: task.reference)
        self._clock = clock
        self._queue: list[tuple[int, int, Task]] = []
        self._held: dict[str, list[Task]] = {}
        self._pushed = 0
        self._wake = asyncio.Event()

    def add(
        self, action: str, reference: str, *, in_ms: int = 0, data: dict[str, JsonValue], after: str | None = None
    ) -> Task:
        """Put a task on the agenda."""
        at_ms = self._clock.now_ms() + in_ms
        task = Task(id=uuid4().hex, action=action, reference=reference, at_ms=at_ms, data=data, after=after)
        self._tasks.put(task)
        self._push(task)
        return task

    def tasks(self, *, action: str, reference: str | None) -> list[Task]:
        """Return the tasks of an action, oldest first."""
        return [task for task in self._tasks.rows(reference) if task.action == action]

    def wake(self) -> None:
        """Look at the clock again: it was moved."""
        self._wake.set()

    def restore(self) -> None:
        """Queue what an earlier life left undone."""
        for task in self._tasks.rows():
            if task.state == "waiting":
                self._push(task)

    async def run(self, actions: Mapping[str, Action]) -> None:
        """Carry tasks out as they fall due, until cancelled; what is under way is then cancelled too."""
        slots = asyncio.Semaphore(RUNNING_MAX)
        async with asyncio.TaskGroup() as running:
            while True:
                self._wake.clear()
                for task in self._due():
                    await slots.acquire()
                    running.create_task(self._carry_out(task, actions[task.action], slots))
                await self._nap()

    async def _carry_out(self, task: Task, action: Action, slots: asyncio.Semaphore) -> None:
        try:
            outcome = await action(task)
        finally:
            slots.release()
        if isinstance(outcome, Again):
            again = outcome.task.model_copy(update={"at_ms": self._clock.now_ms() + outcome.in_ms})
            self._push(self._tasks.put(again))
        else:
            self._tasks.put(outcome)
            for held in self._held.pop(outcome.id, ()):
                self._push(held)
        await self._books.journal.durable()

    def _push(self, task: Task) -> None:
        before = self._tasks.get(task.after) if task.after else None
        if before is not None and before.state == "waiting":
            self._held.setdefault(before.id, []).append(task)
            return
        self._pushed += 1
        heapq.heappush(self._queue, (task.at_ms, self._pushed, task))
        self._wake.set()

    def _due(self) -> list[Task]:
        now_ms = self._clock.now_ms()
        due: list[Task] = []
        while self._queue and self._queue[0][0] <= now_ms:
            due.append(heapq.heappop(self._queue)[2])
        return due

    async def _nap(self) -> None:
        """Sleep until the next task is due, or somebody wakes us."""
        wait_s = _NAP_MAX_S
        if self._queue:
            wait_s = min(_NAP_MAX_S, max(0.0, (self._queue[0][0] - self._clock.now_ms()) / 1000))
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return
