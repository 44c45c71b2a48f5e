"""The screen of `paymesh top`: what has no room is summed up, and no name moves the cursor."""

from datetime import UTC, datetime

import pytest
from rich.console import Console

from ops.top.rows import ConsumerRow, DeadRow, PspRow, StreamRow, Unreached, View
from ops.top.screen import duration, printable, screen
from shared.streams import keys

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def drawn(view: View, lines: int = 30) -> str:
    """The view as text."""
    console = Console(width=140, height=lines, color_system=None)
    with console.capture() as shown:
        console.print(screen(view, lines=lines))
    return shown.get()


@pytest.mark.parametrize("lines", [24, 30, 50])
@pytest.mark.parametrize("partitions", [4, 256])
def test_a_screen_never_outgrows_its_lines(lines: int, partitions: int) -> None:
    """Whatever there is to show."""
    view = View(
        at=AT,
        unreached=(Unreached("PostgreSQL", "states", "gone"),),
        streams=tuple(
            StreamRow(keys.intents(number), "orchestrator", exists=True, length=number, dead=1)
            for number in range(partitions)
        ),
        consumers=tuple(ConsumerRow(keys.intents(0), "orchestrator", f"c{each}", each, 1.0) for each in range(40)),
        psps=(PspRow("ipps"), PspRow("qp")),
        dead_letters=(DeadRow(keys.intents(0), "permanent", 1),),
    )
    assert len(drawn(view, lines).splitlines()) <= lines


def test_the_fullest_streams_are_shown_and_the_others_are_a_sum() -> None:
    """Of two hundred partitions."""
    rows = [StreamRow(keys.intents(number), "orchestrator", exists=True, length=number) for number in range(200)]
    shown = drawn(View(at=AT, streams=tuple(rows)))
    assert "intents.{i199}" in shown
    assert "intents.{i3}" not in shown
    rest = next(line for line in shown.splitlines() if "more" in line)
    kept = [number for number in range(200) if f"{{i{number}}}" in shown]
    assert f" {sum(range(200)) - sum(kept)} " in rest
    assert f" {200 - len(kept)} more" in rest


def test_what_is_unknown_is_a_dash_and_what_is_wrong_is_named() -> None:
    """Neither zero nor silence."""
    view = View(
        at=AT,
        unreached=(Unreached("Redis", "streams", "ConnectionError: refused"),),
        psps=(PspRow("qp", paused={"QP_TOPUP": "smoke"}, untold=("QP_TOPUP",), undecided={"IN_DOUBT": 3}),),
    )
    shown = drawn(view)
    assert "Redis did not say: streams (ConnectionError: refused)" in shown
    (line,) = [line for line in shown.splitlines() if "qp" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "qp", "paused: QP_TOPUP (Redis differs)", "-", "-", "-", "-", "-", "-", "3",
    ]  # fmt: skip


def test_nothing_in_a_name_is_obeyed_by_the_terminal() -> None:
    """A consumer's name and a reason come from outside."""
    assert printable("a\x1b[2Jb\x9bc") == "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}c"
    nasty = "x\x1b]0;owned\x07"
    view = View(
        at=AT,
        streams=(StreamRow(keys.intents(0), "orchestrator", exists=True, dead=1),),
        consumers=(ConsumerRow(keys.intents(0), "orchestrator", nasty, 1, 1.0),),
        dead_letters=(DeadRow(keys.intents(0), nasty, 1),),
    )
    assert "\x1b" not in drawn(view)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0, "0 ms"), (0.25, "250 ms"), (2.0, "2.0 s"), (75, "1m 15s"), (3 * 3600 + 61, "3h 01m"),
     (2 * 86_400 + 7200, "2d 02h")],
)  # fmt: skip
def test_spans_are_read_at_a_glance(seconds: float | None, text: str) -> None:
    """Two units at most."""
    assert duration(seconds) == text
