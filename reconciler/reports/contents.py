"""What a report says: plain figures, in minor units, in one order. Pure.

Balances are credits less debits, so that wallets, which are owed to customers, stand above zero and our money at a PSP
below; all of them together are nothing. This module must never hold anything that names a customer, and never
anything that would be different if the report were made again: no time of making, no machine.
"""

from dataclasses import dataclass
from typing import Final

from reconciler.reports.standing import OpenBreaks, OpenIntents

FORMAT: Final = 1
"""Raised with every change of what a report says or how it is written."""


@dataclass(frozen=True, slots=True)
class Period:
    """What a report is about: ``day`` and 2026-11-28, or ``week`` and 2026-W48 (ISO 8601, Monday to Sunday)."""

    kind: str
    name: str
    time_zone: str
    starts_at: str
    ends_at: str
    complete: bool
    """Whether it has ended, so that the report is final."""
    counted_to: str
    """The ledger's time of the last transfer that is counted: the period's end, once it is complete."""


@dataclass(frozen=True, slots=True)
class Balance:
    """An account over the period; ``user:*:THB`` is all wallets of that kind and currency in total.

    `held` is what is on its way out of it, `due` on its way in, when the period ended: not in the balance yet.
    """

    account: str
    currency: str
    opening_minor: int
    debits_minor: int
    credits_minor: int
    closing_minor: int
    held_minor: int
    due_minor: int


@dataclass(frozen=True, slots=True)
class OperationTotal:
    """What was settled of one operation through one PSP (empty: none), and what was held for it and given back.

    A payment is counted when the payer's leg moves, with the amount of that leg: fees on top are not in it, fees that
    the payee bears are. `fees_minor` is both.
    """

    psp: str
    operation_type: str
    currency: str
    payments: int
    amount_minor: int
    fees_minor: int
    held: int
    held_minor: int
    voided: int
    voided_minor: int


@dataclass(frozen=True, slots=True)
class PspTotal:
    """Our money at a PSP: what came in, what went out, and what stood there, counted as money that we have."""

    psp: str
    currency: str
    opening_minor: int
    paid_in: int
    paid_in_minor: int
    paid_out: int
    paid_out_minor: int
    closing_minor: int


@dataclass(frozen=True, slots=True)
class FeeTotal:
    """What a fee account got, by operation and PSP."""

    account: str
    operation_type: str
    psp: str
    currency: str
    fees: int
    fees_minor: int


@dataclass(frozen=True, slots=True)
class Trend:
    """A day's volume: in from PSPs, out through them, and within the house."""

    day: str
    currency: str
    paid_in_minor: int
    paid_out_minor: int
    internal_minor: int
    fees_minor: int


@dataclass(frozen=True, slots=True)
class Check:
    """A promise of the books over the period; `off_minor` is by how much it is broken, added up."""

    promise: str
    holds: bool
    off_minor: int


@dataclass(frozen=True, slots=True)
class Report:
    """A report. `open_intents` and `open_breaks` are None where nobody noted what was open when the period ended."""

    period: Period
    exponents: dict[str, int]
    """How many digits each currency has after the point."""
    balances: tuple[Balance, ...]
    operations: tuple[OperationTotal, ...]
    psps: tuple[PspTotal, ...]
    fees: tuple[FeeTotal, ...]
    trend: tuple[Trend, ...]
    open_intents: tuple[OpenIntents, ...] | None
    open_breaks: tuple[OpenBreaks, ...] | None
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)
