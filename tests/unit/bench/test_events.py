"""The benchmark's processes: told by a line, heard by lines, and never silently gone."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.events import BenchFailed, Phase, child

_SAY_TWICE = """
from dataclasses import dataclass
from bench.events import Phase, say, told

@dataclass
class Config:
    words: str
    phases: tuple[Phase, ...]

config = told(Config)
for phase in config.phases:
    say(phase.name, words=config.words, seconds=phase.seconds)
"""
_FAIL = """
import sys
sys.stdin.readline()
sys.exit("no money for anybody")
"""


@dataclass(frozen=True, slots=True)
class _Config:
    words: str
    phases: tuple[Phase, ...]


_CONFIG = _Config("hello", (Phase("one", None, 0.0, 1.5), Phase("two", 100, 0.0, 2.5)))


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules a child can run."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


async def test_a_child_is_told_and_reports(modules: Path) -> None:
    """Configuration goes in as one line, phases included; events come out as they were said."""
    (modules / "says_twice.py").write_text(_SAY_TWICE)

    async with child("says_twice", _CONFIG, logs=modules, name="says") as started:
        events = [event async for event in started.events()]

    assert events == [
        {"event": "one", "words": "hello", "seconds": 1.5},
        {"event": "two", "words": "hello", "seconds": 2.5},
    ]


async def test_a_child_that_fails_fails_the_run(modules: Path) -> None:
    """With the end of its log, since the folder will be gone."""
    (modules / "fails.py").write_text(_FAIL)

    async with child("fails", _CONFIG, logs=modules, name="fails") as started:
        with pytest.raises(BenchFailed, match="no money for anybody"):
            [event async for event in started.events()]


async def test_a_child_that_never_gets_ready_fails_the_run(modules: Path) -> None:
    """It ended well, but without what was waited for."""
    (modules / "says_twice.py").write_text(_SAY_TWICE)

    async with child("says_twice", _CONFIG, logs=modules, name="says") as started:
        with pytest.raises(BenchFailed, match="before it was ready"):
            await started.until("ready")
