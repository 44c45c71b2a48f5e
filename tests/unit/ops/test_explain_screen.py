"""A story on a screen: what comes first, what is folded, and what a terminal must not obey."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from rich.console import Console

from ops.explain.screen import _after, lines_of, plain, print_timeline
from shared.timeline.story import Child, Effect, Event, Next, Timeline

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def event(second: float, source: str, text: str) -> Event:
    """Something that happened so long after noon."""
    return Event(NOON + timedelta(seconds=second), source, text)


STORY = Timeline(
    id="0199a1b2-c3d4-7e5f-8a9b-0c1d2e030000",
    state="IN_DOUBT",
    funds="held",
    headline="IPPS_WITHDRAWAL of 3.00 THB, posted with key shop",
    events=(
        event(0, "accepted", "IPPS_WITHDRAWAL of 3.00 THB"),
        event(10, "psp", "ipps answers inquire: PENDING"),
        event(100, "psp", "ipps answers inquire: PENDING"),
        event(50_000, "psp", "ipps answers inquire: PENDING"),
        event(50_001, "operator", "ann: dlq.replay, because: [bold]so \x1b[2J[/] it " + "goes on " * 20),
    ),
    effects=(
        Effect("user:a:THB", "THB", held_minor=300),
        Effect("psp:ipps:THB", "THB", coming_minor=300),
        Effect("user:b:THB", "THB", posted_minor=1234),
        Effect("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", posted_minor=-7),
    ),
    effects_by="projection",
    next=(Next("poll", "the PSP is asked again at 12:03:10"),),
    children=(Child("child-1", "REVERSAL", "SETTLED", (event(86_400, "accepted", "REVERSAL of 1.00 THB"),)),),
    missing=("Redis is out of reach",),
)


def seen(story: Timeline = STORY, *, terminal: bool, width: int = 80) -> str:
    """What stands on the screen."""
    file = StringIO()
    print_timeline(Console(file=file, width=width, force_terminal=terminal, color_system=None), story)
    return file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_what_happens_next_stands_before_what_happened(terminal: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """And what is missing before both."""
    text = seen(terminal=terminal)
    places = [
        text.index(words)
        for words in ("IN_DOUBT", "Redis is out of reach", "asked again at 12:03:10", "2026-01-31", "its child child-1")
    ]
    assert places == sorted(places)
    assert text.index("at present") > places[-1]
    assert "by the database, customers' accounts only" in text


def test_what_came_again_and_again_is_one_line() -> None:
    """With how often, and when last."""
    assert [(line.times, line.event.source) for line in lines_of(STORY.events)] == [
        (1, "accepted"), (3, "psp"), (1, "operator"),
    ]  # fmt: skip
    text = seen(terminal=False)
    assert text.count("PENDING") == 1
    assert "PENDING (3 times, last at 2026-02-01 01:53:20)" in text


def test_each_day_stands_there_once() -> None:
    """Times are UTC."""
    lines = seen(terminal=False).splitlines()
    assert [line for line in lines if line in ("2026-01-31", "2026-02-01")] == [
        "2026-01-31",
        "2026-02-01",
        "2026-02-01",
    ]
    assert any(line.startswith("  12:00:10.000  +10.000s  psp") for line in lines)


def test_words_from_elsewhere_are_neither_markup_nor_commands() -> None:
    """Nobody clears an operator's screen by an error message."""
    text = seen(terminal=False)
    assert "because: [bold]so  [2J[/] it goes on" in text
    assert "\x1b" not in text
    assert plain("a\nb\tc\x9bd\u202ee") == "a b c d e"


def test_lines_are_whole_in_a_pipe_and_folded_on_a_terminal() -> None:
    """So that they can be searched, or read."""
    piped, terminal = seen(terminal=False).splitlines(), seen(terminal=True).splitlines()
    assert sum("goes on" in line for line in piped) == 1
    assert not any(line != line.rstrip() for line in piped)
    assert max(map(len, terminal)) <= 80
    assert sum("goes on" in line for line in terminal) > 1


def test_effects_are_told_in_their_currency() -> None:
    """What is held, what is to come, and what cannot be named."""
    text = seen(terminal=False)
    assert "user:a:THB                            3.00 THB held\n" in text
    assert "psp:ipps:THB                          3.00 THB coming in once posted\n" in text
    assert "user:b:THB                            +12.34 THB\n" in text
    assert "6ba7b810-9dad-11d1-80b4-00c04fd430c8  -7\n" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "+0.000s"), (-0.25, "-0.250s"), (59.9994, "+59.999s"), (60, "+1m00s"), (3599.4, "+59m59s"), (3600, "+1h00m"),
     (86_399, "+23h59m"), (86_400, "+1d00h"), (200_000, "+2d07h")],
)  # fmt: skip
def test_how_long_after_is_told_as_exactly_as_anybody_wants(seconds: float, text: str) -> None:
    """Milliseconds first, hours in the end."""
    assert _after(seconds) == text
