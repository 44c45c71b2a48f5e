"""QP's words: what it tells of codes and payments, how it refuses, and what an answer that says neither proves. Pure.

An answer is taken for what it says only if all of it makes sense; everything else proves nothing. This module must
never decide what an answer means for the money.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from adapters.runtime.http import Reply
from adapters.runtime.psp import Ambiguous, NotSent
from shared.money import AMOUNT_MINOR_MAX

_OK: Final = 200
_BAD_REQUEST: Final = 400
_THROTTLED: Final = 429
_SERVER_ERROR: Final = 500
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class CodeStatus(StrEnum):
    """Where a code stands."""

    NEW = "NEW"
    IN_PROGRESS = "IN_PROGRESS"
    PAID = "PAID"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


class PaymentStatus(StrEnum):
    """Where a payment of a code stands."""

    IN_PROGRESS = "IN_PROGRESS"
    ACCEPTED = "ACCEPTED"
    DECLINED = "DECLINED"
    REVERSED = "REVERSED"


class Told(BaseModel):
    """Something QP tells; what is new in it, by QP's own later versions, is passed over."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="ignore", alias_generator=to_camel, hide_input_in_errors=True
    )


Id = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,64}\z")]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}\z")]
Kopecks = Annotated[int, Field(ge=1, le=AMOUNT_MINOR_MAX)]


class Code(Told):
    """A code: what a payer scans."""

    qrc_id: Id
    order: Id
    qr_type: str
    amount: Kopecks | None
    currency: Currency
    payload: Annotated[str, Field(repr=False)]
    """The link, as yet unverified."""
    status: CodeStatus
    expires_at: Annotated[AwareDatetime, Field(ge=_EPOCH)] | None = None
    """None: it does not expire."""


class Payment(Told):
    """A payment of a code."""

    payment_id: Id
    qrc_id: Id
    order: Id
    amount: Kopecks
    currency: Currency
    status: PaymentStatus
    error_code: str | None = None


class Codes(Told):
    """The codes of an order."""

    qrs: tuple[Code, ...]


class Payments(Told):
    """The payments of a code, oldest first."""

    payments: tuple[Payment, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """QP refused in its own words: an HTTP status of 4xx, and a code such as ``OVER_LIMIT``."""

    status: int
    code: str


ToldT = TypeVar("ToldT", bound=Told)
Failed = Refusal | NotSent | Ambiguous


def read(reply: Reply | NotSent | Ambiguous, wanted: type[ToldT]) -> ToldT | Failed:
    """Say what an answer is: what was wanted, a refusal in QP's words, or nothing that proves anything."""
    if not isinstance(reply, Reply):
        return reply
    if reply.status == _OK:
        try:
            return wanted.model_validate_json(reply.body)
        except ValidationError:
            return Ambiguous("malformed")
    if _BAD_REQUEST <= reply.status < _SERVER_ERROR and reply.status != _THROTTLED:
        code = _error_code(reply.body)
        if code is not None:
            return Refusal(reply.status, code)
    # QP says about 429 and 5xx only when to come again, and not whether anything was done.
    return Ambiguous(f"http_{reply.status}", reply.retry_after_s)


def harmless(answer: ToldT | Failed) -> ToldT | Failed:
    """Say of a question that was put off for being one too many what is true of it: it changed nothing."""
    if isinstance(answer, Ambiguous) and answer.reason == f"http_{_THROTTLED}":
        return NotSent("throttled", answer.retry_after_s, throttled=True)
    return answer


def _error_code(body: bytes) -> str | None:
    """Return the code of ``{code, message}``; None where somebody else than QP seems to have answered."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    code = told.get("code") if isinstance(told, dict) else None
    return code if isinstance(code, str) else None
