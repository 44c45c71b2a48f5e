"""Intents and their submissions as the database has them, and the permits that decide what may still happen.

This module must never change anything.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from redis.asyncio import Redis

from ops.refusals import Refused
from ops.statements import statement
from shared.contracts import JobMessage
from shared.db.failures import database
from shared.db.pool import Pool
from shared.ids import parse_intent_id
from shared.states import TERMINAL, IntentState
from shared.streams import keys, permits
from shared.streams.permits import PermitFor, PermitState, Seen


@dataclass(frozen=True, slots=True)
class Submitted:
    """An intent and what a PSP was asked for it.

    Attributes:
        intent: its id.
        state: where it stands.
        attempt: the present one.
        job: the submission; None where nothing was asked.
        begun: something beside the permit tells that somebody has begun to submit it, so that a permit that is absent
            was lost or freed.
    """

    intent: UUID
    state: IntentState
    attempt: int
    job: JobMessage | None
    begun: bool

    @property
    def decided(self) -> bool:
        """Whether it has ended."""
        return self.state in TERMINAL

    def asked(self) -> JobMessage:
        """Return what the PSP was asked.

        Raises:
            BadInput: nothing.
        """
        if self.job is None:
            raise Refused(f"intent {self.intent} has asked nothing of a PSP", code="nothing_asked")
        return self.job


async def read_submitted(pool: Pool, text: str) -> Submitted:
    """Return an intent with the submission of its present attempt.

    Raises:
        BadInput: no intent id, or the log has no such intent.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    intent = parse_intent_id(text)
    found = await read_all_submitted(pool, [str(intent)])
    if not found:
        raise Refused(f"the log has no intent {intent}", code="unknown_intent")
    return found[str(intent)]


async def read_all_submitted(pool: Pool, intents: Iterable[str]) -> dict[str, Submitted]:
    """Return intents with their submissions, by id; those that the log does not know are left out."""
    ids: Sequence[UUID] = sorted({UUID(intent) for intent in intents})
    if not ids:
        return {}
    with database():
        rows = await pool.fetch(statement("dlq/read_submitted"), ids)
    return {str(row["id"]): _submitted(row) for row in rows}


def _submitted(row: asyncpg.Record) -> Submitted:
    job = JobMessage.model_validate_json(row["body"]) if row["body"] is not None else None
    begun = row["begun"] or (job is not None and (job.inquire_first or bool(job.psp_ids)))
    return Submitted(row["id"], IntentState(row["state"]), row["attempt"], job, begun)


def permit_of(job: JobMessage) -> PermitFor:
    """Return the permit that everybody contends for who says something about this job."""
    return PermitFor(keys.permit(job.psp, job.intent_id, job.attempt, job.operation), job.created_ms, job.epoch)


async def look_at(redis: Redis, job: JobMessage) -> Seen:
    """Return how the job's permit stands."""
    return await permits.look(redis, permit=permit_of(job))


def may_submit(seen: Seen, known: Submitted | None) -> bool:
    """Say whether a copy of the job that is delivered now would be submitted, as far as can be told."""
    lost = known is not None and known.begun
    return seen.state is PermitState.ABSENT and not seen.stale and not lost


def permit_sentence(seen: Seen, known: Submitted | None = None) -> str:
    """Say what a permit means for its job."""
    if seen.state is PermitState.CANCELLED:
        return "the permit is CANCELLED: it was never submitted and never will be"
    if seen.state is PermitState.TAKEN:
        return "the permit is TAKEN: somebody may have submitted it, so it only inquires"
    if seen.stale:
        return f"the permit cannot be won any more ({seen.stale}), so it only inquires"
    if known is not None and known.begun:
        return "the permit is gone though it was begun: it proves nothing, so it only inquires"
    return "the permit is free: it has not been submitted, and whoever wins it submits once"
