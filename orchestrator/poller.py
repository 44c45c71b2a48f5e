"""The poller: looks at intents when they fall due, and does the one thing that each calls for.

================================  ==========================================================================
the permit says                   what is done
================================  ==========================================================================
ABSENT, and the job is young      nothing: it is on its way, and waits for as long again as it has waited
ABSENT, past the job's time       win CANCELLED: the result NOT_SUBMITTED, and no copy is ever submitted
CANCELLED                         win it again: the verdict may not have been heard
TAKEN, or too old to be won       ask the PSP: an inquiry onto its job stream
ABSENT, though it was begun       ask, and let nobody take the lost permit for a proof
================================  ==========================================================================

An intent of money in that is decided is asked about for a while longer: its code may be paid late, or again.

Schedules live in the database, so an inquiry is only a hint: one that is lost is made again. There is one an intent
and turn; none while the PSP is paused or its breaker open, none for a job that has not left the outbox, and none onto
a stream that holds twice what the relay may put there. A due intent is claimed by a lease and scheduled afterwards;
two pollers never take the same one, and an answer that has come meanwhile keeps the schedule it made.

This module must never guess: it says NOT_SUBMITTED only after winning CANCELLED, and never decides anything else.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from pydantic import ValidationError
from redis.asyncio import Redis

from orchestrator.outbound_metrics import OutboundMetrics
from orchestrator.polling import AFTERMATH_S, next_poll_s, watch_s
from orchestrator.psp_register import PspRegister
from orchestrator.records import NEVER_S, statement
from orchestrator.relay import JOBS_MAX
from shared.contracts import Action, JobMessage, Outcome, ResultMessage, Source, job_envelope, result_envelope
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import OutcomeUnknown, Transient
from shared.psp import Manifest
from shared.states import TERMINAL, IntentState
from shared.streams import keys, permits
from shared.streams.append import append_entry
from shared.streams.client import command, server
from shared.streams.events import wait_for_any
from shared.streams.permits import ALONE, Cancelled, PermitFor, PermitState, Replicas, Seen

PAGE: Final = 256
LEASE_S: Final = 30.0
"""After this a claimed intent that was not scheduled is due again."""
_UNKNOWN_S: Final = 60.0
"""How long an intent rests that cannot be asked about here."""
_HELD_UP_S: Final = 15.0
"""How long one rests whose PSP takes no questions just now."""
_WHO: Final = "poller"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Due:
    """An open intent that is this poller's until its lease ends."""

    id: UUID
    attempt: int
    state: IntentState
    polls: int
    lease: datetime
    expires_ms: int | None
    """When its code ends, as far as the PSP said."""


@dataclass(frozen=True, slots=True)
class Submission:
    """Its job, with what the PSP calls it by now; whether it has left the outbox, and whether it was answered."""

    job: JobMessage
    sent: bool
    answered: bool

    @property
    def permit(self) -> PermitFor:
        """The permit that everybody contends for who says something about it."""
        job = self.job
        return PermitFor(keys.permit(job.psp, job.intent_id, job.attempt, job.operation), job.created_ms, job.epoch)


@dataclass(frozen=True, slots=True)
class Step:
    """What was done about an intent, and when it is looked at next; `asked` counts as a poll."""

    did: str
    pause_s: float
    asked: bool = False


class Poller:
    """Looks at what is due."""

    def __init__(
        self,
        *,
        pool: Pool,
        redis: Redis,
        psps: PspRegister,
        metrics: OutboundMetrics,
        replicas: Replicas = ALONE,
        jobs_max: int = JOBS_MAX,
        poll_s: float = 1.0,
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._psps = psps
        self._metrics = metrics
        self._replicas = replicas
        self._backlog_max = 2 * jobs_max
        self._poll_s = poll_s
        self._poked = asyncio.Event()

    def poke(self) -> None:
        """Say that something has fallen due just now."""
        self._poked.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Look at what is due until `stop`; while a store is away everything stays due."""
        while not stop.is_set():
            try:
                while await self.turn() == PAGE and not stop.is_set():
                    pass
            except (Transient, OutcomeUnknown) as error:
                _log.warning("intents_not_polled", error=error.code)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await wait_for_any(stop, self._poked)
            self._poked.clear()

    async def turn(self) -> int:
        """Look at up to `PAGE` intents that are due; return how many were.

        Raises:
            Transient, OutcomeUnknown: a store was out of reach; what was not scheduled is due again after its lease.
        """
        due = await self._claim()
        steps: dict[Due, Step] = {}
        try:
            submissions = await self._read(due)
            for one in due:
                steps[one] = await self._look(one, submissions.get(one.id))
        finally:
            # What has been done is scheduled even if the rest could not be.
            await self._schedule(steps)
        return len(due)

    async def _claim(self) -> list[Due]:
        with database():
            rows = await self._pool.fetch(statement("claim_due"), PAGE, LEASE_S)
        return [
            Due(row["id"], row["attempt"], IntentState(row["state"]), row["polls"], row["lease"], row["expires_ms"])
            for row in rows
        ]

    async def _read(self, due: Sequence[Due]) -> dict[UUID, Submission]:
        if not due:
            return {}
        with database():
            rows = await self._pool.fetch(
                statement("read_submissions"), [one.id for one in due], [one.attempt for one in due]
            )
        found = {row["intent_id"]: _submission(row) for row in rows}
        return {intent: submission for intent, submission in found.items() if submission is not None}

    async def _schedule(self, steps: Mapping[Due, Step]) -> None:
        if not steps:
            return
        with database():
            await self._pool.execute(
                statement("schedule_polls"),
                [due.id for due in steps],
                [due.lease for due in steps],
                [float(step.pause_s) for step in steps.values()],
                [int(step.asked) for step in steps.values()],
            )

    async def _look(self, due: Due, submission: Submission | None) -> Step:
        if submission is None:
            _log.error("poll_without_submission", intent_id=str(due.id), attempt=due.attempt)
            return Step("no_submission", _UNKNOWN_S)
        job = submission.job
        manifest = self._psps.manifest(job.psp)
        if manifest is None:
            _log.warning("poll_of_unknown_psp", intent_id=job.intent_id, psp=job.psp)
            step = Step("unknown_psp", _UNKNOWN_S)
        else:
            step = await self._decide(due, submission, manifest)
        self._metrics.polled(job.psp, step.did)
        return step

    async def _decide(self, due: Due, submission: Submission, manifest: Manifest) -> Step:
        if due.state in TERMINAL:
            return await self._watch(due, submission, manifest)
        seen = await permits.look(self._redis, permit=submission.permit)
        if seen.state is PermitState.TAKEN or seen.stale:
            return await self._inquire(due, submission, manifest)
        if seen.state is PermitState.ABSENT and _was_begun(due, submission):
            # The permit was lost, not "never there": the adapter must not conclude anything from that either.
            return await self._inquire(due, submission, manifest, lost=True)
        age_s = (seen.now_ms - submission.job.created_ms) / 1000
        if seen.state is PermitState.ABSENT and age_s < manifest.job_ttl_s:
            pace = manifest.poll
            return Step("queued", min(manifest.job_ttl_s - age_s, max(pace.first_s, min(age_s, pace.max_s))))
        return await self._cancel(due, submission, manifest, seen)

    async def _watch(self, due: Due, submission: Submission, manifest: Manifest) -> Step:
        """Ask about a decided intent once more, and again for as long as its code may still be paid.

        Without such a code it is due only because of a hint of the PSP's.
        """
        with server():
            seconds, _ = await command(self._redis, "TIME")
        step = await self._inquire(due, submission, manifest)
        if not step.asked:
            return step
        watched = int(seconds) < _watched_until_s(due, submission.job, manifest)
        return replace(step, pause_s=float(manifest.poll.max_s) if watched else NEVER_S)

    async def _cancel(self, due: Due, submission: Submission, manifest: Manifest, seen: Seen) -> Step:
        won = await permits.win_cancelled(self._redis, permit=submission.permit, who=_WHO, replicas=self._replicas)
        if won is not Cancelled.CANCELLED:
            return await self._inquire(due, submission, manifest)
        job = submission.job
        verdict = ResultMessage(
            psp=job.psp,
            intent_id=job.intent_id,
            attempt=job.attempt,
            operation=job.operation,
            action=Action.SUBMIT,
            source=Source.VERDICT,
            outcome=Outcome.NOT_SUBMITTED,
            reference=job.reference,
            psp_ids=job.psp_ids,
            code="job_ttl",
            final=True,
            at_ms=seen.now_ms,
        )
        await append_entry(self._redis, keys.results(job.psp), result_envelope(verdict), replicas=self._replicas)
        _log.warning("job_never_submitted", intent_id=job.intent_id, psp=job.psp, attempt=job.attempt)
        return Step("cancelled", next_poll_s(manifest.poll, due.polls), asked=True)

    async def _inquire(self, due: Due, submission: Submission, manifest: Manifest, *, lost: bool = False) -> Step:
        job = submission.job
        if not submission.sent:
            return Step("unsent", _HELD_UP_S)
        if not self._psps.may_ask(job.psp):
            return Step("held_up", _HELD_UP_S)
        if await self._backlog(job.psp) >= self._backlog_max:
            _log.warning("poll_backlog", psp=job.psp)
            return Step("backlog", _HELD_UP_S)
        question = job.model_copy(update={"action": Action.INQUIRE, "inquire_first": job.inquire_first or lost})
        await append_entry(self._redis, keys.jobs(job.psp), job_envelope(question))
        return Step("asked", next_poll_s(manifest.poll, due.polls), asked=True)

    async def _backlog(self, psp: str) -> int:
        with server():
            waiting: int = await command(self._redis, "XLEN", keys.jobs(psp))
        return waiting


def _watched_until_s(due: Due, job: JobMessage, manifest: Manifest) -> float:
    """Return until when a code is asked about, unix seconds: from its end, which may be later than its job's."""
    rules = manifest.operations.get(job.operation)
    if rules is None:
        return 0.0
    ttl = job.destination.get("ttl_s")
    static = job.destination.get("static") == "true"
    since_s = job.created_ms / 1000
    until_s = since_s + watch_s(rules, manifest.poll, static=static, ttl_s=int(ttl) if ttl is not None else None)
    if static or rules.direction == "out" or due.expires_ms is None:
        return until_s
    return max(until_s, due.expires_ms / 1000 + AFTERMATH_S)


def _was_begun(due: Due, submission: Submission) -> bool:
    """Say whether anything beside the permit tells that somebody has begun to submit it.

    Then an absent permit was lost or freed. A freed one's job comes back and decides by itself.
    """
    job = submission.job
    return (
        due.state is IntentState.IN_DOUBT
        or due.polls > 0
        or submission.answered
        or job.inquire_first
        or bool(job.psp_ids)
    )


def _submission(row: asyncpg.Record) -> Submission | None:
    try:
        job = JobMessage.model_validate_json(row["body"])
        given: dict[str, str] = json.loads(row["psp_ids"])
        job = JobMessage.model_validate(job.model_dump() | {"psp_ids": job.psp_ids | given})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        _log.error("stored_job_unreadable", intent_id=str(row["intent_id"]), fault=first["type"])
        return None
    return Submission(job, row["sent"], row["answered"])
