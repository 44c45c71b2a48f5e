"""What the services say to each other: the envelope of a stream entry and the bodies it carries.

Every message names its version. A message of the previous version is still understood; one of a newer version is
handed back, never dead-lettered, since a newer process will come for it. Sensitive text is sealed before it gets
here (see `shared.sealing`), so a body may be stored and dead-lettered as it is.

This module must never hold plaintext personal data.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Literal, Self, TypeVar
from uuid import UUID

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from shared.errors import BadInput, PaymeshError
from shared.ids import ATTEMPT_MAX
from shared.operations import Amount, Message, Operation, PspId, unsaid

VERSION: Final = 1
"""Of every message but the next: adapters are deployed by others, and are older."""
INTENT_VERSION: Final = 2
"""Of an intent with labels or a destination."""
RESULT_VERSION: Final = 2
"""Of a word out of a settlement file; only orchestrators read results."""


class Kind(StrEnum):
    """What an entry of a work stream asks for, or tells."""

    INTENT = "intent"
    OPEN_ACCOUNT = "open_account"
    RESUME = "resume"
    """Carry on with an intent whose plan is stored already; appended by the sweeper, never gated."""
    JOB = "job"
    """On `jobs.{psp}`: a call to a PSP."""
    RESULT = "result"
    """On `results.{psp}`: what became of a job; appended behind the fence of its entry."""
    OBSERVATION = "observation"
    """On `results.{psp}`: a callback, or a definite answer that came to somebody who had lost the entry meanwhile."""


_NEWEST: Final[dict[str, int]] = {
    Kind.INTENT: INTENT_VERSION,
    Kind.RESULT: RESULT_VERSION,
    Kind.OBSERVATION: RESULT_VERSION,
}


class NewerVersion(PaymeshError):
    """The message is of a newer version than this process understands."""

    code = "newer_version"


class MalformedMessage(BadInput):
    """The message is not one of ours."""

    code = "decode"


@dataclass(frozen=True, slots=True)
class Envelope:
    """One stream entry, decoded: `body` stays bytes, so that what cannot be read can be kept untouched."""

    kind: str
    id: str
    body: bytes
    attempt: int = 0
    traceparent: str = ""
    version: int = VERSION

    def fields(self) -> dict[bytes, bytes]:
        """Return the flat fields of the stream entry."""
        return {
            b"v": b"%d" % self.version,
            b"id": self.id.encode(),
            b"kind": self.kind.encode(),
            b"body": self.body,
            b"attempt": b"%d" % self.attempt,
            b"traceparent": self.traceparent.encode(),
        }


def read_envelope(fields: dict[bytes, bytes]) -> Envelope:
    """Decode the flat fields of a stream entry.

    Raises:
        NewerVersion: a newer process wrote it.
        MalformedMessage: it is not one of ours.
    """
    try:
        version = int(fields[b"v"])
        envelope = Envelope(
            kind=fields[b"kind"].decode(),
            id=fields[b"id"].decode(),
            body=fields[b"body"],
            attempt=int(fields.get(b"attempt", b"0")),
            traceparent=fields.get(b"traceparent", b"").decode(),
            version=version,
        )
    except (KeyError, ValueError) as error:
        raise MalformedMessage(f"no envelope: {type(error).__name__}") from None
    newest = _NEWEST.get(envelope.kind, VERSION)
    if version > newest:
        raise NewerVersion(f"version {version}; this process reads up to {newest}")
    if version < 1:
        raise MalformedMessage(f"there never was a version {version}")
    return envelope


class IntentMessage(Message):
    """The body of an `intent` entry: an accepted operation and whose it is."""

    service_key: str
    user_id: str | None = None
    idempotency_key: str
    fingerprints: tuple[str, ...]
    """``<key id>:<hex HMAC>``, one per live key of the ring; the first is the one to store."""
    operation: Operation
    waiter: str | None = None
    """The gateway instance to poke when the intent has been decided."""
    destination: str | None = Field(default=None, exclude_if=unsaid)
    """``<key id>:<hex HMAC>`` of where the money goes, where that is personal: tells two of one place, never which."""


class OpenAccountMessage(Message):
    """The body of an `open_account` entry."""

    service_key: str
    name: str
    waiter: str | None = None


class ResumeMessage(Message):
    """The body of a `resume` entry; the intent's id stands in the envelope."""

    reason: str


Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}\z")]
"""A stable word of ours, such as ``unknown_proxy``; never a PSP's own text."""
Word = Annotated[str, Field(max_length=1024)]
"""Room for a sealed QR code of 512 characters."""
Sealed = Annotated[str, Field(max_length=1024)]
"""A word, or a text of up to 560 bytes as `shared.sealing` leaves it: a third longer, and with its key's id."""
UnixMs = Annotated[int, Field(ge=0, le=1 << 52)]

NOBODY_KNOWS: Final = str(UUID(int=0))
"""The id in the envelope of an observation that names no intent of ours."""


class Action(StrEnum):
    """What a job asks of a PSP."""

    SUBMIT = "submit"
    """Do it, once, under the job's permit."""
    INQUIRE = "inquire"
    """Ask what became of it. An answer that it was never seen is closed by the PSP's fence, where it has one."""
    CANCEL = "cancel"
    """Give it up at the PSP: delete an unpaid QR code, say."""


class JobMessage(Message):
    """The body of a `job` entry. Inquiries and cancellations repeat the submission's body: a fence may resubmit it."""

    psp: PspId
    intent_id: str
    attempt: int = Field(ge=1, le=ATTEMPT_MAX)
    """The intent's attempt, which its permit names; the envelope's `attempt` counts planned retries of the job."""
    operation: str
    """The operation type, such as ``IPPS_WITHDRAWAL``."""
    action: Action
    reference: str = Field(min_length=1, max_length=64)
    """Ours, in the PSP's own alphabet and length."""
    amount_minor: Amount
    currency: str
    created_ms: UnixMs
    """When the outbox row was written; copied by every retry, promotion and replay."""
    epoch: str
    """``<mesh id>:<epoch>`` at that time."""
    inquire_first: bool = False
    """The stores were restored since: it may have been submitted already, so it is never submitted again."""
    destination: dict[str, Sealed] = Field(default={})
    """Where the money goes; personal values are sealed with the intent id as context and the name as field."""
    psp_ids: dict[str, Word] = Field(default={})
    """What the PSP calls it, as far as known: ``qrc_id``, ``txn_no``."""
    test_scenario: Word | None = None
    """For a sandbox; forwarded only where the adapter's settings allow it."""


class Outcome(StrEnum):
    """What a PSP, or whoever won the permit, says about a job."""

    PAID = "PAID"
    """The PSP moved the money: `amount_minor` of `currency`, as `psp_transaction_id`."""
    DECLINED = "DECLINED"
    """The PSP refused, for the reason `code`; `final` says whether it may still change its mind."""
    PENDING = "PENDING"
    """The PSP is at it; ask again after `retry_after_s`."""
    NEXT_ACTION = "NEXT_ACTION"
    """Somebody has to act, as `next_action` says."""
    EXPIRED = "EXPIRED"
    """The PSP says that it expired, or was cancelled, and nobody paid."""
    NOT_SUBMITTED = "NOT_SUBMITTED"
    """The permit is CANCELLED: it was never submitted and never will be."""
    UNKNOWN = "UNKNOWN"
    """It may have happened, and nobody knows at present."""
    REVERSED = "REVERSED"
    """The PSP has taken the payment back."""
    NOT_FOUND = "NOT_FOUND"
    """The PSP does not know our reference; proves something only if `fenced`."""


class Source(StrEnum):
    """Where a result comes from."""

    JOB = "job"
    CALLBACK = "callback"
    VERDICT = "verdict"
    """Said by whoever gave the job up: dead letters, the poller, an operator."""
    SETTLEMENT = "settlement"
    """An explicit line of the PSP's settlement file, about our reference; known to `RESULT_VERSION`."""


class NextAction(Message):
    """What the payer has to do."""

    kind: Literal["qr"] = "qr"
    link: str | None = None
    """To open on the payer's device."""
    qr: str | None = None
    """The payload to draw."""
    expires_ms: UnixMs


class ResultMessage(Message):
    """The body of a `result` or `observation` entry: one fact about one attempt at one PSP."""

    psp: PspId
    intent_id: str | None = None
    """None in a callback, which knows only the PSP's ids and our reference."""
    attempt: int = Field(default=0, ge=0, le=ATTEMPT_MAX)
    """0 where `intent_id` is None."""
    operation: str | None = None
    action: Action | None = None
    """Of the job that this answers."""
    source: Source
    outcome: Outcome
    reference: str | None = None
    """Ours."""
    psp_transaction_id: str | None = Field(default=None, max_length=128)
    psp_ids: dict[str, Word] = Field(default={})
    amount_minor: Amount | None = None
    currency: str | None = None
    code: Code | None = None
    detail: Annotated[str, Field(max_length=256)] | None = None
    """A sentence of ours."""
    final: bool = False
    """The PSP will not say anything else about this attempt."""
    fenced: bool = False
    """With NOT_FOUND: the PSP bars the request, should it still arrive."""
    at_ms: UnixMs
    """When it was learnt, by the adapter's clock."""
    next_action: NextAction | None = None
    retry_after_s: int | None = Field(default=None, ge=0, le=86_400)
    summary: dict[str, Word] = Field(default={})
    """What people may see of it, masked."""
    callback_id: str | None = None
    """With a callback: a keyed hash of what came, the same for a copy."""
    raw: str | None = None
    """With a callback: the bytes as they came, sealed; context ``callback:<psp>:<callback_id>``, field ``raw``."""

    @model_validator(mode="after")
    def _says_what_its_outcome_needs(self) -> Self:
        paid = (self.psp_transaction_id, self.amount_minor, self.currency)
        if self.outcome is Outcome.PAID and None in paid:
            raise ValueError("a payment has a transaction id, an amount and a currency")
        if self.outcome is Outcome.DECLINED and self.code is None:
            raise ValueError("a decline has a code")
        if self.outcome is Outcome.NEXT_ACTION and self.next_action is None:
            raise ValueError("a next action says what to do")
        if self.fenced and self.outcome is not Outcome.NOT_FOUND:
            raise ValueError("only an absence is fenced")
        if (self.intent_id is None) != (self.attempt == 0):
            raise ValueError("an attempt belongs to an intent")
        return self


T = TypeVar("T")


Body = IntentMessage | OpenAccountMessage | ResumeMessage

_BODIES: Final[dict[str, TypeAdapter[Body]]] = {
    Kind.INTENT: TypeAdapter(IntentMessage),
    Kind.OPEN_ACCOUNT: TypeAdapter(OpenAccountMessage),
    Kind.RESUME: TypeAdapter(ResumeMessage),
}


_JOB: Final = TypeAdapter(JobMessage)
_RESULT: Final = TypeAdapter(ResultMessage)


def job_envelope(job: JobMessage, *, attempt: int = 0, traceparent: str = "") -> Envelope:
    """Return the entry that carries a job; `attempt` counts planned retries."""
    return Envelope(Kind.JOB, job.intent_id, job.model_dump_json().encode(), attempt, traceparent)


def result_envelope(
    result: ResultMessage, *, kind: Literal[Kind.RESULT, Kind.OBSERVATION] = Kind.RESULT, traceparent: str = ""
) -> Envelope:
    """Return the entry that carries a result, or an observation."""
    body = result.model_dump_json().encode()
    # Whoever reads version 1 only hands such a word back, instead of taking it for nonsense.
    version = RESULT_VERSION if result.source is Source.SETTLEMENT else VERSION
    return Envelope(kind, result.intent_id or NOBODY_KNOWS, body, traceparent=traceparent, version=version)


def read_body(envelope: Envelope) -> Body:
    """Decode the body by its kind.

    Raises:
        MalformedMessage: naming the field at fault, never its value.
    """
    adapter = _BODIES.get(envelope.kind)
    if adapter is None:
        raise MalformedMessage("unknown kind")
    return _read(adapter, envelope)


def read_job(envelope: Envelope) -> JobMessage:
    """Decode the body of an entry of a `jobs.{psp}` stream.

    Raises:
        MalformedMessage: as `read_body`, or it is no job.
    """
    if envelope.kind != Kind.JOB:
        raise MalformedMessage("unknown kind")
    job = _read(_JOB, envelope)
    if job.intent_id != envelope.id:
        raise MalformedMessage("the job names another intent than its envelope")
    return job


def read_result(envelope: Envelope) -> ResultMessage:
    """Decode the body of an entry of a `results.{psp}` stream, result or observation.

    Raises:
        MalformedMessage: as `read_body`, or it is neither.
    """
    if envelope.kind not in (Kind.RESULT, Kind.OBSERVATION):
        raise MalformedMessage("unknown kind")
    result = _read(_RESULT, envelope)
    if (result.intent_id or NOBODY_KNOWS) != envelope.id:
        raise MalformedMessage("the result names another intent than its envelope")
    return result


def _read(adapter: TypeAdapter[T], envelope: Envelope) -> T:
    try:
        UUID(envelope.id)
        return adapter.validate_json(envelope.body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise MalformedMessage(f"{place}: {first['type']}") from None
    except ValueError:
        raise MalformedMessage("the envelope's id is not a UUID") from None
