"""Logs in view: JSON lines for people, half lines and emptied files included."""

import asyncio
from io import StringIO
from pathlib import Path

from rich.console import Console

from ops.dev import logs
from ops.dev.logs import _Tail, follow, pretty
from tests.waiting import until


def test_a_json_line_becomes_time_name_event_and_fields() -> None:
    """What is said already is not said twice."""
    line = '{"event":"listening","level":"info","service":"gateway","timestamp":"2026-01-02T03:04:05.6Z","port":1}'
    assert pretty("gateway-1", line, colour="cyan").plain == "03:04:05 gateway-1 listening  port=1"


def test_what_is_no_json_is_shown_as_it_is() -> None:
    """A traceback of a process that could not even start its log."""
    assert pretty("gateway-1", "Traceback (most recent call last):", colour="cyan").plain == (
        "gateway-1 Traceback (most recent call last):"
    )
    assert pretty("gateway-1", "[1]", colour="cyan").plain == "gateway-1 [1]"


def test_lines_come_whole_and_once(tmp_path: Path) -> None:
    """Half a line waits for its end; an emptied file is read from its start."""
    path = tmp_path / "log"
    tail = _Tail("gateway-1", path, "cyan")
    assert tail.read() == []
    path.write_bytes(b"one\ntw")
    assert tail.read() == ["one"]
    with path.open("ab") as log:
        log.write(b"o\n\n")
    assert tail.read() == ["two"]
    assert tail.read() == []
    path.write_bytes(b"new\n")
    assert tail.read() == ["new"]


async def test_followed_logs_are_printed_as_they_grow(tmp_path: Path, monkeypatch: object) -> None:
    """Of several services, under their names."""
    assert monkeypatch is not None
    out = StringIO()
    paths = [("a-1", tmp_path / "a"), ("bb-1", tmp_path / "b")]
    for _, path in paths:
        path.write_text("")
    following = asyncio.create_task(follow(Console(file=out, width=80), paths))
    for name, path in paths:
        path.write_text(f"hello from {name}\n")
    await until(lambda: out.getvalue().count("hello") == 2, "both lines")
    following.cancel()
    await asyncio.wait([following])
    assert "a-1  hello from a-1" in out.getvalue()
    assert logs._POLL_S < 1
