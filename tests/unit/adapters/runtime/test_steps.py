"""Pause files: the right process stops at the right step, once."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from adapters.runtime import steps
from adapters.runtime.steps import pass_by, paused_by


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[signal.Signals]:
    """The signals that this process would have sent itself."""
    sent: list[signal.Signals] = []

    def send(pid: int, number: signal.Signals) -> None:
        assert pid == os.getpid()
        sent.append(number)

    monkeypatch.setattr(os, "kill", send)
    return sent


@pytest.mark.parametrize(("how", "number"), [("stop", signal.SIGSTOP), ("kill", signal.SIGKILL)])
async def test_a_process_strikes_once_at_the_step_that_the_file_names(
    tmp_path: Path, signals: list[signal.Signals], how: str, number: signal.Signals
) -> None:
    """Neither at another one nor again."""
    file = tmp_path / "pause"
    file.write_text(f"before_send {how}")
    here = paused_by(file)
    await here("permit_taken")
    assert signals == []
    await here("before_send")
    await here("before_send")
    assert signals == [number]
    assert (tmp_path / "pause.claimed").exists()


async def test_with_a_time_everything_that_comes_to_the_step_is_struck_there(
    tmp_path: Path, signals: list[signal.Signals]
) -> None:
    """Those that come within it are held until the signal; those that come later pass."""
    file = tmp_path / "pause"
    file.write_text("request_sent stop 50")
    here = paused_by(file)
    passed: list[tuple[int, int]] = []

    async def one(number: int) -> None:
        await here("request_sent")
        passed.append((number, len(signals)))

    await asyncio.gather(*(one(number) for number in range(3)))
    await one(3)
    assert sorted(passed) == [(number, 1) for number in range(4)]
    assert signals == [signal.SIGSTOP]


async def test_without_a_file_nothing_happens(tmp_path: Path, signals: list[signal.Signals]) -> None:
    """As everywhere but in tests."""
    for step in steps.STEPS:
        await paused_by(tmp_path / "none")(step)
        await pass_by(step)
    assert signals == []
