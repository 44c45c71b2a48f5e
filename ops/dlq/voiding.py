"""Saying of a job that it was never submitted: only by winning its permit, as everybody must who says so.

What was won is CANCELLED for good, so that neither a copy in the backlog nor a replay submits the job afterwards.
This module must never say so beside a permit that somebody holds.
"""

import time
from dataclasses import dataclass
from typing import Final

from ops.audit import audit
from ops.dlq.jobs import Submitted, look_at, may_submit, permit_of, permit_sentence, read_submitted
from ops.dlq.reach import Reach
from ops.refusals import Refused
from shared.contracts import Action, JobMessage, Outcome, ResultMessage, Source, result_envelope
from shared.db.failures import database
from shared.streams import keys, permits
from shared.streams.append import append_entry
from shared.streams.permits import Cancelled, PermitState, Seen

CODE: Final = "operator_void"
_WHO: Final = "operator_void"


@dataclass(frozen=True, slots=True)
class VoidProspect:
    """Whether a void can be won, as it looks at the moment, and why."""

    intent: str
    state: str
    psp: str
    permit: PermitState
    safe: bool
    why: str


@dataclass(frozen=True, slots=True)
class Voided:
    """What became of it: `won` says that the verdict is in the results."""

    intent: str
    won: bool
    permit: Cancelled


async def foresee_void(reach: Reach, intent: str) -> VoidProspect:
    """Say whether the permit can be won.

    Raises:
        BadInput: no such intent, it has ended, or it has asked nothing of a PSP.
        Transient, OutcomeUnknown: a store is out of reach.
    """
    known = await _undecided(reach, intent)
    job = known.asked()
    seen = await look_at(reach.redis, job)
    safe = _winnable(seen, known)
    return VoidProspect(str(known.intent), known.state, job.psp, seen.state, safe, _why(seen, known, safe=safe))


async def void(reach: Reach, intent: str, *, actor: str, reason: str) -> Voided:
    """Win CANCELLED and put the verdict into the results; the held funds are then released by the orchestrator.

    Raises:
        BadInput: as `foresee_void`.
        Transient, OutcomeUnknown: a store is out of reach; void again.
    """
    known = await _undecided(reach, intent)
    job = known.asked()
    target = f"intent:{known.intent}"
    replicas = await reach.replicas()
    with database():
        async with reach.pool.acquire() as connection:
            await audit(connection, actor=actor, action="dlq.void_begun", target=target, reason=reason)
    if _winnable(await look_at(reach.redis, job), known):
        won = await permits.win_cancelled(reach.redis, permit=permit_of(job), who=_WHO, replicas=replicas)
    else:
        # Absent though it was begun: winning it now would prove nothing.
        won = Cancelled.TAKEN
    if won is Cancelled.CANCELLED:
        await append_entry(reach.redis, keys.results(job.psp), result_envelope(_verdict(job)), replicas=replicas)
    with database():
        async with reach.pool.acquire() as connection:
            action = "dlq.void" if won is Cancelled.CANCELLED else "dlq.void_refused"
            detail = {"permit": won, "psp": job.psp}
            await audit(connection, actor=actor, action=action, target=target, reason=reason, detail=detail)
    return Voided(str(known.intent), won is Cancelled.CANCELLED, won)


async def _undecided(reach: Reach, intent: str) -> Submitted:
    known = await read_submitted(reach.pool, intent)
    if known.decided:
        raise Refused(f"intent {known.intent} is {known.state}: there is nothing to void", code="decided")
    return known


def _winnable(seen: Seen, known: Submitted) -> bool:
    return seen.state is PermitState.CANCELLED or may_submit(seen, known)


def _why(seen: Seen, known: Submitted, *, safe: bool) -> str:
    if safe:
        return f"{permit_sentence(seen, known)}; voiding it wins CANCELLED and releases what is held"
    return (
        f"{permit_sentence(seen, known)}. It cannot be voided: wait for the inquiry, or settle or fail "
        "it by evidence once it is IN_DOUBT"
    )


def _verdict(job: JobMessage) -> ResultMessage:
    return ResultMessage(
        psp=job.psp,
        intent_id=job.intent_id,
        attempt=job.attempt,
        operation=job.operation,
        action=Action.SUBMIT,
        source=Source.VERDICT,
        outcome=Outcome.NOT_SUBMITTED,
        reference=job.reference,
        psp_ids=job.psp_ids,
        code=CODE,
        final=True,
        at_ms=time.time_ns() // 1_000_000,
    )
