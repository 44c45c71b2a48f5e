"""Processes: asked to stop they drain, and their exit code says what kind of end it was."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shared.process import EXIT_CONFIG, EXIT_FAILED, EXIT_IMPATIENT, EXIT_INVARIANT, EXIT_OK

_PRELUDE = """
import asyncio, sys
from shared.config import BadConfig
from shared.errors import *
from shared.process import run
from shared.sealing import BadKeyRing
async def fail_after(started, error):
    await started.wait()
    raise error
"""


@contextmanager
def service(main: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process whose main coroutine has the given body."""
    body = textwrap.indent(textwrap.dedent(main), "    ")
    program = f"{_PRELUDE}\nasync def main(stop, tasks):\n{body}\nsys.exit(run(main))"
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the process; return its exit code and both outputs."""
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_a_service_that_returns_ends_well() -> None:
    """On uvloop."""
    with service("print(type(asyncio.get_running_loop()).__module__)") as process:
        code, out, err = ended(process)
    assert (code, out, err) == (EXIT_OK, "uvloop\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_to_stop_and_tasks_drain(number: signal.Signals) -> None:
    """What is under way is finished; nothing is cancelled."""
    main = """
        async def worker():
            await stop.wait()
            await asyncio.sleep(0)
            print("drained", flush=True)
        tasks.create_task(worker())
        print("started", flush=True)
        await stop.wait()
    """
    with service(main) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        assert ended(process) == (EXIT_OK, "drained\n", "")


def test_a_second_signal_ends_at_once() -> None:
    """For an operator who does not want to wait for the drain."""
    main = """
        print("started", flush=True)
        await stop.wait()
        print("draining", flush=True)
        await asyncio.Event().wait()
    """
    with service(main) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "draining\n"
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == EXIT_IMPATIENT


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("InvariantViolation('transit is not zero')", EXIT_INVARIANT),
        ("StoreMismatch('Redis was emptied')", EXIT_CONFIG),
        ("BadConfig('EDGE_PORT: should be a number')", EXIT_CONFIG),
        ("BadKeyRing('others may read it')", EXIT_CONFIG),
        ("Transient('no database')", EXIT_FAILED),
        ("KeyError('x')", EXIT_FAILED),
        ("ExceptionGroup('two', [KeyError('x'), InvariantViolation('transit is not zero')])", EXIT_INVARIANT),
        ("ExceptionGroup('two', [StoreMismatch('x'), InvariantViolation('transit is not zero')])", EXIT_INVARIANT),
    ],
)
@pytest.mark.parametrize("where", ["main", "task"])
def test_the_exit_code_says_what_kind_of_failure_it_was(error: str, code: int, where: str) -> None:
    """Raised by main itself, or by a task while main waits; the gravest failure counts."""
    main = f"raise {error}"
    if where == "task":
        main = f"""
            started = asyncio.Event()
            tasks.create_task(fail_after(started, {error}))
            started.set()
            await stop.wait()
        """
    with service(main) as process:
        assert ended(process)[0] == code


def test_a_fault_of_the_environment_is_one_clear_line() -> None:
    """An operator reads it; there is no trace to read past."""
    with service("raise StoreMismatch('Redis (slot i0) was emptied. Restore it')") as process:
        code, out, err = ended(process)
    assert (code, out) == (EXIT_CONFIG, "")
    assert err == "paymesh cannot start: Redis (slot i0) was emptied. Restore it\n"


def test_a_failure_cancels_the_other_tasks_and_is_logged() -> None:
    """No half-dead process goes on."""
    main = """
        async def other():
            try:
                await asyncio.Event().wait()
            finally:
                print("cancelled", flush=True)
        started = asyncio.Event()
        tasks.create_task(other())
        tasks.create_task(fail_after(started, InvariantViolation("transit is not zero")))
        await asyncio.sleep(0)
        started.set()
        await stop.wait()
    """
    with service(main) as process:
        code, out, _ = ended(process)
    assert code == EXIT_INVARIANT
    assert "cancelled" in out
    assert "process_failed" in out
    assert "transit is not zero" in out
