"""What the benchmark's processes say to each other: one line of JSON in, one line of JSON per event out.

A child is configured by one line on its standard input and reports on its standard output; its faults go to a log.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from ops.embedded.server import end_with_parent

Event = Mapping[str, Any]
"""What happened: `event` names it, the rest are its figures."""

_LINE_BYTES_MAX: Final = 1 << 22
_STOP_TIMEOUT_S: Final = 10.0
_TAIL_LINES: Final = 20
_ROOT: Final = Path(__file__).resolve().parent.parent

T = TypeVar("T")


class BenchFailed(Exception):
    """The benchmark could not be carried out, or what it measured was not right."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of load: `rate` intents a second, or as many as get through (None)."""

    name: str
    rate: int | None
    warm_s: float
    seconds: float


def say(event: str, **figures: Any) -> None:
    """Report an event to the parent."""
    sys.stdout.write(json.dumps({"event": event, **figures}) + "\n")
    sys.stdout.flush()


def told(config: type[T]) -> T:
    """Read this process's configuration."""
    given = json.loads(sys.stdin.readline())
    if "phases" in given:
        given["phases"] = tuple(Phase(**phase) for phase in given["phases"])
    return config(**given)


class Child:
    """A process of the benchmark's own."""

    def __init__(self, process: asyncio.subprocess.Process, module: str, log: Path) -> None:
        self._process = process
        self._module = module
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def events(self) -> AsyncIterator[Event]:
        """Give its events until it ends.

        Raises:
            BenchFailed: it ended with a failure.
        """
        if self._process.stdout is None:
            raise BenchFailed(f"{self._module} has no output")
        while line := await self._process.stdout.readline():
            yield json.loads(line)
        if code := await self._process.wait():
            raise BenchFailed(f"{self._module} ended with exit code {code}\n{tail(self._log)}")

    async def until(self, event: str) -> Event:
        """Wait for one event, ignoring others.

        Raises:
            BenchFailed: it ended before.
        """
        async for seen in self.events():
            if seen["event"] == event:
                return seen
        raise BenchFailed(f"{self._module} ended before it was {event}\n{tail(self._log)}")

    def ask_to_stop(self) -> None:
        """Ask it to stop, and to say how it went."""
        self._process.terminate()

    async def stop(self) -> None:
        """Ask it to stop; make it, if it does not."""
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def child(module: str, config: Any, *, logs: Path, name: str) -> AsyncIterator[Child]:
    """Run a module of the benchmark for the length of the block, at most."""
    log = logs / f"{name}.log"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            cwd=_ROOT,
            limit=_LINE_BYTES_MAX,
            start_new_session=True,
            preexec_fn=end_with_parent(),
        )
    started = Child(process, module, log)
    try:
        if process.stdin is None:
            raise BenchFailed(f"{module} takes no input")
        process.stdin.write(json.dumps(asdict(config)).encode() + b"\n")
        await process.stdin.drain()
        yield started
    finally:
        await started.stop()


def tail(log: Path) -> str:
    """Return the end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
