"""What a sandbox has still to do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from adapters.sandbox.agenda import RUNNING_MAX, Action, Again, Agenda, Task
from adapters.sandbox.books import Books
from adapters.sandbox.clock import Clock
from adapters.sandbox.journal import Journal
from tests.waiting import until


def fresh() -> tuple[Agenda, Clock]:
    """An agenda without a file, and a clock that stands still until it is moved."""
    books = Books(Journal(None))
    clock = Clock(books=books, wall_ms=lambda: 1_000_000)
    return Agenda(books=books, clock=clock), clock


@asynccontextmanager
async def running(agenda: Agenda, **actions: Action) -> AsyncIterator[None]:
    """Carry tasks out for the length of a block."""
    background = asyncio.create_task(agenda.run(actions))
    try:
        yield
    finally:
        background.cancel()
        with suppress(asyncio.CancelledError):
            await background


def noting(done: list[str]) -> Action:
    """An action that notes whose task it carried out."""

    async def note(task: Task) -> Task:
        done.append(task.reference)
        return task.model_copy(update={"state": "done"})

    return note


async def test_tasks_are_done_when_their_time_has_come() -> None:
    """In order of time; not one millisecond early."""
    agenda, clock = fresh()
    done: list[str] = []
    for name, in_ms in (("late", 200), ("now", 0), ("soon", 100)):
        agenda.add("note", name, in_ms=in_ms, data={})
    async with running(agenda, note=noting(done)):
        await until(lambda: done == ["now"], "the first")
        for move, expected in ((99, ["now"]), (1, ["now", "soon"]), (100, ["now", "soon", "late"])):
            clock.advance(move)
            agenda.wake()
            await until(lambda expected=expected: done == expected, str(expected))  # type: ignore[misc]
    assert [task.state for task in agenda.tasks(action="note", reference=None)] == ["done"] * 3


async def test_a_task_waits_for_the_one_it_comes_after() -> None:
    """However often that one must be repeated."""
    agenda, _ = fresh()
    done: list[str] = []
    note = noting(done)

    async def stubborn(task: Task) -> Task | Again:
        done.append(f"try {task.attempt}")
        if task.attempt < 2:
            return Again(task=task.model_copy(update={"attempt": task.attempt + 1}), in_ms=0)
        return await note(task)

    first = agenda.add("stubborn", "first", data={})
    agenda.add("note", "second", data={}, after=first.id)
    async with running(agenda, note=note, stubborn=stubborn):
        await until(lambda: "second" in done, "the second")
    assert done == ["try 0", "try 1", "try 2", "first", "second"]


async def test_a_slow_task_delays_nobody_else() -> None:
    """Up to the number that runs at once."""
    agenda, _ = fresh()
    done: list[str] = []
    forever = asyncio.Event()

    async def slow(task: Task) -> Task:
        await forever.wait()
        return task

    for number in range(RUNNING_MAX - 1):
        agenda.add("slow", str(number), data={})
    agenda.add("note", "quick", data={})
    async with running(agenda, note=noting(done), slow=slow):
        await until(lambda: done == ["quick"], "the quick one")


async def test_what_was_left_undone_is_done_after_a_restart() -> None:
    """What was done is not done again."""
    books = Books(Journal(None))
    clock = Clock(books=books, wall_ms=lambda: 1_000_000)
    earlier = Agenda(books=books, clock=clock)
    done: list[str] = []
    first = earlier.add("note", "first", data={})
    async with running(earlier, note=noting(done)):
        await until(lambda: done == ["first"], "the first")
    earlier.add("note", "second", data={}, after=first.id)
    # The same table under a new agenda is what a restart finds.
    later = Agenda(books=books, clock=clock)
    for task in earlier.tasks(action="note", reference=None):
        later._tasks.restore(task.model_dump(mode="json", by_alias=True))
    later.restore()
    async with running(later, note=noting(done)):
        await until(lambda: len(done) == 2, "the second")
    assert done == ["first", "second"]
