"""Waiting: hints wake, polls make sure, and time is kept."""

import asyncio
from collections.abc import Callable

from gateway.waiting import Hints, decided
from shared.errors import OutcomeUnknown
from shared.streams.client import connect


def make_hints() -> Hints:
    """Return hints that are never listened to."""
    return Hints(client=connect("redis://127.0.0.1:1/0"), instance="test")


class Looks:
    """A look-up with a script: what each look finds, the last one for ever."""

    def __init__(self, *finds: str | Exception | None) -> None:
        self.finds = list(finds)
        self.count = 0

    async def __call__(self) -> str | None:
        self.count += 1
        find = self.finds.pop(0) if len(self.finds) > 1 else self.finds[0]
        if isinstance(find, Exception):
            raise find
        return find


async def wait(hints: Hints, event: asyncio.Event, looks: Looks, wait_s: float) -> tuple[str | None, float]:
    """Wait for the word "final"; return what was found and the time it took."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    found = await decided(hints, event, wait_s=wait_s, look=looks, final=lambda word: word == "final")
    return found, loop.time() - start


def soon(action: Callable[[], object], delay_s: float = 0.02) -> None:
    """Do something in a moment."""
    asyncio.get_running_loop().call_later(delay_s, action)


async def test_a_hint_makes_it_look_at_once() -> None:
    """Long before the first poll."""
    hints = make_hints()
    with hints.expect("a") as event:
        soon(lambda: hints.hint(b"a SETTLED"))
        found, took_s = await wait(hints, event, Looks("final"), 60)
    assert found == "final"
    assert took_s < 5


async def test_a_hint_about_another_subject_wakes_nobody() -> None:
    """Only its own."""
    hints = make_hints()
    with hints.expect("a") as event, hints.expect("b") as other:
        hints.hint(b"b SETTLED")
        hints.hint(b"")
        hints.hint(b"\xff\xfe\x00 SETTLED")
        assert other.is_set()
        assert not event.is_set()


async def test_hints_wake_everybody_who_waits_for_the_same() -> None:
    """A retry waits beside the first request."""
    hints = make_hints()
    with hints.expect("a") as one, hints.expect("a") as two:
        hints.hint(b"a SETTLED")
        assert one.is_set()
        assert two.is_set()


async def test_nobody_is_remembered_after_waiting() -> None:
    """However many have waited."""
    hints = make_hints()
    for _ in range(3):
        with hints.expect("a"), hints.expect("a", follow=True):
            pass
    assert not hints._waiting
    assert not hints._followed
    assert hints.open


async def test_without_hints_it_polls_three_times() -> None:
    """At a quarter, a half, and the end."""
    hints = make_hints()
    looks = Looks(None)
    with hints.expect("a") as event:
        found, took_s = await wait(hints, event, looks, 0.2)
    assert (found, looks.count) == (None, 3)
    assert 0.19 <= took_s < 1


async def test_an_early_hint_costs_no_poll() -> None:
    """A hint that came to nothing leaves all three polls where they are."""
    hints = make_hints()
    looks = Looks("on its way", "on its way", "on its way", "final")
    with hints.expect("a") as event:
        hints.hint(b"a AUTHORIZED")
        found, took_s = await wait(hints, event, looks, 0.2)
    assert (found, looks.count) == ("final", 4)
    assert took_s >= 0.19


async def test_the_latest_that_was_found_is_the_answer_when_time_is_up() -> None:
    """A look that fails afterwards does not unlearn it."""
    hints = make_hints()
    with hints.expect("a") as event:
        found, _ = await wait(hints, event, Looks("on its way", OutcomeUnknown("gone")), 0.1)
    assert found == "on its way"


async def test_closing_wakes_everybody_and_ends_the_wait() -> None:
    """With one last look."""
    hints = make_hints()
    looks = Looks("on its way")
    with hints.expect("a") as event:
        soon(hints.close)
        found, took_s = await wait(hints, event, looks, 60)
    assert (found, looks.count) == ("on its way", 1)
    assert took_s < 5
    assert not hints.open
