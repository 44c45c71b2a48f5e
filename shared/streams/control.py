"""The kill switch: which of a PSP's operations are paused, at present and by whom.

The database holds who decided what and why; this is the copy that everybody looks at once a second. A paused PSP is
not called at all; a paused operation is not submitted, while what it has under way is still asked about. This module
must never decide anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from shared.streams import keys
from shared.streams.client import command
from shared.streams.script import Script

WHOLE_PSP: Final = "*"
NEW_WORK: Final = "+"
"""In the place of an operation: the PSP takes on nothing new, while all that is under way goes on."""

_LIFT: Final = Script("lift_pause")


@dataclass(frozen=True, slots=True)
class Control:
    """What is paused: operation types, `WHOLE_PSP`, or `NEW_WORK`."""

    paused: frozenset[str] = frozenset()

    @property
    def all_paused(self) -> bool:
        """Whether nothing at all may be sent."""
        return WHOLE_PSP in self.paused

    def pauses(self, operation: str) -> bool:
        """Say whether an operation may not be submitted."""
        return self.all_paused or operation in self.paused

    def takes(self, operation: str) -> bool:
        """Say whether anything new may be planned for an operation."""
        return not (self.pauses(operation) or NEW_WORK in self.paused)


def control_of(stored: Mapping[bytes, bytes]) -> Control:
    """Read the hash as it is stored."""
    return Control(frozenset(name.decode() for name in stored))


async def read_control(client: Redis, psp: str) -> Control:
    """Return what is paused."""
    return control_of(await command(client, "HGETALL", keys.control(psp)))


async def read_pauses(client: Redis, psp: str) -> dict[str, bytes]:
    """Return what stands there: operation, and who paused it when."""
    stored: dict[bytes, bytes] = await command(client, "HGETALL", keys.control(psp))
    return {name.decode(): value for name, value in stored.items()}


async def pause(client: Redis, psp: str, operation: str = WHOLE_PSP, *, who: str, at_ms: int) -> None:
    """Pause an operation, or everything; effective within a second."""
    await command(client, "HSET", keys.control(psp), operation, f"{who} {at_ms}")


async def resume(client: Redis, psp: str, operation: str = WHOLE_PSP) -> None:
    """Take a pause back."""
    await command(client, "HDEL", keys.control(psp), operation)


async def lift(client: Redis, psp: str, operation: str, *, seen: bytes) -> bool:
    """Take back the pause that was seen, never one that was made since; say whether it was taken back."""
    return bool(await _LIFT.run(client, [keys.control(psp)], [operation, seen]))
