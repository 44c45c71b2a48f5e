"""QP's decisions about codes: created, looked at, cancelled, expired. Each is one synchronous step.

A code expires when somebody looks at it after its time; until then nobody could tell the difference. This module must
never bring a code back that has ended.
"""

import secrets
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from adapters.qp.link import build as build_link
from adapters.sandbox.answers import Refused
from adapters.sandbox.parts import Parts
from adapters.sandbox.qp.ledgers import Ledgers
from adapters.sandbox.qp.records import Qr, QrStatus, QrType
from adapters.sandbox.qp.telling import invented_news, shown_qr
from adapters.sandbox.scenario import Scenario

PAY: Final = "pay"
PARTICIPANT: Final = "100000000999"
"""The twelve digits of the bank that QP pretends to be."""
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
_RANDOM: Final = 30


@dataclass(frozen=True, slots=True)
class Wish:
    """A code as it was asked for."""

    order: str
    qr_type: QrType
    amount_kopecks: int | None
    ttl_seconds: int | None
    script: str


class Codes:
    """The codes in QP's books."""

    def __init__(self, parts: Parts, ledgers: Ledgers) -> None:
        self._parts = parts
        self._ledgers = ledgers

    def create(self, wish: Wish, scenario: Scenario) -> Qr:
        """Create a code, or return the one the order has.

        Raises:
            Refused: ORDER_CONFLICT, OVER_LIMIT, or the code of the scenario's decline.
        """
        standing = self._ledgers.qr_of(wish.order)
        if standing is not None:
            terms = (standing.qr_type, standing.amount_kopecks, standing.ttl_seconds)
            if terms != (wish.qr_type, wish.amount_kopecks, wish.ttl_seconds):
                raise Refused(409, "ORDER_CONFLICT", "the order stands for a code of other terms")
            return self.current(standing)
        if (wish.amount_kopecks or 0) > self._parts.contract.terms.amount_max_minor:
            raise Refused(422, "OVER_LIMIT", "the amount is over the limit")
        if scenario.decline is not None:
            raise Refused(422, scenario.decline, "as the scenario says")
        qr = self._ledgers.qrs.put(self._new(wish))
        self._arrange(qr, scenario)
        return qr

    def current(self, qr: Qr) -> Qr:
        """Return the code as it stands at this moment."""
        due = qr.expires_at_ms is not None and self._parts.clock.now_ms() >= qr.expires_at_ms
        return self.change(qr, status=QrStatus.EXPIRED) if due and qr.status is QrStatus.NEW else qr

    def get(self, qrc_id: str) -> Qr:
        """Return a code as it stands at this moment.

        Raises:
            Refused: 404.
        """
        qr = self._ledgers.qrs.get(qrc_id)
        if qr is None:
            raise Refused(404, "NOT_FOUND", "there is no such code")
        return self.current(qr)

    def cancel(self, qr: Qr) -> Qr:
        """Make sure that nobody can pay the code any more.

        Raises:
            Refused: 409 NOT_CANCELLABLE.
        """
        qr = self.current(qr)
        if qr.status in (QrStatus.IN_PROGRESS, QrStatus.PAID):
            raise Refused(409, "NOT_CANCELLABLE", "it is being paid or was paid", extra={"qr": shown_qr(qr)})
        return self.change(qr, status=QrStatus.CANCELLED) if qr.status is QrStatus.NEW else qr

    def expire(self, qr: Qr) -> Qr:
        """Let a code's time be over, if it still could be paid."""
        return self.change(qr, status=QrStatus.EXPIRED) if qr.status is QrStatus.NEW else qr

    def change(self, qr: Qr, *, status: QrStatus, declines: int | None = None) -> Qr:
        """Write a code's new state."""
        update: dict[str, object] = {"status": status}
        if declines is not None:
            update["declines"] = declines
        return self._ledgers.qrs.put(qr.model_copy(update=update))

    def _new(self, wish: Wish) -> Qr:
        dynamic = wish.qr_type is QrType.DYNAMIC
        qrc_id = ("AD" if dynamic else "AS") + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
        link = build_link(qrc_id=qrc_id, bank=PARTICIPANT, amount_kopecks=wish.amount_kopecks, dynamic=dynamic)
        now_ms = self._parts.clock.now_ms()
        return Qr(
            qrc_id=qrc_id,
            order=wish.order,
            qr_type=wish.qr_type,
            amount_kopecks=wish.amount_kopecks,
            payload=link.raw,
            status=QrStatus.NEW,
            created_at_ms=now_ms,
            expires_at_ms=None if wish.ttl_seconds is None else now_ms + 1000 * wish.ttl_seconds,
            ttl_seconds=wish.ttl_seconds,
            script=wish.script,
        )

    def _arrange(self, qr: Qr, scenario: Scenario) -> None:
        """Put on the agenda what the scenario has the payer do."""
        if scenario.payments:
            in_ms = scenario.paid_after_ms
            if scenario.paid_after_expiry and qr.expires_at_ms is not None:
                in_ms += qr.expires_at_ms - qr.created_at_ms
            data: dict[str, JsonValue] = {"qrcId": qr.qrc_id, "scenario": scenario.text}
            self._parts.agenda.add(PAY, qr.order, in_ms=in_ms, data=data)
        elif scenario.callback_forged:
            news = invented_news(qr, "PM" + secrets.token_hex(10).upper())
            self._parts.callbacks.send(news, status=news.contrary, at_ms=qr.created_at_ms, manner="forged")
