"""`paymesh top` in a real terminal: it refreshes in place, and leaves the terminal as it found it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
import redis as redis_sync

from shared.contracts import Envelope, Kind
from shared.streams import keys
from shared.streams.group import ensure_group
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.processes import ROOT, plain_environ
from tests.integration.orchestrator.world import new_id
from tests.waiting import until_sync

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux on PATH")

STREAM = keys.intents(0)


@dataclass(frozen=True, slots=True)
class Terminal:
    """A pane of a tmux server of its own, with a shell in it."""

    socket: Path

    def tmux(self, *arguments: str) -> str:
        """Tell the server something; return what it says."""
        done = subprocess.run(
            ["tmux", "-S", str(self.socket), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout

    def type(self, *words: str) -> None:
        """Press keys."""
        self.tmux("send-keys", "-t", "0", *words)

    @property
    def screen(self) -> str:
        """What can be read on it."""
        return self.tmux("capture-pane", "-p", "-t", "0")

    @property
    def state(self) -> tuple[str, str]:
        """Whether the alternate screen is on, and whether the cursor is shown."""
        alternate, cursor = self.tmux("display-message", "-p", "-t", "0", "#{alternate_on} #{cursor_flag}").split()
        return alternate, cursor

    def row(self, name: str) -> list[str]:
        """The cells of the line that begins with a name."""
        for line in self.screen.splitlines():
            cells = [cell.strip() for cell in line.strip("│ ").split("│")]
            if cells[0] == name:
                return cells
        return []

    def shows(self, words: str, *, timeout_s: float = 30.0) -> None:
        """Wait until it shows something."""
        until_sync(lambda: words in self.screen, f"{words!r} on the screen", timeout_s=timeout_s)


@pytest_asyncio.fixture
async def stream(mesh: Mesh) -> None:
    """A stream that somebody reads."""
    await ensure_group(mesh.redis, STREAM, keys.ORCHESTRATOR_GROUP)


@pytest.fixture
def terminal(mesh: Mesh, stream: None, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal of 120 columns and 40 lines, in whose environment the mesh is."""
    del stream
    ring = mesh.settings.keyring_text
    assert ring is not None
    environ = plain_environ(
        REDIS_URL=mesh.settings.redis_url,
        DATABASE_URL=mesh.settings.database_url,
        PAYMESH_KEYRING=ring.get_secret_value(),
        PS1="ready> ",
        LC_ALL="C.UTF-8",
        TERM="screen-256color",
    )
    for name in ("TMUX", "COLUMNS", "LINES"):  # of a terminal that this one is not, and would be taken for
        environ.pop(name, None)
    made = Terminal(tmp_path / "tmux")
    subprocess.run(
        ["tmux", "-u", "-S", str(made.socket), "-f", os.devnull, "new-session", "-d", "-x", "120", "-y", "40",
         "bash --norc --noprofile"],
        env=environ, cwd=ROOT, check=True, timeout=20,
    )  # fmt: skip
    yield made
    made.tmux("kill-server")


def add(mesh: Mesh, count: int) -> None:
    """Add entries to the stream."""
    with redis_sync.Redis.from_url(mesh.settings.redis_url) as client:
        for _ in range(count):
            fields = Envelope(Kind.INTENT, str(new_id()), b"{}").fields()
            client.execute_command("XADD", STREAM, "*", *[word for pair in fields.items() for word in pair])


def started(terminal: Terminal) -> None:
    """Begin `top` below a line that was there before."""
    terminal.type("-l", f"echo before; {sys.executable} -m ops.cli top --interval 0.3; echo ended $?\n")
    terminal.type("Enter")
    terminal.shows("Ctrl-C ends")


def assert_clean(terminal: Terminal, words: str) -> None:
    """The shell is back, on the screen that was there before, with cursor and echo."""
    terminal.shows(words)
    assert terminal.state == ("0", "1")
    assert "before" in terminal.screen
    assert "paymesh top" not in terminal.screen
    terminal.type("-l", "echo he''re")
    terminal.shows("echo he''re")
    terminal.type("Enter")
    until_sync(lambda: "here" in terminal.screen.splitlines(), "the shell's answer")


def test_it_refreshes_in_place_and_ctrl_c_leaves_the_terminal_clean(mesh: Mesh, terminal: Terminal) -> None:
    """Numbers change where they stand, the clock goes on, nothing scrolls; then everything is as it was."""
    add(mesh, 3)
    started(terminal)
    assert terminal.state == ("1", "0")
    until_sync(lambda: terminal.row(STREAM)[1:3] == ["3", "3"], "three entries")
    place = terminal.screen.splitlines().index(next(line for line in terminal.screen.splitlines() if STREAM in line))
    clock = terminal.screen.splitlines()[0]
    add(mesh, 2)
    until_sync(lambda: terminal.row(STREAM)[1:3] == ["5", "5"], "five entries")
    until_sync(lambda: terminal.screen.splitlines()[0] != clock, "another second")
    lines = terminal.screen.splitlines()
    assert STREAM in lines[place]
    assert sum("paymesh top" in line for line in lines) == 1
    terminal.type("C-c")
    assert_clean(terminal, "ended 0")


def test_a_smaller_terminal_is_no_less_clean(mesh: Mesh, terminal: Terminal) -> None:
    """It is laid out again for the room that there is."""
    add(mesh, 1)
    started(terminal)
    terminal.tmux("resize-window", "-t", "0", "-x", "100", "-y", "16")
    until_sync(lambda: "paymesh top" in terminal.screen.splitlines()[0], "the head on the first line")
    until_sync(lambda: terminal.row(STREAM)[1:2] == ["1"], "the stream")
    terminal.type("C-c")
    assert_clean(terminal, "ended 0")


def test_being_ended_leaves_the_terminal_clean_too(terminal: Terminal) -> None:
    """SIGTERM, as a closing session sends it."""
    started(terminal)
    (shell,) = map(int, terminal.tmux("list-panes", "-F", "#{pane_pid}").split())
    (child,) = psutil.Process(shell).children()
    child.send_signal(signal.SIGTERM)
    assert_clean(terminal, "ended 0")


def test_stores_that_come_back_are_shown_again(mesh: Mesh, terminal: Terminal) -> None:
    """Clients are cut off, and the next look connects anew."""
    started(terminal)
    add(mesh, 1)
    with redis_sync.Redis.from_url(mesh.settings.redis_url) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    until_sync(lambda: terminal.row(STREAM)[1:2] == ["1"], "the stream after the cut")
    assert "ended" not in terminal.screen
    terminal.type("C-c")
    assert_clean(terminal, "ended 0")
