"""Verdicts by evidence on intents in doubt: asked for by one person, approved by another, said to the orchestrator.

::

    settle │ fail ─ dry run ─→ request (sealed evidence) ─ approve, somebody else ─→ bar the job ─→ the verdict, final

Before anything is said, the job is barred: nobody submits it from then on, and nobody can free its permit. What is
said goes through the results stream like any PSP's word, so that the books, the events and the alerts follow as they
always do; saying it twice changes nothing. This module must never let one person do both, and never decide an intent
that is not in doubt.
"""

import time
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol
from uuid import UUID

import asyncpg

from ops.audit import Connection, audit
from ops.dlq.evidence import Evidence
from ops.dlq.jobs import Submitted, look_at, permit_of, read_submitted
from ops.dlq.people import same_person
from ops.dlq.reach import Reach
from ops.refusals import Refused
from ops.statements import statement
from shared.contracts import Action, JobMessage, Outcome, ResultMessage, Source, result_envelope
from shared.db.failures import database
from shared.errors import BadInput, Permanent, Transient, require
from shared.money import AMOUNT_MINOR_MAX
from shared.sealing import CannotUnseal, KeyRing, seal, unseal
from shared.states import IntentState
from shared.streams import keys, permits
from shared.streams.append import append_entry
from shared.streams.permits import PermitState, Seen

CODE: Final = "operator_decision"
TAKEN_MS_MIN: Final = 600_000
"""How long a permit has been TAKEN before people may say that nothing was paid: whoever has it may be sending."""
QUIET_MS: Final = 60_000
"""How long nobody else has touched a permit by then: an adapter holds no entry for longer."""
_FIELD: Final = "evidence"
_TRANSACTION_MAX: Final = 128
_LISTED_MAX: Final = 200
_PAID_ALREADY: Final = (
    "SELECT intent_id FROM pm.psp_tx_map WHERE psp = $1 AND psp_transaction_id = $2 AND intent_id <> $3"
)


class Kind(StrEnum):
    """What is asked for."""

    SETTLE = "settle"
    """The PSP paid."""
    FAIL = "fail"
    """The PSP did not pay, and will not."""


class OnePerson(Permanent):
    """Whoever asked for a verdict cannot approve it."""

    code = "one_person"


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody says of a payment; transaction and amount stand with a settlement only."""

    kind: Kind
    intent: str
    evidence: Evidence
    psp_transaction_id: str | None = None
    amount_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody: the name given, and whom the operating system knows."""

    name: str
    actor: str


@dataclass(frozen=True, slots=True)
class Request:
    """A request as people see it; the evidence is covered, None where no key ring opens it."""

    id: int
    kind: Kind
    intent_id: UUID
    attempt: int
    psp: str
    psp_transaction_id: str | None
    amount_minor: int | None
    currency: str
    evidence: str | None
    evidence_sha256: str
    reason: str
    requested_by: str
    requester: str
    requested_at: datetime
    decision: str | None
    decided_by: str | None
    decider: str | None
    decision_reason: str | None
    decided_at: datetime | None
    carried_out_at: datetime | None


async def check_claim(reach: Reach, claim: Claim) -> tuple[Submitted, JobMessage]:
    """Return the intent, if a verdict may be asked for, and its submission.

    Raises:
        BadInput: it is not in doubt, or the claim says too little.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    known = await read_submitted(reach.pool, claim.intent)
    if known.state is not IntentState.IN_DOUBT:
        raise Refused(f"intent {known.intent} is {known.state}; only IN_DOUBT is closed by evidence", code="no_doubt")
    job = known.asked()
    if claim.kind is Kind.SETTLE:
        name, amount = claim.psp_transaction_id, claim.amount_minor
        if name is None or not 0 < len(name) <= _TRANSACTION_MAX:
            raise BadInput("say which payment of the PSP it is: --psp-transaction-id")
        if amount is None or not 0 < amount <= AMOUNT_MINOR_MAX:
            raise BadInput("say what the PSP paid, in minor units: --amount-minor")
        with database():
            other = await reach.pool.fetchval(_PAID_ALREADY, job.psp, name, known.intent)
        if other is not None:
            raise Refused(f"{name} has paid intent {other}: one payment settles one intent", code="known_payment")
    return known, job


def other_amount(paid_minor: int | None, job: JobMessage) -> str:
    """Warn of a payment that is not what was planned; nothing, where it is."""
    if paid_minor is None or paid_minor == job.amount_minor:
        return ""
    return f" (NOT the {job.amount_minor} {job.currency} in minor units that were planned: look again)"


async def request_verdict(reach: Reach, claim: Claim, person: Person, *, reason: str) -> int:
    """Write a request down, and return its number.

    Raises:
        BadInput: as `check_claim`, or one is open for this intent already.
        BadConfig, BadKeyRing: there is no key ring to seal the evidence with.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    ring = reach.settings.keyring()
    known, job = await check_claim(reach, claim)
    sealed = seal(ring, context=str(known.intent), field=_FIELD, text=claim.evidence.text)
    row = (
        claim.kind, known.intent, known.attempt, job.psp, claim.psp_transaction_id, claim.amount_minor, job.currency,
        sealed, claim.evidence.sha256, reason, person.name, person.actor,
    )  # fmt: skip
    with database():
        async with reach.pool.acquire() as connection, connection.transaction():
            number: int | None = await connection.fetchval(statement("dlq/insert_request"), *row)
            if number is None:
                raise Refused(f"a verdict on {known.intent} has been asked for; see `paymesh dlq requests`")
            detail = {"request": number, "requested_by": person.name, "evidence_sha256": claim.evidence.sha256}
            if claim.kind is Kind.SETTLE:
                detail |= {"psp_transaction_id": claim.psp_transaction_id, "amount_minor": claim.amount_minor}
            await _on_record(connection, _action(claim.kind, "requested"), known.intent, person, reason, detail)
    return number


async def list_requests(reach: Reach, *, everything: bool = False, number: int | None = None) -> list[Request]:
    """Return the requests that wait for somebody, or all of the last ones, or one.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    ring = reach.settings.keyring() if reach.settings.keyring_text or reach.settings.keyring_file else None
    with database():
        rows = await reach.pool.fetch(
            statement("dlq/list_requests"), everything or number is not None, number, _LISTED_MAX
        )
    return [_request(row, ring) for row in rows]


async def find_request(reach: Reach, number: int) -> Request:
    """Return one request.

    Raises:
        BadInput: there is none of that number.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    found = await list_requests(reach, number=number)
    if not found:
        raise Refused(f"there is no request {number}; see `paymesh dlq requests --all`", code="unknown_request")
    return found[0]


class AskedFor(Protocol):
    """What one person has asked for, by name and by account, and another one approves."""

    @property
    def requested_by(self) -> str:
        """The name that was given."""
        ...

    @property
    def requester(self) -> str:
        """Who sat at the terminal, ``user@host``."""
        ...


def check_people(request: AskedFor, person: Person) -> None:
    """Refuse somebody's approval of what the same person asked for.

    Raises:
        OnePerson: by the name given, or by the account at the operating system.
    """
    if not person.name.strip():
        raise BadInput("say who approves: --approved-by", code="no_name")
    if same_person(request.requested_by, person.name):
        raise OnePerson(f"{request.requested_by} asked for it: somebody else approves")
    if same_person(request.requester, person.actor):
        raise OnePerson(f"it was asked for from the account {request.requester}: approve it from somebody else's")


async def check_request(reach: Reach, request: Request) -> JobMessage:
    """Return the job that the verdict is about, if it may be given now.

    Raises:
        BadInput: it was decided or carried out already, or the intent is not in doubt (any more).
        Transient: whoever has the permit may still be sending.
        OutcomeUnknown: a store is out of reach.
    """
    if request.decision == "declined" or request.carried_out_at is not None:
        raise Refused(f"request {request.id} was {request.decision} by {request.decided_by}", code="decided")
    known = await read_submitted(reach.pool, str(request.intent_id))
    if known.state is not IntentState.IN_DOUBT or known.attempt != request.attempt:
        raise Refused(f"intent {known.intent} is {known.state} by now: there is no doubt to close", code="no_doubt")
    job = known.asked()
    _check_rest(request, await look_at(reach.redis, job))
    return job


async def approve(reach: Reach, number: int, person: Person, *, reason: str) -> Request:
    """Approve a request and say its verdict; approving again carries on what was interrupted.

    Raises:
        OnePerson: the same person asked for it.
        BadInput: as `check_request`.
        Transient, OutcomeUnknown: a store is out of reach, or it is too early; approve again.
    """
    request = await find_request(reach, number)
    check_people(request, person)
    if await _said_already(reach, request):
        await _carried_out(reach, request, person, reason, {"request": number})
        return await find_request(reach, number)
    job = await check_request(reach, request)
    detail: dict[str, Any] = {"request": number, "approved_by": person.name, "requested_by": request.requested_by}
    await _decide(reach, request, "approved", person, reason, detail)
    # From here on it is decided; whatever fails, approving again goes on.
    replicas = await reach.replicas()
    before = await permits.bar(reach.redis, permit=permit_of(job), token=f"request.{number}", replicas=replicas)
    _check_quiet(request, before)
    verdict = result_envelope(_verdict(request, job))
    await append_entry(reach.redis, keys.results(job.psp), verdict, replicas=replicas)
    await _carried_out(reach, request, person, reason, detail | {"permit_before": before.state})
    return await find_request(reach, number)


async def decline(reach: Reach, number: int, person: Person, *, reason: str) -> Request:
    """Close a request without a verdict; whoever asked for it may do so too.

    Raises:
        BadInput: it was decided already.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    request = await find_request(reach, number)
    await _decide(reach, request, "declined", person, reason, {"request": number, "declined_by": person.name})
    return await find_request(reach, number)


async def _said_already(reach: Reach, request: Request) -> bool:
    """Say whether an earlier approval ended before it could write down that the verdict had been heard."""
    if request.decision != "approved" or request.carried_out_at is not None:
        return False
    return (await read_submitted(reach.pool, str(request.intent_id))).decided


async def _carried_out(reach: Reach, request: Request, person: Person, reason: str, detail: dict[str, Any]) -> None:
    with database():
        async with reach.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "UPDATE pm.operator_request SET carried_out_at = now() WHERE id = $1 AND carried_out_at IS NULL",
                request.id,
            )
            await _on_record(connection, _action(request.kind), request.intent_id, person, reason, detail)


async def _decide(
    reach: Reach, request: Request, decision: str, person: Person, reason: str, detail: dict[str, Any]
) -> None:
    row = (request.id, decision, person.name, person.actor, reason)
    action = _action(request.kind, decision)
    try:
        with database():
            async with reach.pool.acquire() as connection, connection.transaction():
                if await connection.fetchval(statement("dlq/decide_request"), *row) is None:
                    raise Refused(f"request {request.id} has been decided meanwhile", code="decided")
                await _on_record(connection, action, request.intent_id, person, reason, detail)
    except asyncpg.CheckViolationError:
        # The database has the last word on who is who.
        raise OnePerson("whoever asked for it cannot approve it") from None


async def _on_record(
    connection: Connection, action: str, intent: UUID, person: Person, reason: str, detail: dict[str, Any]
) -> None:
    await audit(
        connection, actor=person.actor, action=action, target=f"intent:{intent}", reason=reason, detail=detail
    )  # fmt: skip


def _action(kind: Kind, step: str = "") -> str:
    """Name a deed as the audit log does; without a step it is the verdict itself."""
    return "dlq." + kind + (f"_{step}" if step else "")


def _check_rest(request: Request, seen: Seen) -> None:
    """Refuse to say that nothing was paid while somebody may be sending it."""
    if request.kind is not Kind.FAIL or seen.state is not PermitState.TAKEN or seen.won_ms is None:
        return
    left_ms = seen.won_ms + TAKEN_MS_MIN - seen.now_ms
    if left_ms > 0:
        raise Transient(
            f"its permit was taken a moment ago, and whoever has it may be sending: approve in {left_ms // 1000 + 1} s",
            code="too_early",
        )


def _check_quiet(request: Request, before: Seen) -> None:
    """Refuse to say that nothing was paid while somebody who took it over may be asking by submitting it again."""
    if request.kind is not Kind.FAIL or before.state is not PermitState.TAKEN or before.written_ms is None:
        return
    left_ms = before.written_ms + min(QUIET_MS, TAKEN_MS_MIN) - before.now_ms
    if left_ms > 0:
        raise Transient(
            f"it is barred; somebody may be asking the PSP by submitting it again: approve in {left_ms // 1000 + 1} s",
            code="too_early",
        )


def _verdict(request: Request, job: JobMessage) -> ResultMessage:
    settle = request.kind is Kind.SETTLE
    require(not settle or request.amount_minor, f"request {request.id} settles nothing")
    return ResultMessage(
        psp=job.psp,
        intent_id=job.intent_id,
        attempt=job.attempt,
        operation=job.operation,
        action=Action.SUBMIT,
        source=Source.VERDICT,
        outcome=Outcome.PAID if settle else Outcome.DECLINED,
        reference=job.reference,
        psp_ids=job.psp_ids,
        psp_transaction_id=request.psp_transaction_id,
        amount_minor=request.amount_minor,
        currency=request.currency if settle else None,
        code=None if settle else CODE,
        detail=f"operators' request {request.id}",
        final=True,
        at_ms=time.time_ns() // 1_000_000,
    )


def _request(row: asyncpg.Record, ring: KeyRing | None) -> Request:
    values = dict(row)
    sealed = values["evidence"]
    evidence: str | None = None
    if ring is not None:
        try:
            opened = unseal(ring, context=str(values["intent_id"]), field=_FIELD, sealed=sealed)
            evidence = Evidence(opened).covered()
        except CannotUnseal:
            evidence = None
    return Request(**values | {"kind": Kind(values["kind"]), "evidence": evidence})
