"""QP's callbacks: how they are signed, and what they say.

QP tells of every payment and refund that has become final, more than once and in any order. None of it is believed:
an observation makes the orchestrator ask. This module must never turn a declined payment into a declined top-up, since
the payer may try again, nor a refund into a payment.
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from adapters.qp.words import Currency, Id, Kopecks, PaymentStatus, Told
from adapters.runtime.psp import BadCallback, CallbackRules, Definite, Observation
from shared.contracts import Outcome

PATH: Final = "/callbacks/qp"
_RefundStatus = Literal["IN_PROGRESS", "COMPLETED", "DECLINED"]
_OUTCOMES: Final = {
    PaymentStatus.IN_PROGRESS: Outcome.PENDING,
    PaymentStatus.ACCEPTED: Outcome.PAID,
    PaymentStatus.DECLINED: Outcome.PENDING,
    PaymentStatus.REVERSED: Outcome.REVERSED,
}


class PaymentNews(Told):
    """A payment has become final."""

    kind: Literal["PAYMENT"]
    payment_id: Id
    qrc_id: Id
    order: Id
    amount: Kopecks
    currency: Currency
    status: PaymentStatus


class RefundNews(Told):
    """A refund has become final."""

    kind: Literal["REFUND"]
    refund_id: Id
    payment_id: Id
    order: Id
    amount: Kopecks
    currency: Currency
    status: _RefundStatus


_NEWS: Final[TypeAdapter[PaymentNews | RefundNews]] = TypeAdapter(
    Annotated[PaymentNews | RefundNews, Field(discriminator="kind")]
)


def rules(*, secrets: Sequence[bytes], networks: Sequence[str]) -> CallbackRules:
    """Return how QP's callbacks come in."""
    return CallbackRules(
        path=PATH,
        timestamp_header="X-Qp-Timestamp",
        signature_header="X-Qp-Signature",
        secrets=tuple(secrets),
        networks=tuple(networks),
    )


def parse(raw: bytes) -> Observation:
    """Read a callback.

    Raises:
        BadCallback: it is none of QP's.
    """
    try:
        news = _NEWS.validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise BadCallback(f"{'.'.join(str(part) for part in first['loc'])}: {first['type']}") from None
    match news:
        case PaymentNews():
            return Observation(_payment(news), news.order)
        case RefundNews():
            return Observation(_refund(news), news.order)


def _payment(news: PaymentNews) -> Definite:
    return Definite(
        _OUTCOMES[news.status],
        psp_transaction_id=news.payment_id,
        psp_ids={"qrc_id": news.qrc_id},
        amount_minor=news.amount,
        currency=news.currency,
        code="payment_declined" if news.status is PaymentStatus.DECLINED else None,
    )


def _refund(news: RefundNews) -> Definite:
    """Record a refund; it names its payment only where nobody takes it for one."""
    return Definite(
        Outcome.PENDING,
        code=f"refund_{news.status.lower()}",
        summary={"refund_id": news.refund_id, "payment_id": news.payment_id, "amount_minor": str(news.amount)},
    )
