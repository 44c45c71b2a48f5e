"""Starts again whatever child ends on its own, with growing pauses, and says so.

This module must never restart a child that cannot start with what it was given: that is reported and ends the run.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ops.embedded.server import Server, ServerFailed
from ops.embedded.services import EXIT_CONFIG

_LOOK_S = 0.1
_PAUSE_FIRST_S = 0.5
_PAUSE_MAX_S = 10.0
_STEADY_S = 10.0
_LOG_BYTES_MAX = 50 * 1024 * 1024

Say = Callable[[str], None]


@dataclass(slots=True)
class _Watch:
    """What is known about one child: since when it runs, how long the next pause is, when it is due."""

    server: Server
    started_at: float
    pause_s: float = _PAUSE_FIRST_S
    due_at: float | None = None


@dataclass(slots=True)
class Supervisor:
    """Watches children until it is cancelled."""

    servers: Sequence[Server]
    say: Say
    changed: Callable[[], None]
    """Called whenever a child has another process id."""
    restarts: int = field(default=0, init=False)

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            ServerFailed: a child cannot start with what it was given.
        """
        watches = [_Watch(server, time.monotonic()) for server in self.servers]
        while True:
            await asyncio.sleep(_LOOK_S)
            for watch in watches:
                self._look(watch, time.monotonic())

    def _look(self, watch: _Watch, now: float) -> None:
        server = watch.server
        if server.running:
            if now - watch.started_at > _STEADY_S:
                watch.pause_s = _PAUSE_FIRST_S
            _bound_log(server)
        elif watch.due_at is None:
            if server.exit_code == EXIT_CONFIG:
                raise ServerFailed(f"{server.name} cannot start as configured\n{server.log_tail()}")
            self.say(f"{server.name} {how_it_ended(server.exit_code)}; starting again in {watch.pause_s:g} s")
            watch.due_at = now + watch.pause_s
            watch.pause_s = min(_PAUSE_MAX_S, watch.pause_s * 2)
        elif now >= watch.due_at:
            watch.due_at = None
            watch.started_at = now
            server.spawn()
            self.restarts += 1
            self.changed()
            self.say(f"{server.name} started again as process {server.pid}")


def how_it_ended(exit_code: int | None) -> str:
    """Put an exit code into words."""
    if exit_code is not None and exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"


def _bound_log(server: Server) -> None:
    if server.log.exists() and server.log.stat().st_size > _LOG_BYTES_MAX:
        os.truncate(server.log, 0)  # its writer appends, so it goes on from the start
