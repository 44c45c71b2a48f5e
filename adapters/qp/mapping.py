"""From a job to QP's terms, and from what QP says to a fact, to a proof of nothing, or to doubt. Pure.

A code and its payments are looked at together, the payments after the code: a code that has expired may have been
paid, a dynamic one more than once, and only accepted payments are money. This module must never let a link pass that
is not, by its own checksum, the link of the very code and amount that were asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from adapters.qp.link import BadLink, LinkType, parse
from adapters.qp.manifest import TTL_S
from adapters.qp.words import Code, Codes, CodeStatus, Payment, PaymentStatus, Refusal
from adapters.runtime.psp import Ambiguous, Answer, Call, Definite, NotSent
from shared.contracts import JobMessage, NextAction, Outcome
from shared.errors import BadInput

NEVER_MS: Final = 253_402_300_799_000
"""When a static code expires: at the end of the last year that ISO 8601 can write, 9999-12-31T23:59:59Z."""
_STATIC: Final = "static"
_DYNAMIC: Final = "dynamic"
_TTL_S_MAX: Final = 259_200
_NOTE_MAX: Final = 400
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LINK_TYPES: Final = {_STATIC: LinkType.STATIC, _DYNAMIC: LinkType.DYNAMIC}
_OVER: Final = frozenset({CodeStatus.PAID, CodeStatus.EXPIRED, CodeStatus.CANCELLED})
_REFUSALS: Final = {"OVER_LIMIT": "over_limit"}
"""Why no code was made, where people should tell; everything else is ``declined``. All stand in the manifest."""
_DECLINES: Final = {"OVER_LIMIT": "over_limit", "INSUFFICIENT_FUNDS": "insufficient_funds"}
"""Why a payer's bank declined, where people should tell; everything else is ``declined``."""


class BadTerms(BadInput):
    """The job's destination asks for a code that there is not."""

    code = "bad_terms"


def terms(call: Call) -> dict[str, object]:
    """Return the request for a job's code; every call about a job returns the same, as the fence demands.

    Raises:
        BadTerms: the destination makes no sense.
    """
    job, opened = call.job, call.opened
    body: dict[str, object] = {"order": job.reference, "amount": job.amount_minor, "qrType": qr_type(opened)}
    if body["qrType"] == _DYNAMIC:
        body["ttlSeconds"] = _ttl_s(opened.get("ttl_s", str(TTL_S)))
    if comment := opened.get("comment"):
        body["note"] = comment[:_NOTE_MAX]
    if call.test_scenario is not None:
        body["testScenario"] = call.test_scenario
    return body


def qr_type(opened: Mapping[str, str]) -> str:
    """Return QP's word for the kind of code that the destination asks for.

    Raises:
        BadTerms: it names neither.
    """
    static = opened.get("static", "false")
    if static not in ("true", "false"):
        raise BadTerms("static is true or false")
    return _STATIC if static == "true" else _DYNAMIC


def _ttl_s(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_TTL_S_MAX)) and 1 <= int(text) <= _TTL_S_MAX):
        raise BadTerms(f"ttl_s is 1 to {_TTL_S_MAX} seconds")
    return int(text)


# Submissions.


def created(code: Code, call: Call) -> Answer:
    """Say what a code means that was the answer to a submission: a fresh one is to be shown."""
    if not _is_ours(code, call):
        return Ambiguous("foreign_code")
    if code.status is not CodeStatus.NEW:
        # An earlier request made it, and somebody has used it since: what became of it only the payments say.
        return Ambiguous("code_in_use")
    return _to_be_paid(code, call.job)


def refused(refusal: Refusal) -> Answer:
    """Say what a refusal to create a code means.

    A request that is malformed or against the rules makes no code, and had an earlier one made it, QP would have
    answered with that one; so these are declines. A request without a valid key was not looked at. A conflict of
    terms says that there *is* a code.
    """
    match refusal.status, refusal.code:
        case 400, "INVALID_REQUEST" | "INVALID_SCENARIO":
            return Definite(Outcome.DECLINED, code="bad_request", detail="QP finds the request malformed", final=True)
        case 422, word:
            code = _REFUSALS.get(word, "declined")
            return Definite(Outcome.DECLINED, code=code, detail="QP refuses to make the code", final=True)
        case _:
            return unanswered(refusal)


def unanswered(refusal: Refusal) -> NotSent | Ambiguous:
    """Say what a refusal proves that tells nothing about the code."""
    match refusal.status, refusal.code:
        case 401, "UNAUTHENTICATED":
            return NotSent("unauthenticated")
        case 409, "ORDER_CONFLICT":
            return Ambiguous("order_conflict")
        case _:
            return Ambiguous(f"http_{refusal.status}")


# Inquiries and cancellations.


def found(codes: Codes) -> Code | Definite | Ambiguous:
    """Return the code of an order; NOT_FOUND where QP knows none, and doubt where it shows several."""
    match codes.qrs:
        case ():
            return Definite(Outcome.NOT_FOUND)
        case (code,):
            return code
        case _:
            return Ambiguous("several_codes")


def standing(code: Code, payments: Sequence[Payment], call: Call, *, given_up: bool = False) -> Answer:
    """Say how a job stands, by its code and the payments that were listed after the code was looked at.

    Every accepted payment is a fact of its own, and so is every reversed one. A declined payment says nothing as long
    as the payer may try again.

    Args:
        code: the code.
        payments: its payments, oldest first.
        call: what is asked about.
        given_up: we have just asked QP to cancel the code.
    """
    if not _is_ours(code, call):
        return Ambiguous("foreign_code")
    if any((payment.qrc_id, payment.order) != (code.qrc_id, code.order) for payment in payments):
        return Ambiguous("foreign_payment")
    under_way = any(payment.status is PaymentStatus.IN_PROGRESS for payment in payments)
    over = code.status in _OVER and not under_way
    paid = [_fact(Outcome.PAID, payment, over) for payment in payments if payment.status is PaymentStatus.ACCEPTED]
    back = [_fact(Outcome.REVERSED, payment, over) for payment in payments if payment.status is PaymentStatus.REVERSED]
    if paid:
        return _first_of([*paid, *back])
    if under_way or code.status is CodeStatus.IN_PROGRESS:
        return Definite(Outcome.PENDING, psp_ids=_ids(code), code="being_paid", more=tuple(back))
    if back:
        return _first_of(back)
    return _unpaid(code, payments, call, given_up=given_up)


def _unpaid(code: Code, payments: Sequence[Payment], call: Call, *, given_up: bool) -> Answer:
    """Say how a code stands that nobody has paid, or is paying."""
    ids = _ids(code)
    match code.status:
        case CodeStatus.NEW:
            return Ambiguous("not_cancelled") if given_up else _to_be_paid(code, call.job)
        case CodeStatus.EXPIRED:
            return Definite(Outcome.EXPIRED, psp_ids=ids, code="expired", final=True)
        case CodeStatus.CANCELLED if payments and not given_up:
            # All of them were declined; the last one has ended the code, unless somebody cancelled it after that.
            code_word = _DECLINES.get(payments[-1].error_code or "", "declined")
            return Definite(Outcome.DECLINED, psp_ids=ids, code=code_word, detail="every payment failed", final=True)
        case CodeStatus.CANCELLED:
            return Definite(Outcome.EXPIRED, psp_ids=ids, code="cancelled", final=True)
        case CodeStatus.PAID | CodeStatus.IN_PROGRESS:
            # It says that it was paid, and shows no payment: which one, and how much, is not known yet.
            return Ambiguous("no_payment_shown")


def _to_be_paid(code: Code, job: JobMessage) -> Answer:
    """Say what the payer has to do, if the link is sound and asks for what we asked for."""
    try:
        link = parse(code.payload)
    except BadLink:
        return Ambiguous("bad_link")
    if (link.qrc_id, link.type, link.amount_kopecks) != (code.qrc_id, _LINK_TYPES[code.qr_type], job.amount_minor):
        return Ambiguous("bad_link")
    if not link.raw.startswith("https://"):
        return Ambiguous("bad_link")
    shown = NextAction(link=link.raw, qr=link.raw, expires_ms=_expires_ms(code))
    return Definite(Outcome.NEXT_ACTION, psp_ids=_ids(code), next_action=shown)


def _is_ours(code: Code, call: Call) -> bool:
    """Say whether a code is the job's: its order, kind, amount and currency."""
    job = call.job
    try:
        wanted = qr_type(call.opened)
    except BadTerms:
        return False
    said = (code.order, code.qr_type, code.amount, code.currency)
    return said == (job.reference, wanted, job.amount_minor, job.currency)


def _fact(outcome: Outcome, payment: Payment, over: bool) -> Definite:  # noqa: FBT001 - said once, above
    return Definite(
        outcome,
        psp_transaction_id=payment.payment_id,
        psp_ids={"qrc_id": payment.qrc_id},
        amount_minor=payment.amount,
        currency=payment.currency,
        final=over,
    )


def _first_of(facts: Sequence[Definite]) -> Definite:
    """Put the first fact in front of the others."""
    first, *others = facts
    return replace(first, more=tuple(others))


def _ids(code: Code) -> dict[str, str]:
    return {"qrc_id": code.qrc_id}


def _expires_ms(code: Code) -> int:
    return NEVER_MS if code.expires_at is None else (code.expires_at - _EPOCH) // timedelta(milliseconds=1)
