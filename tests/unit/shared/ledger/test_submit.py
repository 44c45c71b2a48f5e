"""Submission: what the algebra says is carried out, and what a look-up finds is not taken on trust."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest
import tigerbeetle as tb
from tigerbeetle import CreateTransferStatus as Status

from shared.errors import InvariantViolation
from shared.ids import IntentId, Phase
from shared.ledger.chain import build_chain, build_post
from shared.ledger.outcome import ChainOutcome
from shared.ledger.port import Ledger
from shared.ledger.submit import Chain, Outcome, burn_attempt, submit_chains
from shared.plans import Leg

INTENT = IntentId(UUID("0198c1f2-0001-7abc-8def-0123450a0000"))
LEGS = (Leg("user:alice:THB", "transit:THB", 5, 101), Leg("transit:THB", "user:bob:THB", 5, 102))
CHAIN = build_chain(INTENT, 1, Phase.MOVE, LEGS)
KNOWN = [Status.EXISTS, Status.LINKED_EVENT_FAILED]


class Books:
    """A ledger that answers what it is told to and shows the transfers it is given."""

    def __init__(self, statuses: list[Status], transfers: list[tb.Transfer] | None = None) -> None:
        self.statuses = statuses
        self.transfers = transfers or []
        self.submitted: list[tb.Transfer] = []
        self.look_ups: list[list[int]] = []

    async def create_transfers(self, transfers: list[tb.Transfer]) -> list[tb.CreateTransferResult]:
        """Answer."""
        self.submitted += transfers
        return [tb.CreateTransferResult(10 + place, status) for place, status in enumerate(self.statuses)]

    async def lookup_transfers(self, transfers: list[int]) -> list[tb.Transfer]:
        """Show."""
        self.look_ups.append(transfers)
        return [transfer for transfer in self.transfers if transfer.id in transfers]


async def _submit(books: Books, chains: Sequence[Chain]) -> list[Outcome]:
    return await submit_chains(cast("Ledger", books), chains)


async def _burn(books: Books, first: tb.Transfer) -> ChainOutcome:
    return await burn_attempt(cast("Ledger", books), first)


def _booked(chain: list[tb.Transfer]) -> list[tb.Transfer]:
    return [replace(transfer, timestamp=70 + leg) for leg, transfer in enumerate(chain)]


async def test_a_fresh_chain_is_done_without_a_look_up() -> None:
    """The usual case costs one request; the time is the last leg's."""
    books = Books([Status.CREATED, Status.CREATED])
    (outcome,) = await _submit(books, [CHAIN])
    assert outcome.done
    assert outcome.timestamp_ns == 11
    assert books.look_ups == []


async def test_known_chains_are_confirmed_by_one_look_up_for_all_of_them() -> None:
    """Two known, one new, one declined: one request and one look-up."""
    intents = [IntentId(UUID(int=INTENT.int + (n << 24))) for n in range(4)]
    chains = [build_chain(intent, 1, Phase.MOVE, LEGS) for intent in intents]
    declined = [Status.EXCEEDS_CREDITS, Status.LINKED_EVENT_FAILED]
    books = Books(
        [*KNOWN, Status.CREATED, Status.CREATED, *declined, *KNOWN], [*_booked(chains[0]), *_booked(chains[3])]
    )
    outcomes = await _submit(books, chains)
    assert [outcome.verdict.outcome for outcome in outcomes] == [
        ChainOutcome.DONE,
        ChainOutcome.DONE,
        ChainOutcome.DECLINED,
        ChainOutcome.DONE,
    ]
    assert [outcome.timestamp_ns for outcome in outcomes] == [71, 13, None, 71]
    assert books.look_ups == [[transfer.id for chain in (chains[0], chains[3]) for transfer in chain]]


async def test_a_known_chain_with_a_leg_missing_is_a_violation() -> None:
    """The first leg alone proves nothing about the others."""
    books = Books(KNOWN, _booked(CHAIN)[:1])
    with pytest.raises(InvariantViolation, match="leg 1 does not"):
        await _submit(books, [CHAIN])


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 6},
        {"debit_account_id": 1},
        {"credit_account_id": 1},
        {"code": 9},
        {"ledger": 9},
        {"user_data_128": 9},
        {"flags": tb.TransferFlags.PENDING},
        {"pending_id": 9},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_known_chain_with_other_contents_is_a_violation(change: dict[str, Any]) -> None:
    """The ledger compares the first leg only; the others are ours to compare."""
    first, second = _booked(CHAIN)
    books = Books(KNOWN, [first, replace(second, **change)])
    with pytest.raises(InvariantViolation, match="other contents"):
        await _submit(books, [CHAIN])


async def test_a_known_post_may_take_from_its_hold_what_it_left_out() -> None:
    """The books show the hold's accounts, ledger and code; the plan names only the hold."""
    post = build_post(INTENT, 1, [11, 12], [5, 5])
    booked = [replace(leg, debit_account_id=1, credit_account_id=2, ledger=764, code=101) for leg in _booked(post)]
    (outcome,) = await _submit(Books(KNOWN, booked), [post])
    assert outcome.done
    foreign = [booked[0], replace(booked[1], pending_id=13)]
    with pytest.raises(InvariantViolation, match="other contents"):
        await _submit(Books(KNOWN, foreign), [post])
    short = [booked[0], replace(booked[1], amount=4)]
    with pytest.raises(InvariantViolation, match="other contents"):
        await _submit(Books(KNOWN, short), [post])


async def test_a_contradiction_names_the_intent() -> None:
    """The message is all that the person on call has."""
    books = Books([Status.EXISTS_WITH_DIFFERENT_AMOUNT, Status.LINKED_EVENT_FAILED])
    with pytest.raises(InvariantViolation, match=str(INTENT)):
        await _submit(books, [CHAIN])


async def test_a_short_reply_is_a_violation() -> None:
    """Answers are matched by position."""
    with pytest.raises(InvariantViolation):
        await _submit(Books([Status.CREATED]), [CHAIN])


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (Status.DEBIT_ACCOUNT_NOT_FOUND, ChainOutcome.BURNED),
        (Status.ID_ALREADY_FAILED, ChainOutcome.BURNED),
        (Status.EXISTS_WITH_DIFFERENT_FLAGS, ChainOutcome.HAD_COMMITTED),
    ],
)
async def test_a_burn_says_whether_the_attempt_had_committed(status: Status, outcome: ChainOutcome) -> None:
    """Either it can never happen any more, or it had happened."""
    books = Books([status])
    assert await _burn(books, CHAIN[0]) is outcome
    assert [transfer.id for transfer in books.submitted] == [CHAIN[0].id]


async def test_a_burn_that_moved_money_is_a_violation() -> None:
    """The accounts of a burn must not exist."""
    with pytest.raises(InvariantViolation):
        await _burn(Books([Status.CREATED]), CHAIN[0])
