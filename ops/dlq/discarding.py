"""Taking dead letters away for good: kept in the database first, and only once nothing hangs on them any more.

An intent that was accepted and has not been decided is ended first: its attempt is burned in the ledger, so that no
sleeper can carry it out, and then it is REJECTED. Jobs and results go only once their intent has been decided. This
module must never lose the bytes of a record, and never end an intent whose money may have moved.
"""

import json
from base64 import b64encode
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from redis.asyncio import Redis

from ops.audit import audit
from ops.dlq.addresses import Address
from ops.dlq.contents import Content, Unreadable, intent_of, read_content
from ops.dlq.reach import Reach, reading_redis
from ops.statements import statement
from orchestrator.drafts import Draft, record_drafts
from orchestrator.records import Record, Stored, read_intents, record_decisions
from orchestrator.saga import Decision
from shared.contracts import Action, IntentMessage, JobMessage, OpenAccountMessage, Outcome, ResultMessage
from shared.db.failures import database
from shared.errors import Permanent, Transient, violated
from shared.ids import IntentId, parse_intent_id, partition_of
from shared.ledger.outcome import ChainOutcome
from shared.ledger.planned import first_chain
from shared.ledger.submit import burn_attempt
from shared.rules.refusals import Refusal
from shared.sealing import KeyRing, seal
from shared.states import TERMINAL, Funds, IntentState
from shared.streams import keys
from shared.streams.client import command, server
from shared.streams.dead_letters import DeadLetterRecord, discard, read_record
from shared.streams.verdicts import Fields

CODE: Final = "operator_discarded"
_DETAIL: Final = "an operator ended it after it could not be processed; no money was held"
_FIELD: Final = "record"
_ROUNDS_MAX: Final = 8
_MONEY: Final = frozenset({Outcome.PAID, Outcome.REVERSED})


class NotDiscarded(Permanent):
    """Something hangs on the record: it stays where it is."""

    code = "not_discarded"


@dataclass(frozen=True, slots=True)
class DiscardProspect:
    """Whether a record may be taken away, what would happen to its intent, and why.

    Attributes:
        address: of the record.
        intent: the one it names.
        safe: it may go.
        ends: its intent is REJECTED first.
        markers: keys that go with it.
        why: in a sentence.
    """

    address: Address
    intent: str | None
    safe: bool
    ends: bool
    markers: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Discarded:
    """What became of one record: `gone` says that somebody else had moved it."""

    address: str
    intent: str | None
    ended: bool
    gone: bool


async def foresee_discard(reach: Reach, stream: str, record: DeadLetterRecord) -> DiscardProspect:
    """Say whether a record may go.

    Raises:
        Transient, OutcomeUnknown: a store is out of reach.
    """
    address, intent, content = Address(stream, record.entry_id), intent_of(record), read_content(record)
    stored = await _stored(reach, intent)

    def prospect(why: str, *, safe: bool, ends: bool = False, markers: tuple[str, ...] = ()) -> DiscardProspect:
        return DiscardProspect(address, intent, safe, ends, markers, why)

    if isinstance(content, JobMessage | ResultMessage) or not stream.startswith("intents."):
        safe, why = await _unheard_money(reach, content) or _psp_may_go(content, stored)
        return prospect(why, safe=safe)
    marker = _marker(stream, intent)
    accepted = await _exists(reach.redis, marker)
    if stored is None and isinstance(content, IntentMessage):
        return prospect("it was never planned: it is REJECTED first", safe=True, ends=True, markers=marker)
    if stored is None and accepted and not isinstance(content, OpenAccountMessage):
        return prospect("it was accepted and cannot be read here: only a release that reads it may end it", safe=False)
    if stored is None:
        return prospect("no intent hangs on it", safe=True, markers=marker)
    if stored.state is IntentState.VALIDATED:
        why = "the intent is VALIDATED: its attempt is burned in the ledger and it is REJECTED first"
        return prospect(why, safe=True, ends=True, markers=marker)
    return prospect(f"the intent is {stored.state}: its entry has done its work", safe=True, markers=marker)


async def discard_record(
    reach: Reach, stream: str, record: DeadLetterRecord, *, ring: KeyRing, actor: str, reason: str
) -> Discarded:
    """Keep a record, end its intent where that must be, and take it away.

    Raises:
        NotDiscarded: something hangs on it.
        Transient, OutcomeUnknown: a store is out of reach; discard again.
    """
    found = await foresee_discard(reach, stream, record)
    if not found.safe:
        raise NotDiscarded(f"{found.address} stays: {found.why}")
    with reading_redis():
        standing = await read_record(reach.redis, stream, record.entry_id)
    if standing is None:
        return Discarded(str(found.address), found.intent, ended=False, gone=True)
    await _keep(reach, found, standing, ring=ring, actor=actor, reason=reason)
    if found.ends:
        await _end(reach, found, read_content(record))
    with server():
        taken = await discard(reach.redis, stream, record.entry_id, markers=found.markers)
    if taken:
        await _removed(reach, found, actor=actor, reason=reason)
    return Discarded(str(found.address), found.intent, ended=found.ends, gone=not taken)


def pack(fields: Fields) -> str:
    """Write every field of a record down, in order, as JSON of base64."""
    return json.dumps([[b64encode(name).decode(), b64encode(value).decode()] for name, value in fields.items()])


def _psp_may_go(content: Content | Unreadable, stored: Stored | None) -> tuple[bool, str]:
    """Say whether a job or a result may go: a question that is lost is asked again, anything else is not."""
    if isinstance(content, JobMessage) and content.action is Action.INQUIRE:
        return True, "it only asks the PSP what became of it: the poller asks again"
    if stored is None:
        return True, "the log knows no intent of that name"
    if stored.state in TERMINAL:
        return True, f"its intent is {stored.state} already"
    return False, f"its intent is {stored.state}: replay it, void it, or settle or fail it by evidence first"


async def _unheard_money(reach: Reach, content: Content | Unreadable) -> tuple[bool, str] | None:
    """Refuse to drop a word of money that the books have not heard, whatever became of its intent."""
    if not isinstance(content, ResultMessage) or content.outcome not in _MONEY:
        return None
    with database():
        heard = await reach.pool.fetchval(statement("dlq/heard_money"), content.psp, *_named(content))
    if heard:
        return None
    return False, f"it says {content.outcome}, and the books have not heard of that payment: replay it"


def _named(content: ResultMessage) -> tuple[str | None, UUID | None, bool]:
    intent = UUID(content.intent_id) if content.intent_id else None
    return content.psp_transaction_id, intent, content.outcome is Outcome.REVERSED


async def _keep(
    reach: Reach,
    found: DiscardProspect,
    standing: tuple[DeadLetterRecord, Fields],
    *,
    ring: KeyRing,
    actor: str,
    reason: str,
) -> None:
    record, fields = standing
    sealed = seal(ring, context=found.address.target, field=_FIELD, text=pack(fields))
    row = (
        found.address.stream, record.entry_id.decode(), UUID(found.intent) if found.intent else None, record.reason,
        sealed, actor, reason,
    )  # fmt: skip
    with database():
        async with reach.pool.acquire() as connection, connection.transaction():
            await connection.execute(statement("dlq/keep_discarded"), *row)
            await audit(
                connection, actor=actor, action="dlq.discard_begun", target=_target(found), reason=reason,
                detail={"record": str(found.address), "died_of": record.reason, "ends_intent": found.ends},
            )  # fmt: skip


async def _removed(reach: Reach, found: DiscardProspect, *, actor: str, reason: str) -> None:
    address = found.address
    with database():
        async with reach.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "UPDATE pm.discarded_dead_letter SET removed_at = now() WHERE stream = $1 AND record_id = $2",
                address.stream,
                address.record_id.decode(),
            )
            await audit(
                connection, actor=actor, action="dlq.discard", target=_target(found), reason=reason,
                detail={"record": str(address), "ended_intent": found.ends},
            )  # fmt: skip


async def _end(reach: Reach, found: DiscardProspect, content: Content | Unreadable) -> None:
    """See the intent ended, REJECTED by us or as somebody else has decided meanwhile.

    Raises:
        NotDiscarded: it was carried out meanwhile.
    """
    intent = parse_intent_id(found.intent or violated("a record without an intent ends none"))
    for _ in range(_ROUNDS_MAX):
        stored = await _stored(reach, str(intent))
        if stored is None and isinstance(content, IntentMessage):
            stored = await _reject_unplanned(reach, intent, content)
        if stored is None:
            raise NotDiscarded(f"{found.address} stays: its intent is not in the log any more")
        if stored.state in TERMINAL:
            return
        if stored.state is not IntentState.VALIDATED:
            raise NotDiscarded(f"{found.address} stays: its intent is {stored.state} by now; replay it")
        await _burn(reach, found, stored)
        decision = Decision((stored.state, IntentState.REJECTED), Funds.NONE, CODE, _DETAIL)
        with database():
            taken = await record_decisions(reach.pool, [Record(stored, decision)])
        if stored.id in taken:
            return
    raise Transient(f"intent {intent} is being worked on; discard again", code="overtaken")


async def _reject_unplanned(reach: Reach, intent: IntentId, message: IntentMessage) -> Stored:
    with database():
        recorded = await record_drafts(reach.pool, [Draft(intent, message, Refusal(CODE, _DETAIL))])
    return recorded.stored[intent]


async def _burn(reach: Reach, found: DiscardProspect, stored: Stored) -> None:
    plan = stored.plan or violated(f"intent {stored.id} is VALIDATED without a plan")
    chain = first_chain(stored.id, stored.attempt, plan)
    if not chain:
        # Nothing is in the ledger before somebody has paid, and nobody was asked to yet.
        return
    if await burn_attempt(reach.ledger(), chain[0]) is not ChainOutcome.BURNED:
        raise NotDiscarded(f"{found.address} stays: the ledger has carried it out; replay it")
    with database():
        await reach.pool.execute(
            "UPDATE pm.intent_attempt SET burned_at = coalesce(burned_at, now()) WHERE intent_id = $1 AND attempt = $2",
            stored.id,
            stored.attempt,
        )


async def _stored(reach: Reach, intent: str | None) -> Stored | None:
    if intent is None:
        return None
    with database():
        found = await read_intents(reach.pool, [UUID(intent)])
    return found[UUID(intent)][0] if found else None


async def _exists(redis: Redis, markers: tuple[str, ...]) -> bool:
    if not markers:
        return False
    with reading_redis():
        return bool(await command(redis, "EXISTS", *markers))


def _marker(stream: str, intent: str | None) -> tuple[str, ...]:
    """Name the marker of acceptance, where the stream is the one that it belongs to."""
    if intent is None:
        return ()
    key = keys.acc(partition_of(parse_intent_id(intent)), intent)
    return (key,) if keys.hash_tag(key) == keys.hash_tag(stream) else ()


def _target(found: DiscardProspect) -> str:
    return found.address.target if found.intent is None else f"intent:{found.intent}"
