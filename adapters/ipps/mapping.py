"""Between our words and IPPS's: jobs become requests, its answers become facts, proven non-events, or doubt.

The contract of the API, version 1, decides what an answer is worth::

    200 with a status     a fact about the reference that it names, if reference and amount are ours
    404 NOT_FOUND         of an inquiry: nothing is known of the reference at this moment
    400, 401              with the words the contract gives them: the request was not taken
    409 TOO_LATE          of a cancellation: settled or under way
    everything else       doubt; 429 and 5xx too, since the contract does not say that nothing was done then

Codes are ours and stable; IPPS's own texts go nowhere. A look-up moves nothing, so what it refuses is a decline before
anything was sent. This module must never do I/O, and never put a proxy, a QR code or a name into an answer unmasked.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from adapters.ipps.amounts import format_satang, parse_satang
from adapters.ipps.defects import BadQr
from adapters.ipps.emvco import amount_to_pay, decode
from adapters.ipps.manifest import CURRENCY, QR_PAY, WITHDRAWAL
from adapters.ipps.proxies import Proxy, ProxyKind, bank_account, check_national_id, ewallet, mobile, national_id
from adapters.runtime.http import Reply
from adapters.runtime.psp import Ambiguous, Answer, Definite, NotSent, Ready
from shared.contracts import JobMessage, Outcome
from shared.errors import BadInput
from shared.sealing import mask

NOTE_MAX: Final = 400
OTHER_REFUSAL: Final = "declined"
"""Our code for a refusal that the contract does not name."""

_OK: Final = "00"
_REFUSED: Final = "10"
_CODES: Final = {
    "OVER_LIMIT": ("over_limit", "the amount is over a limit of the payer's provider or the payee's bank"),
    "ACCOUNT_CLOSED": ("account_closed", "the payee's account is closed"),
    "UNKNOWN_PROXY": ("unknown_proxy", "no account is registered under this proxy"),
    "INVALID_PROXY": ("invalid_proxy", "the provider does not accept this proxy"),
    "INVALID_QR": ("invalid_qr", "the provider does not accept this QR code"),
    "AMOUNT_MISMATCH": ("amount_mismatch", "the payee asks for another amount"),
    "LOOKUP_EXPIRED": ("lookup_expired", "the look-up of the payee expired before the transfer was made"),
    "CANCELLED": ("cancelled", "the transfer was cancelled before the provider saw it"),
}
_NOT_TAKEN: Final[dict[tuple[int, str | None], str]] = {
    (400, "INVALID_REQUEST"): "invalid_request",
    (400, "INVALID_SCENARIO"): "invalid_request",
    (400, "UNKNOWN_LOOKUP"): "unknown_lookup",
    (401, "UNAUTHENTICATED"): "unauthenticated",
}
_DOUBTS: Final[dict[tuple[int, str | None], str]] = {
    (404, "NO_SUCH_PATH"): "no_such_path",
    (409, "DUPLICATE_REFERENCE"): "duplicate_reference",
    (409, "REFERENCE_REUSED"): "reference_reused",
}
"""Answers that prove nothing, but say what to look at: something happened under a reference that was used before."""
_NOT_TAKEN_PAUSE_S: Final = 10.0
"""The same request would fare no better at once."""
_TOO_LATE_PAUSE_S: Final = 1
_THROTTLED: Final = 429
_HTTP_OK: Final = 200
_NUMBER: Final = r"^[!-~]{1,64}\z"
"""What IPPS calls things: stored and shown as it is, so nothing but printable characters."""
_BANK_CODE: Final = re.compile(r"[0-9]{3}")
_AMOUNT: Final = re.compile(r"[0-9]{1,10}\.[0-9]{2}")
_NAME_WORDS_MAX: Final = 4


class Told(BaseModel):
    """What every answer has; what else an answer says is not looked at."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", alias_generator=to_camel)

    status_code: str | None = None
    error_code: str | None = None


class ToldLookUp(Told):
    """The answer to a look-up."""

    lookup_ref: str | None = Field(default=None, pattern=_NUMBER)
    account_name_masked: str | None = Field(default=None, max_length=256, repr=False)
    bank_code: str | None = None
    amount: str | None = None


class ToldTransfer(Told):
    """How a transfer stands, in an answer or in a callback."""

    partner_txn_uid: str = Field(pattern=r"^[A-Z0-9]{1,15}\z")
    txn_no: str | None = Field(default=None, pattern=_NUMBER)
    status: str
    amount: str | None = None
    currency: str | None = None


ToldT = TypeVar("ToldT", bound=Told)


# Requests.


def look_up_request(job: JobMessage, opened: Mapping[str, str]) -> dict[str, str]:
    """Return the body of the look-up: who is to be paid, and how much.

    Raises:
        BadInput: the destination is malformed; its code names the defect, a `Defect` where a codec found it.
    """
    if job.currency != CURRENCY:
        raise BadInput(f"IPPS pays {CURRENCY} only", code="foreign_currency")
    kind, value = _payee(job, opened)
    return {"proxyType": kind, "proxyValue": value, "amount": format_satang(job.amount_minor)}


def transfer_request(job: JobMessage, opened: Mapping[str, str], prepared: Mapping[str, str]) -> dict[str, str]:
    """Return the body of the transfer, under the look-up that was prepared."""
    body = {
        "lookupRef": prepared["lookup_ref"],
        "partnerTxnUid": job.reference,
        "amount": format_satang(job.amount_minor),
        "currency": CURRENCY,
    }
    comment = opened.get("comment", "")[:NOTE_MAX]
    return body | ({"note": comment} if comment else {})


def _payee(job: JobMessage, opened: Mapping[str, str]) -> tuple[str, str]:
    try:
        if job.operation == QR_PAY:
            code = decode(opened["qr"])
            amount_to_pay(code, job.amount_minor)
            return "QR", code.raw
        if job.operation == WITHDRAWAL:
            proxy = proxy_of(opened)
            return proxy.kind, proxy.value
    except KeyError:
        raise BadInput("the destination is incomplete", code="bad_destination") from None
    raise BadInput("IPPS has no such operation", code="unknown_operation")


def proxy_of(opened: Mapping[str, str]) -> Proxy:
    """Return the proxy of a withdrawal's destination, as people typed it.

    Raises:
        KeyError: part of the destination is missing.
        BadInput: it is malformed.
    """
    text = opened["proxy"]
    match opened["proxy_type"]:
        case ProxyKind.MOBILE:
            return mobile(text)
        case ProxyKind.NATIONAL_ID:
            proxy = national_id(text)
            check_national_id(proxy.value)
            return proxy
        case ProxyKind.EWALLET:
            return ewallet(text)
        case ProxyKind.BANK_ACCOUNT:
            return bank_account(opened["bank_code"], text)
    raise BadInput("there is no such kind of proxy", code="bad_destination")


def declined(error: BadInput) -> Definite:
    """Return the decline of a job that cannot even be asked about."""
    return Definite(Outcome.DECLINED, code=error.code, detail=str(error), final=True)


# Answers.


def looked_up(reply: Reply, job: JobMessage) -> Ready | Answer:
    """Say what the answer to a look-up means: it moves nothing, whatever it is."""
    if reply.status != _HTTP_OK:
        refusal = _NOT_TAKEN.get((reply.status, _error_code(reply)))
        if refusal == "invalid_request":
            return Definite(Outcome.DECLINED, code=refusal, detail="the provider cannot read the request", final=True)
        return _nothing_taken(reply) or _doubt(reply)
    told = _read(ToldLookUp, reply)
    match told:
        case ToldLookUp(status_code="00", lookup_ref=str() as lookup_ref):
            if told.amount is not None and _satang(told.amount) != job.amount_minor:
                return _refusal("AMOUNT_MISMATCH", {})
            return Ready({"lookup_ref": lookup_ref} | _summary(told))
        case ToldLookUp(status_code="10", error_code=str() as word):
            return _refusal(word, {})
    return Ambiguous("malformed_answer")


def submitted(reply: Reply, job: JobMessage, prepared: Mapping[str, str]) -> Answer:
    """Say what the answer to a transfer means."""
    if reply.status == _HTTP_OK:
        return _fact(reply, job, {name: prepared[name] for name in ("payee", "bank_code") if name in prepared})
    reason = _NOT_TAKEN.get((reply.status, _error_code(reply)))
    return _doubt(reply) if reason is None else NotSent(reason, reply.retry_after_s or _NOT_TAKEN_PAUSE_S)


def inquired(reply: Reply, job: JobMessage) -> Answer:
    """Say what the answer to an inquiry means."""
    if reply.status == _HTTP_OK:
        return _fact(reply, job, {})
    if (reply.status, _error_code(reply)) == (404, "NOT_FOUND"):
        return Definite(Outcome.NOT_FOUND)
    return _nothing_taken(reply) or _doubt(reply)


def cancelled(reply: Reply, job: JobMessage) -> Answer:
    """Say what the answer to a cancellation means; EXPIRED is the PSP's word that the reference is barred."""
    match reply.status, _error_code(reply):
        case 200, _:
            return _fact(reply, job, {}, barred=Outcome.EXPIRED)
        case 409, "TOO_LATE":
            # Settled or under way: which of them, and under which number, an inquiry says.
            return Definite(Outcome.PENDING, retry_after_s=_TOO_LATE_PAUSE_S)
        case 401, "UNAUTHENTICATED":
            return NotSent("unauthenticated", reply.retry_after_s)
    return _doubt(reply)


def standing(told: ToldTransfer, *, barred: Outcome = Outcome.DECLINED) -> Definite | Ambiguous:
    """Say what a transfer's status means for the money; `barred` is the outcome of a reference that was barred."""
    ids = {} if told.txn_no is None else {"txn_no": told.txn_no}
    match told.status:
        case "SETTLED" | "REVERSED" as status:
            amount = None if told.amount is None else _satang(told.amount)
            if told.txn_no is None or amount is None or told.currency != CURRENCY:
                return Ambiguous("malformed_answer")
            return Definite(
                Outcome.PAID if status == "SETTLED" else Outcome.REVERSED,
                psp_transaction_id=told.txn_no,
                psp_ids=ids,
                amount_minor=amount,
                currency=CURRENCY,
                final=True,
            )
        case "PROCESSING":
            return Definite(Outcome.PENDING, psp_ids=ids)
        case "REJECTED" if told.error_code:
            return _refusal(told.error_code, ids)
        case "CANCELLED":
            return replace(_refusal("CANCELLED", ids), outcome=barred)
    return Ambiguous("malformed_answer")


def _fact(
    reply: Reply, job: JobMessage, summary: Mapping[str, str], *, barred: Outcome = Outcome.DECLINED
) -> Definite | Ambiguous:
    told = _read(ToldTransfer, reply)
    if told is None:
        return Ambiguous("malformed_answer", reply.retry_after_s)
    if told.partner_txn_uid != job.reference:
        return Ambiguous("foreign_answer")
    if told.status_code != (_REFUSED if told.status in ("REJECTED", "CANCELLED") else _OK):
        return Ambiguous("contradictory_answer")
    answer = standing(told, barred=barred)
    if isinstance(answer, Ambiguous):
        return answer
    if answer.amount_minor not in (None, job.amount_minor):
        # IPPS pays all or nothing, so this is not the transfer that we asked for. People have to look.
        return Ambiguous("contradictory_amount")
    return replace(answer, summary=summary)


def _refusal(word: str, psp_ids: Mapping[str, str]) -> Definite:
    code, detail = _CODES.get(word, (OTHER_REFUSAL, "the provider refused the transfer"))
    return Definite(Outcome.DECLINED, psp_ids=psp_ids, code=code, detail=detail, final=True)


def _nothing_taken(reply: Reply) -> NotSent | None:
    """Return what is proven about a question that got no answer: questions move nothing."""
    if reply.status == _THROTTLED:
        return NotSent("throttled", reply.retry_after_s, throttled=True)
    reason = _NOT_TAKEN.get((reply.status, _error_code(reply)))
    return None if reason is None else NotSent(reason, reply.retry_after_s)


def _doubt(reply: Reply) -> Ambiguous:
    reason = _DOUBTS.get((reply.status, _error_code(reply)), f"http_{reply.status}")
    return Ambiguous(reason, reply.retry_after_s)


def _summary(told: ToldLookUp) -> dict[str, str]:
    """Return what people may see of the payee; the name is masked by us, however IPPS masks it."""
    words = (told.account_name_masked or "").split()[:_NAME_WORDS_MAX]
    seen = {}
    if words:
        seen["payee"] = " ".join(mask(word) for word in words if word.isprintable())
    if _BANK_CODE.fullmatch(told.bank_code or ""):
        seen["bank_code"] = told.bank_code or ""
    return {name: text for name, text in seen.items() if text}


def _satang(text: str) -> int | None:
    """Read an amount as IPPS writes it; None if it is none."""
    try:
        return parse_satang(text) if _AMOUNT.fullmatch(text) else None
    except BadQr:
        return None


def _error_code(reply: Reply) -> str | None:
    told = _read(Told, reply)
    return None if told is None else told.error_code


def _read(model: type[ToldT], reply: Reply) -> ToldT | None:
    try:
        return model.model_validate_json(reply.body)
    except ValidationError:
        return None
