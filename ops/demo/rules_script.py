"""The script of the rules' act: the documents that are applied, and what must come of each payment. Pure.

Every rule asks for the act's own tag, so that nothing else in the demo pays a fee or meets a limit. The figures follow
from this script alone: nothing the mesh says enters them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

TAG: Final = "ruled"
CURRENCY: Final = "THB"
FUNDING_MINOR: Final = 1_000_000
CAP_MINOR: Final = 100_000
RAISED_MINOR: Final = 200_000

ROUTES: Final = """\
routes:
  - {name: p2p, operation_type: P2P_TRANSFER, channel: INTERNAL_P2P}
  - {name: adjustment, operation_type: ADJUSTMENT, channel: INTERNAL_ADJUSTMENT}
  - {name: withdraw-first, operation_type: IPPS_WITHDRAWAL, currency: THB, channel: IPPS, priority: 10}
  - {name: withdraw-second, operation_type: IPPS_WITHDRAWAL, currency: THB, channel: IPPS2, priority: 20}
  - {name: qr-first, operation_type: THAI_QR_PAY, currency: THB, channel: IPPS, priority: 10}
  - {name: topup, operation_type: QP_TOPUP, currency: RUB, channel: QP}
"""
"""Before anything else: one agreement with IPPS first, the second one where the first takes nothing on."""

FEES_AND_LIMIT: Final = f"""\
business: {{time_zone: Asia/Bangkok}}
fees:
  - name: sender-pays
    operations: [P2P_TRANSFER]
    currency: {CURRENCY}
    tags: [{TAG}]
    timing: PRE
    condition: amount > 1000
    amount: {{fixed_minor: 200, bps: 100}}
    beneficiary: fee:transfers:{CURRENCY}
  - name: recipient-pays
    operations: [P2P_TRANSFER]
    currency: {CURRENCY}
    tags: [{TAG}]
    timing: POST
    amount: {{fixed_minor: 50}}
    beneficiary: fee:partners:{CURRENCY}
limits:
  - name: daily
    operations: [P2P_TRANSFER]
    currency: {CURRENCY}
    tags: [{TAG}]
    daily_max_minor: {CAP_MINOR}
"""

CHANGED: Final = (
    FEES_AND_LIMIT.replace("{fixed_minor: 200, bps: 100}", "amount / 200")
    .replace(f"daily_max_minor: {CAP_MINOR}", f"daily_max_minor: {RAISED_MINOR}")
)  # fmt: skip
"""The sender's fee becomes half a percent, as an expression, and the limit is raised."""

PAUSED: Final = """\
switches:
  - {psp: ipps, operation: "*", reason: the demo pauses its first way out}
"""
RESUMED: Final = "switches: []\n"


@dataclass(frozen=True, slots=True)
class Payment:
    """A transfer in the act, and what must come of it."""

    name: str
    amount_minor: int
    payer_pays_minor: int
    payee_gets_minor: int
    state: str = "SETTLED"
    left_minor: int | None = None
    """What a refusal must say is left of the limit."""


BEFORE: Final = Payment("with fees both ways", 30_000, 30_500, 29_950)
REFUSED: Final = Payment("beyond the day's limit", 80_000, 0, 0, "REJECTED", CAP_MINOR - BEFORE.amount_minor)
AFTER: Final = Payment("after the change", 80_000, 80_400, 79_950)
PAYMENTS: Final = (BEFORE, REFUSED, AFTER)
WITHDRAWN_MINOR: Final = 10_000


@dataclass(frozen=True, slots=True)
class RulesScript:
    """The act's wallets, and what must stand in the accounts that it alone uses."""

    payer: str
    payee: str

    @property
    def expected_minor(self) -> Mapping[str, int]:
        """What every wallet must hold in the end."""
        paid = sum(payment.payer_pays_minor for payment in PAYMENTS)
        got = sum(payment.payee_gets_minor for payment in PAYMENTS)
        return {self.payer: FUNDING_MINOR - paid - WITHDRAWN_MINOR, self.payee: got}

    def transfer(self, payment: Payment) -> dict[str, Any]:
        """Return a payment as it is posted."""
        return {
            "operation_type": "P2P_TRANSFER",
            "from_account": self.payer,
            "to_account": self.payee,
            "amount_minor": payment.amount_minor,
            "currency": CURRENCY,
            "metadata": {"tags": [TAG]},
        }

    def withdrawal(self) -> dict[str, Any]:
        """Return a withdrawal as it is posted."""
        return {
            "operation_type": "IPPS_WITHDRAWAL",
            "from_account": self.payer,
            "amount_minor": WITHDRAWN_MINOR,
            "currency": CURRENCY,
            "proxy_type": "MOBILE",
            "proxy": "0801234567",
        }


def write_rules_script(*, run: str) -> RulesScript:
    """Return the script; `run` keeps its wallets apart from those of other runs on the same stores."""
    return RulesScript(f"user:ruled{run}:{CURRENCY}", f"user:gets{run}:{CURRENCY}")
