"""What a rule is, and what rules are asked about. Pure data.

Every kind of rule applies to some operations in one currency, and only to intents that carry all of its tags. Money is
integer minor units of that currency. This module must never evaluate anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

RULE_OPERATIONS: Final = ("P2P_TRANSFER", "IPPS_WITHDRAWAL", "THAI_QR_PAY", "QP_TOPUP")
"""The operations that rules may speak of; adjustments are the house's own, and nobody charges or limits those."""
BPS: Final = 10_000
"""Basis points in a whole."""


class Timing(StrEnum):
    """Who bears a fee."""

    PRE = "PRE"
    """The sender pays it on top."""
    POST = "POST"
    """The recipient receives less."""


class Per(StrEnum):
    """Whose intents a velocity rule adds up."""

    USER = "user"
    DESTINATION = "destination"


class VelocityAction(StrEnum):
    """What a velocity rule does once there is too much."""

    REJECT = "reject"
    MONITOR = "monitor"


@dataclass(frozen=True, slots=True)
class FeeAmount:
    """A fee as data: ``fixed + amount * bps / 10000``, rounded half up to the minor unit, then kept in [min, max]."""

    fixed_minor: int = 0
    bps: int = 0
    min_minor: int = 0
    max_minor: int | None = None

    def of(self, amount_minor: int) -> int:
        """Return the fee on an amount."""
        share = (amount_minor * self.bps * 2 + BPS) // (2 * BPS)
        fee = max(self.fixed_minor + share, self.min_minor)
        return fee if self.max_minor is None else min(fee, self.max_minor)


@dataclass(frozen=True, slots=True)
class Scope:
    """Which intents a rule may apply to."""

    operations: tuple[str, ...]
    currency: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeeRule:
    """What some payments cost besides; `amount` is data, or a CEL expression that gives minor units."""

    name: str
    version: int
    scope: Scope
    timing: Timing
    amount: FeeAmount | str
    beneficiary: str
    condition: str = "true"
    priority: int = 100
    final: bool = False
    """Where it applies, no later rule is looked at."""
    active_from_ms: int | None = None
    active_until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LimitRule:
    """How much may go: at once, in a business day, in a month of them; None where there is no such bound."""

    name: str
    version: int
    scope: Scope
    transaction_max_minor: int | None = None
    daily_max_minor: int | None = None
    daily_max_count: int | None = None
    monthly_max_minor: int | None = None
    monthly_max_count: int | None = None

    @property
    def allowances(self) -> int:
        """How many ledger accounts it needs for an intent."""
        caps = (self.daily_max_minor, self.daily_max_count, self.monthly_max_minor, self.monthly_max_count)
        return sum(cap is not None for cap in caps)


@dataclass(frozen=True, slots=True)
class VelocityRule:
    """How many payments, or how much, of one user or to one destination within `window_s` look like fraud."""

    name: str
    version: int
    scope: Scope
    per: Per
    window_s: int
    action: VelocityAction
    max_count: int | None = None
    max_sum_minor: int | None = None
    condition: str = "true"


@dataclass(frozen=True, slots=True)
class Subject:
    """What rules are asked about: an intent, as far as they may know it.

    `at_ms` is when it was accepted, by its id; `holder` whose allowance it uses, such as ``user:alice``;
    `destination` names where the money goes without telling it (a keyed hash, or a wallet of ours).
    """

    operation_type: str
    currency: str
    amount_minor: int
    at_ms: int
    holder: str
    channel: str = ""
    user_id: str = ""
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    destination: str | None = None


@dataclass(frozen=True, slots=True)
class RuleFault:
    """A rule refuses an intent because the rule itself is at fault: it must not be guessed around."""

    rule: str
    version: int
    detail: str

    def __str__(self) -> str:
        return f"{self.rule} version {self.version}: {self.detail}"
