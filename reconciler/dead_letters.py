"""Dead-lettered intents are put back after a pause that doubles every time: nothing accepted ends as a dead letter.

What the books contradict (`invariant`) waits for an operator, and a `ghost` has nothing to put back. An intent put
back is processed alone, so a poison message that returns for ever costs its neighbours nothing. This module must
never discard a record.
"""

from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from shared.errors import Permanent
from shared.streams.dead_letters import DeadLetterRecord, Reason, read_page, redrive

_FOR_PEOPLE: Final = frozenset({Reason.INVARIANT, Reason.GHOST})
_DOUBLINGS_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Pause:
    """How long a dead letter rests before it is put back."""

    first_s: float
    max_s: float

    def due_ms(self, record: DeadLetterRecord) -> int:
        """Return when the record may be put back, unix ms."""
        pause_s = min(self.max_s, self.first_s * 2 ** min(record.replay_count, _DOUBLINGS_MAX))
        return record.dead_ms + int(pause_s * 1000)


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep of one stream's dead letters found."""

    redriven: int = 0
    waiting: int = 0
    for_people: int = 0
    quarantined: frozenset[str] = frozenset()
    """Ids of intents that the books contradict: nobody but an operator may touch them again."""


async def sweep_dead_letters(redis: Redis, stream: str, *, now_ms: int, pause: Pause) -> Swept:
    """Put back every dead letter of the stream that has rested; two sweepers at once move each one once."""
    redriven = waiting = for_people = 0
    quarantined: set[str] = set()
    after = b"0-0"
    while page := await read_page(redis, stream, after=after):
        after = page[-1].entry_id
        for record in page:
            if record.reason in _FOR_PEOPLE:
                for_people += 1
                quarantined.add(record.id)
            elif pause.due_ms(record) > now_ms:
                waiting += 1
            else:
                try:
                    redriven += await redrive(redis, stream, record.entry_id)
                except Permanent:
                    # What cannot be put back waits for people; it must not keep the sweep from all the others.
                    for_people += 1
    return Swept(redriven, waiting, for_people, frozenset(quarantined))
