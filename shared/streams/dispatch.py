"""Moving jobs from the outbox onto a PSP's stream, as many as there is room for.

What was let in counts until it is finished, whether it stands in the stream or waits in the delay set for another
try; otherwise every retry would make room for one more. The bound and the writes are one script, so that several
relays together keep it exactly. This module must never skip an entry: what is added are the first ones.
"""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from shared.contracts import Envelope
from shared.errors import require
from shared.streams import keys
from shared.streams.client import server
from shared.streams.script import Argument, Script
from shared.streams.verdicts import ENTRIES_MAX

_DISPATCH: Final = Script("dispatch")


async def dispatch(client: Redis, psp: str, jobs: Sequence[Envelope], *, jobs_max: int) -> int:
    """Add the first jobs for which there is room; return how many.

    Args:
        client: of the server that holds the PSP's slot.
        psp: whose jobs these are.
        jobs: at most `ENTRIES_MAX`, in order.
        jobs_max: how many may be under way, in the stream and in its delay set together.

    Raises:
        OutcomeUnknown: the reply was lost; any number of the first jobs may stand in the stream.
        Transient: the server takes no writes; none does.
    """
    if not jobs:
        return 0
    require(len(jobs) <= ENTRIES_MAX, f"{len(jobs)} jobs in one call")
    stream = keys.jobs(psp)
    entries = [[part for pair in job.fields().items() for part in pair] for job in jobs]
    args: list[Argument] = [jobs_max, len(entries[0]), *(word for words in entries for word in words)]
    with server():
        return int(await _DISPATCH.run(client, [stream, keys.delay(stream)], args))
