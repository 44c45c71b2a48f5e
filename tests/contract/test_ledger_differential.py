"""TigerBeetle and its stand-in, given the same random history: same statuses, same balances, same books.

Every example uses ids of its own, so that one server serves thousands. Ids within an example are few and collide on
purpose: repetitions, half-known chains, posts of posts and burned ids are the point. ``PAYMESH_EXAMPLES`` sets how
many histories are tried.
"""

import asyncio
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest
import tigerbeetle as tb
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from shared.db.migrations import migrate
from shared.db.pool import open_pool
from shared.ledger.batcher import TigerBeetleLedger
from shared.ledger.port import Ledger
from shared.ledger.postgres import MIGRATIONS, PostgresLedger
from tests.contract.books import AMOUNT_MAX, A, F

EXAMPLES = int(os.environ.get("PAYMESH_EXAMPLES", "40"))
ACCOUNTS = range(1, 9)
ABSENT, ID_MAX = 999, (1 << 128) - 1
FUNDS = 60

ACCOUNT = st.builds(
    tb.Account,
    id=st.one_of(st.sampled_from(ACCOUNTS), st.sampled_from([20, 21, 22, 0, ID_MAX])),
    debits_pending=st.sampled_from([0] * 15 + [1]),
    debits_posted=st.sampled_from([0] * 15 + [1]),
    credits_pending=st.sampled_from([0] * 15 + [1]),
    credits_posted=st.sampled_from([0] * 15 + [1]),
    user_data_128=st.sampled_from([0] * 5 + [1]),
    user_data_64=st.sampled_from([0] * 5 + [1]),
    user_data_32=st.sampled_from([0] * 5 + [1]),
    ledger=st.sampled_from([1] * 8 + [2, 0]),
    code=st.sampled_from([1] * 8 + [2, 0]),
    flags=st.sampled_from([A.NONE] * 6 + [A.HISTORY, A.LINKED, A.LINKED, A.CLOSED, A(2), A(4), A(6), A(1 << 7)]),
    timestamp=st.sampled_from([0] * 20 + [1]),
)
HOUSE = [
    tb.Account(id=number, ledger=ledger, code=1, flags=flags)
    for number, ledger, flags in (
        (1, 1, A.NONE),
        (2, 1, A.NONE),
        (3, 1, A.DEBITS_MUST_NOT_EXCEED_CREDITS),
        (4, 1, A.DEBITS_MUST_NOT_EXCEED_CREDITS | A.HISTORY),
        (5, 1, A.CREDITS_MUST_NOT_EXCEED_DEBITS),
        (6, 1, A.DEBITS_MUST_NOT_EXCEED_CREDITS),
        (7, 1, A.NONE),
        (8, 2, A.NONE),
    )
]
GRANTS = [
    tb.Transfer(id=900 + to, debit_account_id=by, credit_account_id=to, amount=FUNDS, ledger=1, code=1)
    for by, to in ((1, 3), (1, 4), (5, 2))
]


@dataclass(frozen=True)
class Step:
    """What an event does, in words that make sense whatever came before it.

    `which` picks the hold to resolve or the event to send again; `twist` then changes one field.
    """

    kind: str
    debit: int
    credit: int
    amount: int
    which: int
    twist: tuple[str, int] | None


@dataclass(frozen=True)
class Repeat:
    """Send an earlier chain again, byte for byte."""

    which: int


KINDS: dict[str, F] = {
    "move": F.NONE,
    "hold": F.PENDING,
    "post": F.POST_PENDING_TRANSFER,
    "void": F.VOID_PENDING_TRANSFER,
    "balance debit": F.BALANCING_DEBIT,
    "balance credit": F.BALANCING_CREDIT,
    "balance both": F.BALANCING_DEBIT | F.BALANCING_CREDIT,
    "hold the balance": F.BALANCING_DEBIT | F.PENDING,
    "close debit": F.PENDING | F.CLOSING_DEBIT,
    "close credit": F.PENDING | F.CLOSING_CREDIT,
    "close both": F.PENDING | F.CLOSING_DEBIT | F.CLOSING_CREDIT,
}
TWISTS = st.one_of(
    st.tuples(
        st.sampled_from(["debit_account_id", "credit_account_id", "pending_id"]),
        st.sampled_from([*ACCOUNTS, 0, ABSENT, ID_MAX]),
    ),
    st.tuples(st.just("id"), st.sampled_from([0, ID_MAX, 1, 2, 3, 903])),
    st.tuples(
        st.just("amount"),
        st.sampled_from([0, 1, 5, AMOUNT_MAX, AMOUNT_MAX - FUNDS, AMOUNT_MAX - FUNDS - 5, 1 << 127]),
    ),
    st.tuples(
        st.sampled_from(["user_data_128", "user_data_64", "user_data_32", "ledger", "code"]), st.sampled_from([0, 1, 2])
    ),
    st.tuples(st.just("flags"), st.one_of(st.sampled_from(list(map(int, KINDS.values()))), st.integers(0, 255))),
    st.sampled_from([("timestamp", 1), ("flags", 1 << 12), ("pending_id", 1), ("amount", 0)]),
)
STEP = st.builds(
    Step,
    kind=st.sampled_from(["move"] * 8 + ["hold"] * 6 + ["post"] * 4 + ["void"] * 4 + ["again"] * 3 + list(KINDS)[4:]),
    debit=st.sampled_from([1, 2, 3, 3, 4, 4, 5, 6, 7]),
    credit=st.sampled_from([1, 2, 3, 4, 5, 6, 6, 7, 7]),
    amount=st.sampled_from([0, 1, 2, 3, 5, 7, 8, 10, 11, 20, 30, AMOUNT_MAX]),
    which=st.integers(0, 60),
    twist=st.sampled_from([st.none()] * 7 + [TWISTS]).flatmap(lambda strategy: strategy),
)
REPEAT = st.builds(Repeat, which=st.integers(0, 40))
CHAIN = st.sampled_from([1, 1, 1, 2, 2, 3]).flatmap(lambda length: st.lists(STEP, min_size=length, max_size=length))
HISTORY = st.tuples(
    st.lists(ACCOUNT, max_size=8),
    st.lists(st.lists(st.one_of(CHAIN, CHAIN, CHAIN, REPEAT), min_size=4, max_size=10), min_size=2, max_size=5),
)


class Narrator:
    """Turns steps into events: new ids count up from 1, resolutions name holds that there are."""

    def __init__(self) -> None:
        self.numbers = count(1)
        self.chains: list[list[tb.Transfer]] = []
        self.holds: list[int] = []

    def batch(self, chains: list[list[Step] | Repeat]) -> list[tb.Transfer]:
        """Tell one batch."""
        events = []
        for chain in chains:
            if isinstance(chain, Repeat):
                events += self.chains[chain.which % len(self.chains)] if self.chains else []
                continue
            told = [self.event(step) for step in chain]
            told = [*(replace(event, flags=event.flags | F.LINKED) for event in told[:-1]), told[-1]]
            self.chains.append(told)
            events += told
        return events

    def event(self, step: Step) -> tb.Transfer:
        """Tell one event."""
        if step.kind == "again" and self.chains:
            event = self.chains[step.which % len(self.chains)][0]
        elif step.kind in ("post", "void") and self.holds:
            event = tb.Transfer(
                id=next(self.numbers),
                amount=step.amount if step.kind == "post" else 0,
                pending_id=self.holds[step.which % len(self.holds)],
                flags=KINDS[step.kind],
            )
        else:
            event = self.movement(step)
        return replace(event, **dict([step.twist] if step.twist else []))  # type: ignore[arg-type]

    def movement(self, step: Step) -> tb.Transfer:
        """Tell a plain or pending transfer; one between an account and itself becomes one from account 1 or 2."""
        debit = step.debit if step.debit != step.credit else 1 + step.credit % 2
        kind = step.kind if step.kind in KINDS else "hold"
        amount = step.amount if step.amount != AMOUNT_MAX or "balance" in kind else 7
        number = next(self.numbers)
        if KINDS[kind] & F.PENDING:
            self.holds.append(number)
        return tb.Transfer(
            id=number, debit_account_id=debit, credit_account_id=step.credit, amount=amount, ledger=1, code=1,
            user_data_128=step.which % 2, flags=KINDS[kind],
        )  # fmt: skip


class Pair:
    """Both ledgers, and the next range of ids that neither has seen."""

    def __init__(self, real: Ledger, stand_in: Ledger) -> None:
        self.real = real
        self.stand_in = stand_in
        self.base = 0

    def id(self, number: int) -> int:
        """Shift an id into the example's own range; what means something by itself stays."""
        return number if number in (0, ID_MAX) else self.base + number

    def account(self, account: tb.Account) -> tb.Account:
        """Shift an account."""
        return replace(account, id=self.id(account.id))

    def transfer(self, transfer: tb.Transfer) -> tb.Transfer:
        """Shift a transfer."""
        return replace(
            transfer,
            id=self.id(transfer.id),
            debit_account_id=self.id(transfer.debit_account_id),
            credit_account_id=self.id(transfer.credit_account_id),
            pending_id=self.id(transfer.pending_id),
        )

    async def open(self, accounts: list[tb.Account]) -> None:
        """Open accounts in both; they must say the same."""
        shifted = [self.account(account) for account in accounts]
        if not shifted:
            return
        real, stand_in = await asyncio.gather(
            self.real.create_accounts(shifted), self.stand_in.create_accounts(shifted)
        )
        assert [each.status for each in real] == [each.status for each in stand_in]

    async def send(self, transfers: list[tb.Transfer]) -> None:
        """Submit to both; they must say the same, and leave the same books behind."""
        shifted = [self.transfer(transfer) for transfer in transfers]
        real, stand_in = await asyncio.gather(
            self.real.create_transfers(shifted), self.stand_in.create_transfers(shifted)
        )
        assert [each.status for each in real] == [each.status for each in stand_in]
        assert _order(real) == _order(stand_in)
        await self.compare()

    async def compare(self) -> None:
        """Compare balances, flags and every transfer, field by field; clocks differ, their order does not."""
        accounts = [self.id(number) for number in (*ACCOUNTS, 20, 21, 22)]
        transfers = [self.id(number) for number in (*range(1, 201), *range(900, 910))]
        found = await asyncio.gather(
            *(ledger.lookup_accounts(accounts) for ledger in (self.real, self.stand_in)),
        )
        assert _timeless(found[0]) == _timeless(found[1])
        books = await asyncio.gather(
            *(ledger.lookup_transfers(transfers) for ledger in (self.real, self.stand_in)),
        )
        assert _timeless(books[0]) == _timeless(books[1])
        assert _order(books[0]) == _order(books[1])


def _timeless(entries: list[Any]) -> list[Any]:
    return [replace(entry, timestamp=0) for entry in entries]


def _order(entries: list[Any]) -> list[int]:
    return sorted(range(len(entries)), key=lambda place: entries[place].timestamp)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all examples: Hypothesis itself is synchronous."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.mark.tigerbeetle
@pytest.mark.slow
@pytest.mark.timeout(60 + EXAMPLES)
def test_any_history_has_the_same_outcome_in_both(
    runner: asyncio.Runner, database: str, tigerbeetle_addresses: str
) -> None:
    """Statuses, balances, flags, transfers and their order, after every batch of every history."""
    bases = count(secrets.randbits(90) << 32, 1 << 16)

    async def opened() -> tuple[TigerBeetleLedger, PostgresLedger]:
        await migrate(database, directory=MIGRATIONS)
        pool = await open_pool(database, min_size=1, max_size=2, application_name="test")
        return TigerBeetleLedger(tigerbeetle_addresses), PostgresLedger(pool)

    real, stand_in = runner.run(opened())
    pair = Pair(real, stand_in)

    async def play(accounts: list[tb.Account], batches: list[list[list[Step] | Repeat]]) -> None:
        pair.base = next(bases)
        await pair.open(HOUSE)
        await pair.open(accounts)
        await pair.send(GRANTS)
        narrator = Narrator()
        for chains in batches:
            await pair.send(narrator.batch(chains))

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(HISTORY)
    def histories(history: tuple[list[tb.Account], list[list[list[Step] | Repeat]]]) -> None:
        runner.run(play(*history))

    try:
        histories()
    finally:
        runner.run(real.close())
        runner.run(stand_in.close())
        runner.run(stand_in._pool.close())
