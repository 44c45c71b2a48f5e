"""Putting dead letters back: at a bounded rate, each once whoever else does the same, and on record.

The script that moves a record is the fence: of two operators one is told that it is gone. A submission whose intent has
ended, or that was begun and whose permit was lost, is barred before it goes back: the one is never submitted again and
the other asked about first. For all others the permit decides, as it does for every delivery. What is about to be done
is on record before it is done, and each record that went back is, in the transaction in which it went. This module must
never move a record by itself.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ops.audit import audit
from ops.dlq.addresses import Address
from ops.dlq.contents import intent_of, read_content
from ops.dlq.jobs import look_at, permit_of, read_all_submitted
from ops.dlq.reach import Reach
from ops.dlq.search import Search
from ops.statements import statement
from shared.contracts import Action, JobMessage
from shared.db.failures import database
from shared.errors import OutcomeUnknown
from shared.streams import permits
from shared.streams.client import server
from shared.streams.dead_letters import DeadLetterRecord, Moved, redrive_all
from shared.streams.permits import Cancelled, PermitState

BATCH_MAX: Final = 100
RATE_DEFAULT: Final = 50
RATE_MAX: Final = 10_000
_BATCHES_A_SECOND: Final = 5
_WHO: Final = "operator_replay"

Advance = Callable[[int], None]


@dataclass(slots=True)
class Replayed:
    """What a replay came to.

    Attributes:
        moved: put back by this replay.
        gone: somebody else had moved them.
        no_payload: there was nothing to put back; they stand where they were.
        barred: of those moved, submissions that may never be made again: they only inquire, or say so.
        cut: it stopped at a bound, and there may be more.
    """

    moved: int = 0
    gone: int = 0
    no_payload: int = 0
    barred: int = 0
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Deed:
    """Who does it, why, and how the record calls it."""

    actor: str
    reason: str
    what: dict[str, Any]


async def replay(reach: Reach, search: Search, deed: Deed, *, rate: int, advance: Advance) -> Replayed:
    """Put back everything that the search finds.

    Args:
        reach: the stores; all of them are needed.
        search: what is meant.
        deed: for the record.
        rate: at most so many a second.
        advance: told how many have been dealt with.

    Raises:
        Transient, OutcomeUnknown: a store is out of reach; what had gone back by then is on record.
    """
    with database():
        async with reach.pool.acquire() as connection:
            await audit(
                connection, actor=deed.actor, action="dlq.replay_begun", target="dlq", reason=deed.reason,
                detail=deed.what,
            )  # fmt: skip
    done = Replayed()
    size = min(BATCH_MAX, max(1, rate // _BATCHES_A_SECOND))
    due_s = time.monotonic()
    async for stream, records in search.pages():
        for start in range(0, len(records), size):
            batch = records[start : start + size]
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            due_s = max(due_s, time.monotonic()) + len(batch) / rate
            await _replay_batch(reach, stream, batch, deed, done)
            advance(len(batch))
    done.cut = search.cut
    return done


async def _replay_batch(
    reach: Reach, stream: str, batch: Sequence[DeadLetterRecord], deed: Deed, done: Replayed
) -> None:
    barred = await _bar(reach, batch)
    with database():
        async with reach.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT 1")
            lost: OutcomeUnknown | None = None
            moved: list[Moved | None] = []
            try:
                with server():
                    moved += await redrive_all(reach.redis, stream, [record.entry_id for record in batch])
            except OutcomeUnknown as error:
                lost, moved = error, [None] * len(batch)
            lines = [
                _line(stream, record, outcome, barred=record.entry_id in barred)
                for record, outcome in zip(batch, moved, strict=True)
                if outcome in (Moved.MOVED, None)
            ]
            if lines:
                await connection.execute(
                    statement("dlq/audit_replays"), deed.actor, "dlq.replay", deed.reason,
                    [target for target, _ in lines], [detail for _, detail in lines],
                )  # fmt: skip
    if lost is not None:
        raise lost
    done.moved += moved.count(Moved.MOVED)
    done.gone += moved.count(Moved.GONE)
    done.no_payload += moved.count(Moved.NO_PAYLOAD)
    done.barred += sum(
        outcome is Moved.MOVED and record.entry_id in barred for record, outcome in zip(batch, moved, strict=True)
    )


async def _bar(reach: Reach, batch: Sequence[DeadLetterRecord]) -> set[bytes]:
    """See to it that no submission is made a second time; return the records concerned.

    Of an intent that has ended CANCELLED is won; who has it TAKEN is barred, since a PSP may be asked by submitting
    again. Of one that was begun and whose permit is gone, the permit is made TAKEN, so that it is asked about first.
    """
    submissions: dict[bytes, JobMessage] = {}
    for record in batch:
        content = read_content(record)
        if isinstance(content, JobMessage) and content.action is Action.SUBMIT:
            submissions[record.entry_id] = content
    known = await read_all_submitted(reach.pool, [job.intent_id for job in submissions.values()])
    barred: set[bytes] = set()
    replicas = await reach.replicas() if submissions else permits.ALONE
    for entry_id, job in submissions.items():
        asked = known.get(job.intent_id)
        if asked is None or not (asked.decided or asked.begun):
            continue
        permit = permit_of(job)
        if asked.decided:
            won = await permits.win_cancelled(reach.redis, permit=permit, who=_WHO, replicas=replicas)
            if won is Cancelled.TAKEN:
                await permits.bar(reach.redis, permit=permit, token=_WHO, replicas=replicas)
        elif (await look_at(reach.redis, job)).state is PermitState.ABSENT:
            await permits.bar(reach.redis, permit=permit, token=_WHO, replicas=replicas)
        barred.add(entry_id)
    return barred


def _line(stream: str, record: DeadLetterRecord, outcome: Moved | None, *, barred: bool) -> tuple[str, str]:
    address = Address(stream, record.entry_id)
    intent = intent_of(record)
    detail = {
        "record": str(address),
        "died_of": record.reason,
        "replays": record.replay_count + 1,
        "barred": barred,
        "outcome": "unknown" if outcome is None else "moved",
    }
    return (address.target if intent is None else f"intent:{intent}"), json.dumps(detail)
