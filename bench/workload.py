"""The workload: payments between uniformly random pairs of wallets, the same ones for the same seed. Pure.

Bodies are filled into templates; building them with the contracts' models would cost the load more than it costs the
mesh to read them. A test holds the templates against the models.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

CURRENCY: Final = "THB"
FUNDS_MINOR: Final = 1_000_000_000_000
"""What each wallet starts with: no run pays so much that a wallet falls short."""
AMOUNT_MINOR_MAX: Final = 10_000
WAITER: Final = "bench"
"""The gateway instance that the load pretends to be, so that it hears of every decision."""

_ENTRY: Final = (
    b'{"service_key":"%b","user_id":"%b","idempotency_key":"%b","fingerprints":["bench:%064x"],"operation":'
    b'{"operation_type":"P2P_TRANSFER","from_account":"user:%b:THB","to_account":"user:%b:THB","amount_minor":%d,'
    b'"currency":"THB","metadata":{"tags":[]},"requires_monitoring":false},"waiter":"bench"}'
)
_GRANT: Final = (
    b'{"service_key":"%b","user_id":null,"idempotency_key":"%b","fingerprints":["bench:%064x"],"operation":'
    b'{"operation_type":"ADJUSTMENT","account":"user:%b:THB","direction":"CREDIT","amount_minor":%d,'
    b'"currency":"THB","metadata":{"tags":[]},"requires_monitoring":false},"waiter":"bench"}'
)
_REQUEST: Final = (
    b'{"operation_type":"P2P_TRANSFER","from_account":"user:%b:THB","to_account":"user:%b:THB","amount_minor":%d,'
    b'"currency":"THB"}'
)


class Payment(NamedTuple):
    """One payment: payer and payee by number, the amount, and a serial number unique in its section."""

    serial: int
    payer: int
    payee: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Section:
    """The payments of one measured section; its name keeps its idempotency keys apart from every other's."""

    name: str
    seed: str
    wallets: int

    def payments(self) -> Iterator[Payment]:
        """Give payments without end; each pair of different wallets is as likely as any other."""
        draw = Random(f"{self.seed} {self.name}").random
        count, others = self.wallets, self.wallets - 1
        serial = 0
        while True:
            serial += 1
            payer = int(draw() * count)
            payee = (payer + 1 + int(draw() * others)) % count
            yield Payment(serial, payer, payee, 1 + int(draw() * AMOUNT_MINOR_MAX))

    def idempotency_key(self, serial: int) -> str:
        """Return a payment's idempotency key."""
        return f"{self.name}-{serial:012d}"

    def entry_body(self, payment: Payment) -> bytes:
        """Return the body of a payment's stream entry, as a gateway would write it."""
        payer = owner(payment.payer).encode()
        return _ENTRY % (
            self.name.encode(),
            payer,
            self.idempotency_key(payment.serial).encode(),
            payment.serial,
            payer,
            owner(payment.payee).encode(),
            payment.amount_minor,
        )

    def grant_body(self, wallet: int) -> bytes:
        """Return the body of the stream entry that funds a wallet."""
        key = f"{self.name}-grant-{wallet}".encode()
        return _GRANT % (self.name.encode(), key, wallet, owner(wallet).encode(), FUNDS_MINOR)

    def request_body(self, payment: Payment) -> bytes:
        """Return the body of a payment's HTTP request."""
        return _REQUEST % (owner(payment.payer).encode(), owner(payment.payee).encode(), payment.amount_minor)


class Deltas:
    """What accepted payments should have done to each wallet, minor units."""

    def __init__(self, wallets: int) -> None:
        self.by_wallet = [0] * wallets
        self.payments = 0

    def add(self, payment: Payment) -> None:
        """Count one accepted payment."""
        self.payments += 1
        self.by_wallet[payment.payer] -= payment.amount_minor
        self.by_wallet[payment.payee] += payment.amount_minor


def owner(wallet: int) -> str:
    """Return the user who owns a wallet."""
    return f"w{wallet:05d}"


def account(wallet: int) -> str:
    """Return a wallet's account name."""
    return f"user:{owner(wallet)}:{CURRENCY}"
