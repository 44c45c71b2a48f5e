"""A history of payments, loaded in bulk: every kind of plan and end, with fees and limits, in ledger and database.

Nothing runs: the rows are written as the services would have written them, and the transfers are built from the same
plans. Wallets' balances follow what is submitted to the ledger, histories what is planned, so that a payment that is
spoilt on purpose differs in nothing but what was spoilt.
"""

import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import tigerbeetle as tb

from reconciler.read_model import booked_at
from shared.accounts import parse_account
from shared.db.pool import Pool
from shared.ids import IntentId, account_id, intent_id
from shared.ledger.accounts import ledger_account
from shared.ledger.codes import LegCode
from shared.ledger.limits import LimitAccounts
from shared.ledger.planned import closing_chain, first_chain, leg_amounts, paid_legs, release_chain
from shared.ledger.port import Ledger
from shared.money import currency_of_ledger
from shared.plans import Dispatch, FeeCharged, Leg, LimitUse, Plan, PlanKind, write_plan

FIXED = [
    *(f"{kind}:{ccy}" for kind in ("transit", "equity", "liquidity") for ccy in ("THB", "RUB", "EUR")),
    *(f"{kind}:{psp}" for kind in ("psp", "suspense") for psp in ("ipps:THB", "qp:RUB")),
    "fee:service:THB",
    "fee:service:RUB",
]
GRANT = 10**14
SHAPES = (
    "p2p", "p2p", "p2p", "p2p_fee", "p2p_post_fee", "p2p_limits", "withdrawal", "withdrawal_part", "withdrawal_failed",
    "withdrawal_open", "withdrawal_doubt", "topup", "topup_fee", "topup_expired", "topup_open", "refused", "adjusted",
    "retried",
)  # fmt: skip
"""What payments there are; the plain one is the most common."""
BATCH = 2000
STATEMENTS = {
    "intent": ("id", "service_key_id", "idempotency_key", "operation_type", "channel", "amount_minor", "currency",
               "state", "version", "attempt", "funds", "error_code", "operation", "created_at", "updated_at"),
    "intent_attempt": ("intent_id", "attempt", "plan"),
    "intent_event": ("intent_id", "seq", "from_state", "to_state", "at"),
    "tx_history": ("account_id", "transfer_id", "intent_id", "amount_minor", "code", "at"),
    "resolution": ("intent_id", "attempt", "kind", "state", "code", "amount_minor", "psp", "psp_transaction_id",
                   "evidence", "ledger_attempt"),
    "psp_reference": ("psp", "reference", "intent_id", "attempt"),
    "psp_tx_map": ("psp", "psp_transaction_id", "intent_id", "attempt", "settles", "amount_minor", "currency"),
    "outbox_event": ("intent_id", "attempt", "action", "psp", "body", "created_at", "sent_at"),
}  # fmt: skip


@dataclass(slots=True)
class Resolution:
    """What was resolved about the last attempt."""

    kind: Any
    state: str
    amount_minor: int | None


@dataclass(slots=True)
class Payment:
    """A payment as it will be loaded; what spoils one changes it before that."""

    shape: str
    id: IntentId
    operation: str
    state: str
    path: tuple[str, ...]
    plans: dict[int, Plan]
    attempt: int = 1
    resolution: Resolution | None = None
    has_job: bool = False
    error_code: str | None = None
    first: list[tb.Transfer] = field(default_factory=list)
    closing: list[tb.Transfer] = field(default_factory=list)
    release: list[tb.Transfer] = field(default_factory=list)
    extra: list[tb.Transfer] = field(default_factory=list)
    """Transfers beside the plan."""
    moved: list[tuple[str, int, int, int]] = field(default_factory=list)
    """Rows of the history: wallet, transfer id, signed amount, code."""
    without: set[str] = field(default_factory=set)
    """Tables that know nothing of it."""

    @property
    def plan(self) -> Plan:
        """The plan of its last attempt."""
        return self.plans[self.attempt]

    @property
    def transfers(self) -> list[tb.Transfer]:
        """Everything that is submitted to the ledger, in order."""
        return self.first + self.closing + self.release + self.extra


@dataclass(slots=True)
class Wallets:
    """Who pays whom: so many wallets in baht, and as many in roubles."""

    count: int
    random: random.Random

    def baht(self) -> str:
        """Some wallet in baht."""
        return f"user:w{self.random.randrange(self.count)}:THB"

    def other(self, than: str) -> str:
        """Another wallet in baht."""
        while (found := self.baht()) == than:
            continue
        return found

    def roubles(self) -> str:
        """Some wallet in roubles."""
        return f"merchant:m{self.random.randrange(self.count)}:RUB"

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [name for number in range(self.count) for name in (f"user:w{number}:THB", f"merchant:m{number}:RUB")]


class Clerk:
    """Makes payments, one after the other, of every shape in turn."""

    def __init__(self, *, wallets: int = 40, seed: int = 7, started_us: int | None = None) -> None:
        self._random = random.Random(seed)
        self.wallets = Wallets(wallets, self._random)
        # In the past, so that a reconciler that waits for things to settle has nothing to wait for.
        self._clock_us = started_us if started_us is not None else time.time_ns() // 1000 - 3_600_000_000
        self._made = 0

    def new_id(self) -> IntentId:
        """An intent id, later than the last one."""
        self._clock_us += 300
        return intent_id(self._clock_us, self._made % 4, self._random.getrandbits(38))

    def grants(self) -> list[Payment]:
        """What fills every wallet."""
        return [self._grant(name) for name in self.wallets.names]

    def make(self, count: int) -> list[Payment]:
        """So many payments."""
        return [self.one() for _ in range(count)]

    def one(self, shape: str | None = None) -> Payment:
        """A payment of a shape, or of the one whose turn it is."""
        self._made += 1
        chosen = shape or SHAPES[self._made % len(SHAPES)]
        amount = self._random.randrange(1_000, 90_000)
        if chosen.startswith("withdrawal") or chosen == "retried":
            return self._withdrawal(chosen, amount)
        if chosen.startswith("topup"):
            return self._topup(chosen, amount)
        if chosen == "adjusted":
            return self._grant(self.wallets.baht(), amount)
        return self._p2p(chosen, amount)

    def _grant(self, wallet: str, amount: int = GRANT) -> Payment:
        ccy = wallet.rpartition(":")[2]
        legs = (
            Leg(f"equity:{ccy}", f"transit:{ccy}", amount, LegCode.ADJUSTMENT_TAKE),
            Leg(f"transit:{ccy}", wallet, amount, LegCode.ADJUSTMENT_GIVE),
        )
        return _settled_at_once("adjusted", self.new_id(), "ADJUSTMENT", Plan("INTERNAL_ADJUSTMENT", 2, 1, legs))

    def _p2p(self, shape: str, amount: int) -> Payment:
        payer = self.wallets.baht()
        payee = self.wallets.other(payer)
        legs = [
            Leg(payer, "transit:THB", amount, LegCode.P2P_PAY),
            Leg("transit:THB", payee, amount, LegCode.P2P_RECEIVE),
        ]
        fees: tuple[FeeCharged, ...] = ()
        if shape == "p2p_fee":
            legs += _fee(payer, 25, "THB")
            fees = (FeeCharged("flat", 1, "PRE", 25, "fee:service:THB"),)
        if shape == "p2p_post_fee":
            legs[1] = replace(legs[1], amount_minor=amount - 10)
            legs.append(Leg("transit:THB", "fee:service:THB", 10, LegCode.FEE_GIVE))
            fees = (FeeCharged("share", 2, "POST", 10, "fee:service:THB"),)
        limits = _limits(payer, amount) if shape in ("p2p_limits", "p2p_fee") else ()
        plan = Plan("INTERNAL_P2P", 1, 1, tuple(legs), fees=fees, limits=limits)
        if shape != "refused":
            return _settled_at_once(shape, self.new_id(), "P2P_TRANSFER", plan)
        path = ("VALIDATED", "REJECTED")
        return Payment(shape, self.new_id(), "P2P_TRANSFER", "REJECTED", path, {1: plan}, error_code="exceeds_credits")

    def _withdrawal(self, shape: str, amount: int) -> Payment:
        payer, intent = self.wallets.baht(), self.new_id()
        legs = (
            Leg(payer, "transit:THB", amount, LegCode.WITHDRAWAL_TAKE),
            Leg("transit:THB", "psp:ipps:THB", amount, LegCode.WITHDRAWAL_SEND),
            *_fee(payer, 15, "THB"),
        )
        asked = Dispatch("ipps", "IPPS_WITHDRAWAL", f"R{intent.int >> 16:x}", amount, "THB")
        plan = Plan("IPPS", 3, 1, legs, PlanKind.HOLD, asked, limits=_limits(payer, amount))
        attempt = 2 if shape == "retried" else 1
        plans = {number: replace(plan, dispatch=replace(asked, reference=f"{asked.reference}{number}"))
                 for number in range(1, attempt + 1)}  # fmt: skip
        state, path, resolution = _ends(shape, amount)
        made = Payment(shape, intent, "IPPS_WITHDRAWAL", state, path, plans, attempt, resolution, has_job=True)
        made.error_code = "over_limit" if state == "FAILED" else None
        made.first = first_chain(intent, attempt, made.plan)
        return _resolved(made)

    def _topup(self, shape: str, amount: int) -> Payment:
        payee, intent = self.wallets.roubles(), self.new_id()
        give = amount - 30 if shape == "topup_fee" else amount
        legs = [
            Leg("psp:qp:RUB", "transit:RUB", amount, LegCode.TOPUP_RECEIVE),
            Leg("transit:RUB", payee, give, LegCode.TOPUP_GIVE),
        ]
        if shape == "topup_fee":
            legs.append(Leg("transit:RUB", "fee:service:RUB", 30, LegCode.FEE_GIVE))
        asked = Dispatch("qp", "QP_TOPUP", f"Q{intent.int >> 16:x}", amount, "RUB")
        plan = Plan("QP", 4, 1, tuple(legs), PlanKind.CREDIT, asked, limits=_limits(payee, amount))
        state, path, resolution = _ends(shape, amount)
        made = Payment(shape, intent, "QP_TOPUP", state, path, {1: plan}, 1, resolution, has_job=True)
        made.error_code = "expired" if state == "EXPIRED" else None
        made.first = first_chain(intent, 1, plan)
        return _resolved(made)


def _fee(payer: str, amount: int, ccy: str) -> tuple[Leg, Leg]:
    return (
        Leg(payer, f"transit:{ccy}", amount, LegCode.FEE_TAKE),
        Leg(f"transit:{ccy}", f"fee:service:{ccy}", amount, LegCode.FEE_GIVE),
    )


def _limits(wallet: str, amount: int) -> tuple[LimitUse, ...]:
    owner = wallet.split(":")[1]
    return (
        LimitUse("daily", 1, "amount", f"limit:{owner}:daily:20261101", amount, 1 << 60, 0),
        LimitUse("often", 1, "count", f"limit:{owner}:often:20261101", 1, 1 << 40, 0),
    )


def _ends(shape: str, amount: int) -> tuple[str, tuple[str, ...], Resolution | None]:
    """How a payment of a shape ends: its state, the way there, and what was resolved."""
    if shape in ("withdrawal_open", "topup_open"):
        return "AUTHORIZED", ("VALIDATED", "AUTHORIZED"), None
    if shape == "withdrawal_doubt":
        return "IN_DOUBT", ("VALIDATED", "AUTHORIZED", "IN_DOUBT"), None
    if shape == "withdrawal_failed":
        return "FAILED", ("VALIDATED", "AUTHORIZED", "FAILED"), Resolution("void", "FAILED", None)
    if shape == "topup_expired":
        return "EXPIRED", ("VALIDATED", "AUTHORIZED", "EXPIRED"), Resolution("close", "EXPIRED", None)
    paid = amount - 200 if shape == "withdrawal_part" else amount
    kind = "credit" if shape.startswith("topup") else "post"
    return "SETTLED", ("VALIDATED", "AUTHORIZED", "SETTLED"), Resolution(kind, "SETTLED", paid)


def _settled_at_once(shape: str, intent: IntentId, operation: str, plan: Plan) -> Payment:
    made = Payment(shape, intent, operation, "SETTLED", ("VALIDATED", "AUTHORIZED", "SETTLED"), {1: plan})
    made.first = first_chain(intent, 1, plan)
    made.moved = list(_rows(plan.legs, [leg.amount_minor for leg in plan.legs], made.first))
    return made


def _resolved(made: Payment) -> Payment:
    """Add the transfers of what was resolved, and the history of what moved."""
    found, plan, number = made.resolution, made.plan, made.attempt
    if found is None:
        return made
    made.closing = closing_chain(made.id, number, plan, kind=found.kind, amount_minor=found.amount_minor, number=number)
    made.release = release_chain(made.id, number, plan, paid_minor=found.amount_minor, number=number)
    if found.kind == "post" and found.amount_minor is not None:
        made.moved = list(_rows(plan.legs, leg_amounts(plan, found.amount_minor), made.closing))
    if found.kind == "credit" and found.amount_minor is not None:
        legs = paid_legs(plan, found.amount_minor)
        made.moved = list(_rows(legs, [leg.amount_minor for leg in legs], made.closing))
    return made


def _rows(
    legs: Sequence[Leg], amounts: Sequence[int], chain: Sequence[tb.Transfer]
) -> Iterator[tuple[str, int, int, int]]:
    for leg, amount, transfer in zip(legs, amounts, chain, strict=False):
        for name, sign in ((leg.debit, -1), (leg.credit, 1)):
            if name.startswith(("user:", "merchant:")):
                yield name, transfer.id, sign * amount, int(leg.code)


class Stage:
    """A ledger and a database that a history is loaded into."""

    def __init__(self, *, ledger: Ledger, pool: Pool) -> None:
        self.ledger = ledger
        self.pool = pool
        self._limits = LimitAccounts(ledger=ledger)
        self._posted: dict[int, int] = defaultdict(int)
        self._held: dict[int, int] = defaultdict(int)
        self._pending: dict[int, tb.Transfer] = {}
        self._wallets: set[int] = set()

    async def open(self, names: Iterable[str]) -> None:
        """Open accounts and record them."""
        accounts = [parse_account(name) for name in names]
        self._wallets |= {account.id for account in accounts if account.is_customer}
        for result in await self.ledger.create_accounts([ledger_account(account) for account in accounts]):
            assert result.status in (tb.CreateAccountStatus.CREATED, tb.CreateAccountStatus.EXISTS)
        await self.pool.copy_records_to_table(
            "tb_account_map",
            schema_name="pm",
            columns=("name", "id", "ledger", "opened_by"),
            records=[(one.name, UUID(int=one.id), one.currency.number, "test") for one in accounts],
        )

    async def load(self, payments: Sequence[Payment]) -> int:
        """Write payments, a batch at a time; return how many transfers they are."""
        loaded = 0
        for start in range(0, len(payments), BATCH):
            loaded += await self._load(payments[start : start + BATCH])
        await self._write_balances()
        return loaded

    async def submit(self, transfers: Sequence[tb.Transfer]) -> list[int]:
        """Submit transfers, all of which must be new; return when each entered the books."""
        if not transfers:
            return []
        results = await self.ledger.create_transfers(list(transfers))
        for transfer, result in zip(transfers, results, strict=True):
            assert result.status is tb.CreateTransferStatus.CREATED, (result.status, transfer)
            self._count(transfer)
        return [result.timestamp for result in results]

    async def _load(self, payments: Sequence[Payment]) -> int:
        await self._limits.ensure(use.account for one in payments for plan in one.plans.values() for use in plan.limits)
        transfers = [transfer for one in payments for transfer in one.transfers]
        times = dict(zip((one.id for one in transfers), await self.submit(transfers), strict=True))
        # Made before the transaction is opened: it must not idle while they are.
        rows = {
            table: [row for one in payments if table not in one.without for row in ROWS[table](one, times)]
            for table in STATEMENTS
        }
        async with self.pool.acquire() as connection, connection.transaction():
            for table, columns in STATEMENTS.items():
                await connection.copy_records_to_table(table, schema_name="pm", columns=columns, records=rows[table])
        return len(transfers)

    def _count(self, transfer: tb.Transfer) -> None:
        """Keep what wallets hold, as the ledger does."""
        flags = transfer.flags
        if flags & tb.TransferFlags.PENDING:
            self._pending[transfer.id] = transfer
            self._held[transfer.debit_account_id] += transfer.amount
            return
        moved, amount = transfer, transfer.amount
        if transfer.pending_id:
            moved = self._pending.pop(transfer.pending_id)
            self._held[moved.debit_account_id] -= moved.amount
            if flags & tb.TransferFlags.VOID_PENDING_TRANSFER:
                return
        self._posted[moved.debit_account_id] -= amount
        self._posted[moved.credit_account_id] += amount

    async def _write_balances(self) -> None:
        rows = [(UUID(int=one), self._posted[one], self._held[one]) for one in sorted(self._wallets)]
        await self.pool.execute("TRUNCATE pm.account_balance")
        await self.pool.copy_records_to_table(
            "account_balance", schema_name="pm", columns=("account_id", "posted", "held"), records=rows
        )


Times = dict[int, int]


def _moment(one: Payment, after_ms: int = 0) -> datetime:
    return datetime.fromtimestamp((one.id.int >> 80) / 1000, UTC) + timedelta(milliseconds=after_ms)


def _funds(one: Payment) -> str:
    if one.state == "SETTLED":
        return "moved"
    return "held" if one.state in ("AUTHORIZED", "IN_DOUBT") and one.plan.kind is PlanKind.HOLD else "none"


def _intent(one: Payment, _: Times) -> list[tuple[object, ...]]:
    amount, number = one.plan.legs[0].amount_minor, parse_account(one.plan.legs[0].debit).currency.number
    return [
        (one.id, "shop", f"k-{one.id}", one.operation, one.plan.channel, amount, currency_of_ledger(number).code,
         one.state, len(one.path), one.attempt, _funds(one), one.error_code, "{}", _moment(one), _moment(one, 5))
    ]  # fmt: skip


def _events(one: Payment, _: Times) -> list[tuple[object, ...]]:
    before = ("CREATED", *one.path)
    return [(one.id, seq, before[seq - 1], to, _moment(one, seq)) for seq, to in enumerate(one.path, start=1)]


def _history(one: Payment, times: Times) -> list[tuple[object, ...]]:
    # Dated by the last leg of what moved them, which a spoilt payment may not have.
    chain = one.closing or one.first
    at = booked_at(times[chain[-1].id]) if chain and chain[-1].id in times else _moment(one)
    return [
        (UUID(int=account_id(name)), UUID(int=transfer), one.id, amount, code, at)
        for name, transfer, amount, code in one.moved
    ]


def _resolutions(one: Payment, _: Times) -> list[tuple[object, ...]]:
    found, asked = one.resolution, one.plan.dispatch
    rows: list[tuple[object, ...]] = []
    if found is not None and asked is not None:
        named = f"T-{one.id}" if found.kind in ("post", "credit") else None
        code = None if found.state == "SETTLED" else "unpaid"
        rows.append((one.id, one.attempt, found.kind, found.state, code, found.amount_minor, asked.psp, named, "{}",
                     one.attempt))  # fmt: skip
    return rows


def _payments(one: Payment, _: Times) -> list[tuple[object, ...]]:
    found, asked = one.resolution, one.plan.dispatch
    if found is None or asked is None or found.amount_minor is None:
        return []
    return [(asked.psp, f"T-{one.id}", one.id, one.attempt, True, found.amount_minor, asked.currency)]


def _references(one: Payment, _: Times) -> list[tuple[object, ...]]:
    return [
        (plan.dispatch.psp, plan.dispatch.reference, one.id, number)
        for number, plan in one.plans.items()
        if plan.dispatch is not None
    ]


def _jobs(one: Payment, _: Times) -> list[tuple[object, ...]]:
    asked = one.plan.dispatch
    if asked is None or not one.has_job:
        return []
    body = json.dumps({"operation": asked.operation, "reference": asked.reference})
    return [(one.id, one.attempt, "submit", asked.psp, body, _moment(one, 2), _moment(one, 3))]


def _attempts(one: Payment, _: Times) -> list[tuple[object, ...]]:
    return [(one.id, number, write_plan(plan)) for number, plan in one.plans.items()]


ROWS: dict[str, Callable[[Payment, Times], list[tuple[object, ...]]]] = {
    "intent": _intent,
    "intent_attempt": _attempts,
    "intent_event": _events,
    "tx_history": _history,
    "resolution": _resolutions,
    "psp_reference": _references,
    "psp_tx_map": _payments,
    "outbox_event": _jobs,
}
