"""Intents as the gateway would accept them: a wallet for each, so that the ledger itself says what became of it."""

import itertools
import random
import time
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from adapters.ipps.emvco import encode
from adapters.ipps.payees import Bill, Transfer
from adapters.ipps.proxies import mobile
from shared.contracts import Envelope, IntentMessage, Kind, OpenAccountMessage
from shared.ids import IntentId, intent_id
from shared.operations import Adjustment, IppsWithdrawal, Operation, QpTopup, ThaiQrPay
from shared.sealing import KeyRing, seal
from shared.streams.accept import append
from tests.matrix.scenarios import Payout, Topup

PARTITION: Final = 0
FUNDED: Final = 5_000_000
"""Much more than a wallet pays out, so that nothing but the reckoning keeps it from paying twice."""
_ACCOUNT: Final = "0012345678"
_serial = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Posted:
    """A payment that was posted, and the scenario that it plays."""

    intent: IntentId
    played: Payout | Topup
    wallet: str
    amount_minor: int
    operation: Operation

    @property
    def name(self) -> str:
        """What the table calls it."""
        if isinstance(self.played, Payout):
            return self.played.script
        static = " static" if self.played.static else ""
        pays = f", {len(self.played.pays)} payers" if self.played.pays else ""
        return f"top-up{static}: {self.played.script}{pays}"


def new_id() -> IntentId:
    """Make an intent id of now."""
    return intent_id(time.time_ns() // 1000, PARTITION, random.getrandbits(38))


def payout(ring: KeyRing, number: int, played: Payout) -> Posted:
    """Make a withdrawal; proxies of every kind and codes of both take turns."""
    intent, wallet, amount = new_id(), f"user:out-{number}:THB", 10_000 + 17 * number

    def sealed(field: str, text: str) -> str:
        return seal(ring, context=str(intent), field=field, text=text)

    number_of_digits = f"{number:08d}"
    plain = {"from_account": wallet, "amount_minor": amount, "currency": "THB", "test_scenario": played.script}
    kinds: tuple[tuple[str, str, str | None], ...] = (
        ("MOBILE", f"08{number_of_digits}", None),
        ("EWALLET", f"1400000{number_of_digits}", None),
        ("BANK_ACCOUNT", f"00{number_of_digits}", "004"),
    )
    operation: Operation
    match number % 5:
        case 0 | 1 | 2 as kind:
            proxy_type, proxy, bank_code = kinds[kind]
            operation = IppsWithdrawal.model_validate(
                plain | {"proxy_type": proxy_type, "proxy": sealed("proxy", proxy), "bank_code": bank_code}
            )
        case 3:
            code = encode(Bill("099400016550100", f"CUSTOMER{number}", "INVOICE42"), amount_satang=amount)
            operation = ThaiQrPay.model_validate(plain | {"qr": sealed("qr", code)})
        case _:
            code = encode(Transfer(mobile(f"08{number_of_digits}")))
            operation = ThaiQrPay.model_validate(plain | {"qr": sealed("qr", code)})
    return Posted(intent, played, wallet, amount, operation)


def topup(number: int, played: Topup) -> Posted:
    """Make a top-up."""
    wallet, amount = f"user:in-{number}:RUB", 20_000 + 13 * number
    operation = QpTopup(
        to_account=wallet,
        amount_minor=amount,
        currency="RUB",
        ttl_s=played.ttl_s,
        static=played.static,
        test_scenario=played.script,
    )
    return Posted(new_id(), played, wallet, amount, operation)


def grant(wallet: str) -> tuple[IntentId, Operation]:
    """Make the adjustment that funds a wallet."""
    currency = wallet.rpartition(":")[2]
    return new_id(), Adjustment(account=wallet, direction="CREDIT", amount_minor=FUNDED, currency=currency)


async def open_account(redis: Redis, wallet: str) -> None:
    """Ask for a wallet."""
    body = OpenAccountMessage(service_key="shop", name=wallet).model_dump_json().encode()
    await append(redis, partition=PARTITION, envelope=Envelope(Kind.OPEN_ACCOUNT, str(new_id()), body))


async def post(redis: Redis, intent: IntentId, operation: Operation) -> None:
    """Add an accepted operation to the intents, as the gateway does."""
    number = next(_serial)
    message = IntentMessage(
        service_key="shop",
        user_id=None,
        idempotency_key=f"matrix-{number}-{intent}",
        fingerprints=(f"k2:{number:064x}",),
        operation=operation,
    )
    envelope = Envelope(Kind.INTENT, str(intent), message.model_dump_json().encode())
    await append(redis, partition=PARTITION, envelope=envelope)
