"""What a replay of a dead letter would do, and why that is safe or not; what a dry run says.

It looks at permits and states and concludes nothing from them: what holds, the scripts and the permits themselves
see to. This module must never change anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ops.dlq.contents import Content, Unreadable, intent_of, read_content
from ops.dlq.jobs import Submitted, look_at, may_submit, permit_sentence, read_all_submitted
from ops.dlq.reach import Reach
from shared.contracts import Action, IntentMessage, JobMessage, OpenAccountMessage, ResultMessage, ResumeMessage
from shared.errors import OutcomeUnknown, Transient
from shared.states import TERMINAL, IntentState
from shared.streams.dead_letters import DeadLetterRecord, Reason
from shared.streams.permits import PermitState


class Effect(StrEnum):
    """What a replay does, in a word."""

    SUBMITS = "submits"
    """A payment goes out, once, under its permit."""
    INQUIRES = "inquires"
    """The PSP is asked what became of it; nothing is sent again."""
    SAYS_NOTHING_NEW = "never_submits"
    """It will say that it was never submitted, which is right."""
    CARRIES_ON = "carries_on"
    """The intent goes on where it stood, or ends as it has ended."""
    LIKELY_DIES = "likely_dies"
    """It cannot be read, or the books contradict it: it comes back here unless something was mended."""
    IMPOSSIBLE = "impossible"
    """There is nothing to put back."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a replay of one record would do, and the sentence that says why."""

    effect: Effect
    why: str


async def foresee(reach: Reach, records: Sequence[DeadLetterRecord]) -> list[Prospect]:
    """Say what replays would do, in order.

    Raises:
        Transient, OutcomeUnknown: Redis did not answer.
    """
    known: dict[str, Submitted] | None = None
    if reach.pool_or_none is not None:
        try:
            known = await read_all_submitted(reach.pool, filter(None, map(intent_of, records)))
        except (Transient, OutcomeUnknown) as error:
            reach.notes.append(f"states of intents are missing: {error}")
    return [await _foresee(reach, record, known) for record in records]


async def _foresee(reach: Reach, record: DeadLetterRecord, known: dict[str, Submitted] | None) -> Prospect:
    content = read_content(record)
    if not record.fields:
        why = content.why if isinstance(content, Unreadable) else "nothing is left of it"
        return Prospect(Effect.IMPOSSIBLE, f"{why}: there is nothing to put back")
    if isinstance(content, Unreadable):
        return Prospect(Effect.LIKELY_DIES, f"it cannot be read ({content.why}): it comes back here")
    asked = known.get(record.id) if known is not None else None
    found = await _by_content(reach, content, asked, readable=known is not None)
    if record.reason == Reason.INVARIANT:
        why = f"the books contradicted it, and whoever takes it ends again unless that was mended; else {found.why}"
        return Prospect(Effect.LIKELY_DIES if found.effect is not Effect.SUBMITS else Effect.SUBMITS, why)
    return found


async def _by_content(reach: Reach, content: Content, known: Submitted | None, *, readable: bool) -> Prospect:
    match content:
        case JobMessage():
            return await _of_job(reach, content, known)
        case ResultMessage():
            return Prospect(Effect.CARRIES_ON, "what was said is heard again; a repeated word changes nothing")
        case OpenAccountMessage():
            return Prospect(Effect.CARRIES_ON, "the account is opened, if it is not open yet")
        case IntentMessage() | ResumeMessage():
            return Prospect(
                Effect.CARRIES_ON, _of_intent(known.state if known is not None else None, readable=readable)
            )


def _of_intent(state: IntentState | None, *, readable: bool) -> str:
    if not readable:
        return "it is carried on with by its stored plan, if there is one; the ledger moves each transfer once"
    if state is None:
        return "it has not been planned yet: it is planned and carried out once"
    if state in TERMINAL:
        return f"the intent is {state} already: nothing moves"
    return f"the intent is {state}: its stored plan is carried out, and the ledger moves each transfer once"


async def _of_job(reach: Reach, job: JobMessage, known: Submitted | None) -> Prospect:
    if job.action is not Action.SUBMIT:
        return Prospect(Effect.INQUIRES, f"it asks the PSP to {job.action}; it submits nothing")
    seen = await look_at(reach.redis, job)
    why = permit_sentence(seen, known)
    if seen.state is PermitState.CANCELLED:
        return Prospect(Effect.SAYS_NOTHING_NEW, why)
    if seen.state is PermitState.ABSENT and known is not None and known.decided:
        why = f"the intent is {known.state} already: CANCELLED is won before it goes back"
        return Prospect(Effect.SAYS_NOTHING_NEW, why)
    if job.inquire_first or not may_submit(seen, known):
        return Prospect(Effect.INQUIRES, why)
    return Prospect(Effect.SUBMITS, why)
