"""Chains into the ledger: many intents in as few requests as possible, each answered by what became of it.

Both functions may be called again with the same input, by anybody, at any time. This module must never decide what
a status means; that is `shared.ledger.outcome`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import tigerbeetle as tb

from shared.errors import require, violated
from shared.ids import Phase, split_transfer_id
from shared.ledger.chain import burn
from shared.ledger.outcome import ChainOutcome, Verdict, chain_outcome
from shared.ledger.port import Ledger

Chain = Sequence[tb.Transfer]
"""The transfers of one phase of one attempt, as built by `shared.ledger.chain`."""

_VOID = int(tb.TransferFlags.VOID_PENDING_TRANSFER)
_POST_OR_VOID = _VOID | int(tb.TransferFlags.POST_PENDING_TRANSFER)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a chain: never CONFIRM, which has been looked up, nor UNKNOWN, which is raised.

    `timestamp_ns` is when its last leg entered the books (the ledger's clock, ns since the epoch) where it is done.
    """

    verdict: Verdict
    timestamp_ns: int | None = None

    @property
    def done(self) -> bool:
        """Whether every leg is in the books."""
        return self.verdict.outcome is ChainOutcome.DONE


async def submit_chains(ledger: Ledger, chains: Sequence[Chain]) -> list[Outcome]:
    """Submit chains and say what became of each, in order.

    Chains that the ledger knows already are confirmed by one look-up for all of them.

    Raises:
        OutcomeUnknown: no answer; submit the same again.
        InvariantViolation: an answer contradicts the books; the chains of the others have been submitted too.
    """
    results = await ledger.create_transfers([transfer for chain in chains for transfer in chain])
    answers = _by_chain(chains, results)
    verdicts = [_verdict(chain, answer) for chain, answer in zip(chains, answers, strict=True)]
    outcomes = [
        Outcome(verdict, answer[-1].timestamp if verdict.outcome is ChainOutcome.DONE else None)
        for verdict, answer in zip(verdicts, answers, strict=True)
    ]
    known = [index for index, verdict in enumerate(verdicts) if verdict.outcome is ChainOutcome.CONFIRM]
    if known:
        times = await _confirm(ledger, [chains[index] for index in known])
        for index, timestamp_ns in zip(known, times, strict=True):
            outcomes[index] = Outcome(Verdict(ChainOutcome.DONE), timestamp_ns)
    return outcomes


async def burn_attempt(ledger: Ledger, first: tb.Transfer) -> ChainOutcome:
    """Make sure that the chain that starts with `first` never happens; return BURNED or HAD_COMMITTED.

    Raises:
        OutcomeUnknown: no answer; burn again.
        InvariantViolation: the answer contradicts the books.
    """
    results = await ledger.create_transfers([burn(first)])
    subject = split_transfer_id(first.id)[0]
    return chain_outcome(Phase.BURN, [result.status for result in results], subject=subject).outcome


def _verdict(chain: Chain, answer: Sequence[tb.CreateTransferResult]) -> Verdict:
    intent, _, phase, _ = split_transfer_id(chain[0].id)
    return chain_outcome(phase, [result.status for result in answer], subject=intent)


def _by_chain(chains: Sequence[Chain], results: list[tb.CreateTransferResult]) -> list[list[tb.CreateTransferResult]]:
    require(len(results) == sum(map(len, chains)), "the ledger answered fewer or more events than it was given")
    answers: list[list[tb.CreateTransferResult]] = []
    start = 0
    for chain in chains:
        answers.append(results[start : start + len(chain)])
        start += len(chain)
    return answers


async def _confirm(ledger: Ledger, chains: Sequence[Chain]) -> list[int]:
    """Find every leg of the chains in the books, as planned; return when each chain's last leg entered them."""
    found = await ledger.lookup_transfers([transfer.id for chain in chains for transfer in chain])
    books = {transfer.id: transfer for transfer in found}
    for chain in chains:
        for leg, planned in enumerate(chain):
            booked = books.get(planned.id)
            if booked is None:
                violated(f"transfer {planned.id:#034x}: the chain's first leg exists, leg {leg} does not")
            if not _as_planned(planned, booked):
                violated(f"transfer {planned.id:#034x} is in the books with other contents")
    return [books[chain[-1].id].timestamp for chain in chains]


def _as_planned(planned: tb.Transfer, booked: tb.Transfer) -> bool:
    """Compare what the ledger itself did not: it stops at the chain's first leg.

    A post or void leaves accounts, ledger and code to the hold, and a void's amount of 0 means all of it.
    """
    if (
        planned.flags != booked.flags
        or planned.pending_id != booked.pending_id
        or planned.user_data_128 != booked.user_data_128
    ):
        return False
    flags = int(planned.flags)
    if not flags & _VOID and planned.amount != booked.amount:
        return False
    return bool(flags & _POST_OR_VOID) or (
        planned.debit_account_id == booked.debit_account_id
        and planned.credit_account_id == booked.credit_account_id
        and planned.ledger == booked.ledger
        and planned.code == booked.code
    )
