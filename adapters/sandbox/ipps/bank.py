"""IPPS's decisions: every change of its books, each in one synchronous step.

The order of the checks of a transfer is the contract: the reference's bar, then what the fence says of a reference
that is known, then the look-up and the amount, then the scenario. This module must never move money without a
`Movement`, nor anything without telling the partner.
"""

import secrets
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from adapters.sandbox.agenda import Action, Task
from adapters.sandbox.answers import Refused
from adapters.sandbox.ipps.records import Bar, Lookup, Movement, MovementKind, Payable, Transfer, TransferStatus
from adapters.sandbox.ipps.telling import news
from adapters.sandbox.parts import Parts
from adapters.sandbox.scenario import Scenario
from adapters.sandbox.script import parse_scenario
from adapters.sandbox.terms import SubmitFence

_S = TransferStatus
SETTLE: Final = "settle"
REVIVE: Final = "revive"
REVERSE: Final = "reverse"


@dataclass(frozen=True, slots=True)
class Order:
    """A transfer as it was asked for, and when it arrived."""

    partner_txn_uid: str
    lookup_ref: str
    amount_satang: int
    arrived_ms: int
    script: str


class Bank:
    """The books of IPPS, and the only one who writes to them."""

    def __init__(self, parts: Parts) -> None:
        books = parts.books
        self._parts = parts
        self.lookups = books.table(
            "lookup", Lookup, key=lambda row: row.lookup_ref, group=lambda row: row.payable.proxy_value
        )
        self.transfers = books.table(
            "transfer", Transfer, key=lambda row: row.txn_no, group=lambda row: row.partner_txn_uid
        )
        self.movements = books.table(
            "movement", Movement, key=lambda row: row.movement_id, group=lambda row: row.partner_txn_uid
        )
        self.bars = books.table("bar", Bar, key=lambda row: row.partner_txn_uid)

    def actions(self) -> dict[str, Action]:
        """Return what the bank's tasks on the agenda do."""
        return dict.fromkeys((SETTLE, REVIVE, REVERSE), self.carry_on)

    def look_up(self, payable: Payable, script: str) -> Lookup:
        """Hand out a reference under which somebody may be paid for a while."""
        expires_at_ms = self._now_ms() + self._parts.contract.terms.lookup_ttl_ms
        reference = "LK" + secrets.token_hex(9).upper()
        return self.lookups.put(
            Lookup(lookup_ref=reference, payable=payable, expires_at_ms=expires_at_ms, script=script)
        )

    def transfer(self, order: Order, scenario: Scenario) -> Transfer | Bar:
        """Decide a transfer; a `Bar` means that its reference was cancelled.

        Raises:
            Refused: UNKNOWN_LOOKUP, DUPLICATE_REFERENCE or REFERENCE_REUSED; nothing was recorded.
        """
        bar = self.bars.get(order.partner_txn_uid)
        if bar is not None:
            return bar
        lookup = self.lookups.get(order.lookup_ref)
        if lookup is None:
            raise Refused(400, "UNKNOWN_LOOKUP", "no such look-up")
        known = self._known(order, lookup.payable)
        if known is not None:
            return known
        objection = self._objection(order, lookup)
        opened = self._open(order, lookup, visible_in_ms=scenario.unseen_ms)
        if objection is None and scenario.processing:
            if scenario.final_after_ms is not None:
                self._later(SETTLE, opened, scenario, scenario.final_after_ms)
            return opened
        return self.conclude(opened, scenario, code=objection or scenario.decline)

    def transfer_of(self, uid: str) -> Transfer | None:
        """Return the latest transfer under a reference."""
        transfers = self.transfers.of(uid)
        return transfers[-1] if transfers else None

    def find(self, uid: str) -> Transfer | Bar:
        """Answer an inquiry.

        Raises:
            Refused: 404 NOT_FOUND.
        """
        visible = [row for row in self.transfers.of(uid) if row.visible_at_ms <= self._now_ms()]
        found = visible[-1] if visible else self.bars.get(uid)
        if found is None:
            raise Refused(404, "NOT_FOUND", "nothing is known of this reference")
        return found

    def cancel(self, uid: str) -> Transfer | Bar:
        """Bar a reference, seen or not.

        Raises:
            Refused: 409 TOO_LATE.
        """
        transfer = self.transfer_of(uid)
        if transfer is None:
            return self.bars.get(uid) or self.bars.put(Bar(partner_txn_uid=uid, at_ms=self._now_ms()))
        if transfer.status is not _S.REJECTED:
            raise Refused(409, "TOO_LATE", "it is settled or under way", extra={"status": transfer.status})
        return transfer

    def conclude(self, transfer: Transfer, scenario: Scenario, *, code: str | None) -> Transfer:
        """Make a transfer final, settled or rejected with a code; tell the partner."""
        status = _S.SETTLED if code is None else _S.REJECTED
        final = self.transfers.put(transfer.model_copy(update={"status": status, "error_code": code}))
        if status is _S.SETTLED:
            self._move(MovementKind.PAYOUT, final)
            if scenario.reversal_after_ms is not None:
                self._later(REVERSE, final, scenario, scenario.reversal_after_ms)
        elif scenario.revived_after_ms is not None:
            self._later(REVIVE, final, scenario, scenario.revived_after_ms)
        self._parts.callbacks.announce(news(final), scenario)
        return final

    def reverse(self, transfer: Transfer, scenario: Scenario) -> Transfer:
        """Take a settled transfer back; tell the partner."""
        taken_back = self.transfers.put(transfer.model_copy(update={"status": _S.REVERSED}))
        self._move(MovementKind.REVERSAL, taken_back)
        self._parts.callbacks.announce(news(taken_back), scenario)
        return taken_back

    async def carry_on(self, task: Task) -> Task:
        """Do what a scenario put on the agenda, unless the transfer has moved on meanwhile."""
        transfer = self.transfers.get(str(task.data["txnNo"]))
        scenario = parse_scenario(str(task.data["scenario"]))
        match task.action, transfer:
            case "settle", Transfer(status=TransferStatus.PROCESSING):
                self.conclude(transfer, scenario, code=scenario.decline)
            case "revive", Transfer(status=TransferStatus.REJECTED):
                self.conclude(transfer, scenario, code=None)
            case "reverse", Transfer(status=TransferStatus.SETTLED):
                self.reverse(transfer, scenario)
        return task.model_copy(update={"state": "done"})

    def _known(self, order: Order, payable: Payable) -> Transfer | None:
        """Say what the fence makes of a reference that was used before; None lets the transfer through."""
        last = self.transfer_of(order.partner_txn_uid)
        terms = self._parts.contract.terms
        if last is None or terms.submit_fence is SubmitFence.NONE:
            return None
        if terms.submit_fence is not SubmitFence.RESUBMIT:
            raise Refused(409, "DUPLICATE_REFERENCE", "the reference was used before")
        if self._now_ms() >= last.created_at_ms + terms.idempotency_ms:
            return None
        same = (payable.proxy_type, payable.proxy_value, order.amount_satang)
        if same != (last.proxy_type, last.proxy_value, last.amount_satang):
            raise Refused(409, "REFERENCE_REUSED", "the reference stands for another transfer")
        return last

    def _objection(self, order: Order, lookup: Lookup) -> str | None:
        """Return why the transfer cannot be, scenarios apart."""
        terms = self._parts.contract.terms
        # Only this fence promises to look at the clock when it pays, not merely when it is asked to.
        looked_at_ms = self._now_ms() if terms.submit_fence is SubmitFence.REFERENCE_TTL else order.arrived_ms
        if looked_at_ms >= lookup.expires_at_ms:
            return "LOOKUP_EXPIRED"
        if lookup.payable.amount_satang not in (None, order.amount_satang):
            return "AMOUNT_MISMATCH"
        return "OVER_LIMIT" if order.amount_satang > terms.amount_max_minor else None

    def _open(self, order: Order, lookup: Lookup, *, visible_in_ms: int) -> Transfer:
        now_ms = self._now_ms()
        return self.transfers.put(
            Transfer(
                txn_no=secrets.token_hex(10).upper(),
                partner_txn_uid=order.partner_txn_uid,
                lookup_ref=order.lookup_ref,
                proxy_type=lookup.payable.proxy_type,
                proxy_value=lookup.payable.proxy_value,
                amount_satang=order.amount_satang,
                status=_S.PROCESSING,
                error_code=None,
                created_at_ms=now_ms,
                visible_at_ms=now_ms + visible_in_ms,
                script=order.script,
            )
        )

    def _later(self, action: str, transfer: Transfer, scenario: Scenario, in_ms: int) -> None:
        data: dict[str, JsonValue] = {"txnNo": transfer.txn_no, "scenario": scenario.text}
        self._parts.agenda.add(action, transfer.partner_txn_uid, in_ms=in_ms, data=data)

    def _move(self, kind: MovementKind, transfer: Transfer) -> None:
        self.movements.put(
            Movement(
                movement_id=secrets.token_hex(10),
                kind=kind,
                txn_no=transfer.txn_no,
                partner_txn_uid=transfer.partner_txn_uid,
                amount_satang=transfer.amount_satang,
                at_ms=self._now_ms(),
            )
        )

    def _now_ms(self) -> int:
        return self._parts.clock.now_ms()
