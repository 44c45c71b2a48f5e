"""Why an operation is refused before any money is touched, in words and for programs. Pure.

The saga refuses with these sentences, and the dry run tells them beforehand. This module must never decide anything,
and never say what is personal.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from shared.money import Money, currency
from shared.plans import LimitUse
from shared.rules.limits import LIMIT_EXCEEDED, LimitReached
from shared.rules.model import RuleFault

FEE_RULE_FAILED: Final = "fee_rule_failed"
VELOCITY_RULE_FAILED: Final = "velocity_rule_failed"
VELOCITY_EXCEEDED: Final = "velocity_exceeded"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an operation is refused before any money is touched: a stable code, a sentence, and `data` for programs."""

    code: str
    detail: str
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def data_json(self) -> str | None:
        """The data as JSON text, None where there is none."""
        return json.dumps(self.data) if self.data else None


def fee_fault(fault: RuleFault) -> Refusal:
    """Say which fee rule cannot be applied."""
    return Refusal(FEE_RULE_FAILED, f"fee rule {fault}", {"rule": fault.rule, "version": fault.version})


def velocity_fault(fault: RuleFault) -> Refusal:
    """Say which velocity rule cannot be asked."""
    return Refusal(VELOCITY_RULE_FAILED, f"velocity rule {fault}", {"rule": fault.rule, "version": fault.version})


def too_fast(rule: str, version: int) -> Refusal:
    """Say which velocity rule refuses, but not what it counts: whoever tries it out need not learn that."""
    data = {"rule": rule, "version": version}
    return Refusal(VELOCITY_EXCEEDED, "too many payments, or too much, within a short time", data)


def not_open(account: str) -> Refusal:
    """Say which account has not been opened."""
    return Refusal("unknown_account", f"no account named {account} has been opened")


def limit_refusal(use: LimitUse, ccy: str, *, left: int) -> Refusal:
    """Say which limit refused an intent, what is left of it, and when it begins anew."""
    period = period_of(use)
    resets_at = time_of(use.resets_ms)
    of_what = units_of(use.measure, use.cap, ccy)
    detail = (
        f"limit {use.rule}: {of_what} may be used in {period}, {units_of(use.measure, left, ccy)} is left; "
        f"it begins anew at {resets_at}"
    )
    data = {
        "rule": use.rule,
        "version": use.version,
        "measure": use.measure,
        "period": period,
        "cap": use.cap,
        "left": left,
        "resets_at": resets_at,
    }
    return Refusal(LIMIT_EXCEEDED, detail, {"limit": data})


def beyond_limit(reached: LimitReached, ccy: str) -> Refusal:
    """Say which limit an intent is beyond by itself, whatever else was used of it."""
    cap = units_of(reached.measure, reached.cap, ccy)
    resets_at = None if reached.resets_ms is None else time_of(reached.resets_ms)
    data = {
        "rule": reached.rule,
        "version": reached.version,
        "measure": reached.measure,
        "period": reached.period,
        "cap": reached.cap,
        "resets_at": resets_at,
    }
    when = "at once" if resets_at is None else f"in {reached.period}, and no more before {resets_at}"
    return Refusal(LIMIT_EXCEEDED, f"limit {reached.rule}: no more than {cap} may be used {when}", {"limit": data})


def period_of(use: LimitUse) -> str:
    """Return the name of the period in which an allowance is used, such as ``2026-11-29``."""
    return use.account.rpartition(":")[2]


def units_of(measure: str, units: int, ccy: str) -> str:
    """Write what is used of an allowance: money, or a number of intents."""
    return str(Money(units, currency(ccy))) if measure == "amount" else f"{units} intents"


def time_of(unix_ms: int) -> str:
    """Write a moment in UTC, as in ``2026-11-29T17:00:00Z``."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
