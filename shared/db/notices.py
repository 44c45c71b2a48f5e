"""Notifications of PostgreSQL: whoever keeps a copy of a register hears at once that it has changed.

One connection a process listens; a trigger notifies (`pm.bump_register`). A notification may be lost with its
connection, so it only ever saves waiting: whoever listens polls as well, and is woken whenever listening begins anew.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final

import asyncpg
import structlog

from shared.streams.events import wait_for_any, wait_up_to

CHANNEL: Final = "pm_register"
_AGAIN_S: Final = 1.0
_CONNECT_S: Final = 10.0

_log = structlog.get_logger(__name__)


class Notices:
    """Listens, and wakes whoever has asked for a register."""

    def __init__(self, *, url: str, application_name: str) -> None:
        self._url = url
        self._application_name = application_name
        self._wakes: dict[str, list[asyncio.Event]] = {}

    def wake(self, *registers: str) -> asyncio.Event:
        """Return an event that is set whenever one of the registers may have changed; whoever waits clears it."""
        event = asyncio.Event()
        for register in registers:
            self._wakes.setdefault(register, []).append(event)
        return event

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until `stop`, again and again."""
        while not stop.is_set():
            try:
                await self._listen(stop)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                _log.warning("not_listening", error=type(error).__name__)
            await wait_up_to(stop, _AGAIN_S)

    async def _listen(self, stop: asyncio.Event) -> None:
        connection = await asyncpg.connect(
            self._url, timeout=_CONNECT_S, server_settings={"application_name": self._application_name}
        )
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(CHANNEL, self._notified)
            for events in self._wakes.values():
                _set(events)
            await wait_for_any(stop, lost)
        finally:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                await connection.close(timeout=_AGAIN_S)

    def _notified(self, _connection: Any, _pid: int, _channel: str, register: object) -> None:
        _set(self._wakes.get(str(register), []))


def _set(events: list[asyncio.Event]) -> None:
    for event in events:
        event.set()
