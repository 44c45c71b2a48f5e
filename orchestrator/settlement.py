"""Resolutions into the ledger: what is held is posted or voided, what was paid is credited, and the intent ends.

A stored resolution is carried out by whoever finds it, byte for byte, any number of times. Where the ledger refuses
it, no state changes and somebody is told: a post or void goes on under fresh ids at the next word of the PSP, while
money that came in is kept in suspense. This module must never decide what a PSP's word means.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import tigerbeetle as tb

from orchestrator.carry_out import allowances, booked_at, holds, movements
from orchestrator.cases import Known, Resolution
from orchestrator.records import NEVER_S, Record
from orchestrator.resolve import Alert, Direction
from orchestrator.saga import Decision, expired, failed, settled
from shared.errors import violated
from shared.ledger.chain import id_of_account
from shared.ledger.outcome import ChainOutcome
from shared.ledger.planned import closing_chain, leg_amounts, limit_units, paid_legs, release_chain
from shared.ledger.port import Ledger
from shared.ledger.submit import Chain, Outcome, submit_chains
from shared.plans import CREDIT_REFUSED, PlanKind
from shared.states import Funds, IntentState


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one resolution.

    Attributes:
        record: the decision to write; None where the ledger refused and nothing changes for now.
        alert: what somebody has to look at.
        to_suspense: which way money went at the PSP that no wallet was credited or charged for.
        burnt: the transfers' ids can never be used again.
    """

    known: Known
    resolution: Resolution
    record: Record | None
    alert: Alert | None = None
    to_suspense: Direction | None = None
    burnt: bool = False


async def carry_out_resolutions(ledger: Ledger, standing: Sequence[tuple[Known, Resolution]]) -> list[Settled]:
    """Carry resolutions of open intents out, all of them in one request, and say what became of each, in order.

    Raises:
        OutcomeUnknown: no answer from the ledger; carry out again.
        InvariantViolation: the books contradict themselves.
    """
    closed = await _closed_accounts(ledger, standing)
    chains = [() if closed & _accounts(known) else _chain(known, resolution) for known, resolution in standing]
    outcomes = iter(await submit_chains(ledger, [chain for chain in chains if chain]))
    settled_ones: list[Settled] = []
    for (known, resolution), chain in zip(standing, chains, strict=True):
        if chain:
            settled_ones.append(_settled(known, resolution, chain, next(outcomes)))
        elif resolution.kind == "close":
            settled_ones.append(_closed(known, resolution))
        else:
            settled_ones.append(_refused(known, resolution, burnt=False))
    return await _with_limits(ledger, settled_ones)


async def _with_limits(ledger: Ledger, settled_ones: Sequence[Settled]) -> list[Settled]:
    """Use up or give back what money in had reserved of its limits, once the money is where it belongs.

    What the ledger refuses here changes nothing about the money: somebody is told, and the allowance stays reserved.
    """
    chains = [_release(done) for done in settled_ones]
    reserved = [chain for chain in chains if chain]
    outcomes = iter(await submit_chains(ledger, reserved) if reserved else ())
    told = [
        replace(done, alert=_alert(done.known, "limit_refused"))
        if chain and next(outcomes).verdict.outcome is ChainOutcome.STUCK and done.alert is None
        else done
        for done, chain in zip(settled_ones, chains, strict=True)
    ]
    return [replace(done, record=_with_allowances(done, done.record)) if done.record else done for done in told]


def _with_allowances(done: Settled, record: Record) -> Record:
    """Add what the end of an intent does to what it had reserved of its limits."""
    plan = done.known.plan
    if record.decision.state is not IntentState.SETTLED:
        return replace(record, allowances=allowances(plan, reserved=-1))
    paid = done.resolution.amount_minor
    units = limit_units(plan, paid) if paid is not None else None
    return replace(record, allowances=allowances(plan, used=1, reserved=-1, units=units))


async def _closed_accounts(ledger: Ledger, standing: Sequence[tuple[Known, Resolution]]) -> frozenset[int]:
    """Look at the accounts of what was refused before: each refusal costs an id, of which there are few."""
    suspects = {
        account
        for known, resolution in standing
        if resolution.ledger_attempt > known.stored.attempt
        for account in _accounts(known)
    }
    if not suspects:
        return frozenset()
    accounts = await ledger.lookup_accounts(sorted(suspects))
    return frozenset(account.id for account in accounts if account.flags & tb.AccountFlags.CLOSED)


def _accounts(known: Known) -> frozenset[int]:
    return frozenset(id_of_account(name) for leg in known.plan.legs for name in (leg.debit, leg.credit))


def _refused(known: Known, resolution: Resolution, *, burnt: bool) -> Settled:
    return Settled(known, resolution, None, _alert(known, f"{resolution.kind}_refused"), burnt=burnt)


def _chain(known: Known, resolution: Resolution) -> Chain:
    """Build the transfers of a resolution: none for money that was never here."""
    return closing_chain(
        known.stored.id,
        known.stored.attempt,
        known.plan,
        kind=resolution.kind,
        amount_minor=resolution.amount_minor,
        number=resolution.ledger_attempt,
    )


def _release(done: Settled) -> Chain:
    """Build the transfers that end what was reserved of limits: used up for what was paid, or else given back."""
    known, resolution = done.known, done.resolution
    if done.record is None or known.plan.kind is not PlanKind.CREDIT:
        return ()
    settles = done.record.decision.state is IntentState.SETTLED
    return release_chain(
        known.stored.id,
        known.stored.attempt,
        known.plan,
        paid_minor=_amount(known, resolution) if settles else None,
        number=resolution.ledger_attempt,
    )


def _settled(known: Known, resolution: Resolution, chain: Chain, outcome: Outcome) -> Settled:
    state, verdict = known.stored.state, outcome.verdict
    match verdict.outcome, resolution.kind:
        case (ChainOutcome.DONE, _) | (ChainOutcome.ALREADY_POSTED, "post") | (ChainOutcome.ALREADY_VOIDED, "void"):
            return Settled(known, resolution, _done(known, resolution, chain, outcome))
        case ChainOutcome.ALREADY_POSTED, "void":
            return Settled(known, resolution, _posted(known, chain), _alert(known, "posted_though_to_be_voided"))
        case ChainOutcome.ALREADY_VOIDED, "post":
            decision = failed(state, verdict.code or "hold_already_voided")
            record = Record(known.stored, decision, holds=holds(known.plan.legs, -1), next_poll_s=NEVER_S)
            return Settled(known, resolution, record, _alert(known, "voided_though_paid"), to_suspense="out")
        case ChainOutcome.STUCK, "credit":
            decision = failed(state, CREDIT_REFUSED, funds=Funds.UNKNOWN)
            record = Record(known.stored, decision, next_poll_s=NEVER_S)
            return Settled(known, resolution, record, _alert(known, CREDIT_REFUSED), to_suspense="in")
        case ChainOutcome.STUCK, _:
            return _refused(known, resolution, burnt=True)
        case unexpected:
            return violated(f"intent {known.stored.id}: a resolution cannot end {unexpected}")


def _done(known: Known, resolution: Resolution, chain: Chain, outcome: Outcome) -> Record:
    stored, legs = known.stored, known.plan.legs
    released = holds(legs, -1) if known.plan.kind is PlanKind.HOLD else ()
    if resolution.state is not IntentState.SETTLED:
        decision = failed(stored.state, resolution.code or violated(f"intent {stored.id} fails without a reason"))
        return Record(stored, decision, holds=released, next_poll_s=NEVER_S)
    amount = _amount(known, resolution)
    # Posted under other ids, which only an operator can have done: the read model follows, dated by the intent.
    at = booked_at(outcome.timestamp_ns) if outcome.timestamp_ns is not None else known.created_at
    if known.plan.kind is PlanKind.CREDIT:
        moved = movements(paid_legs(known.plan, amount), chain, at)
    else:
        moved = movements(legs, chain[: len(legs)], at, leg_amounts(known.plan, amount))
    return Record(stored, settled(stored.state), movements=moved, holds=released, next_poll_s=NEVER_S)


def _posted(known: Known, chain: Chain) -> Record:
    """Follow a post under other ids, which only an operator can have made: as planned, and dated by the intent."""
    legs = known.plan.legs
    return Record(
        known.stored,
        settled(known.stored.state),
        movements=movements(legs, chain[: len(legs)], known.created_at),
        holds=holds(legs, -1),
        next_poll_s=NEVER_S,
    )


def _closed(known: Known, resolution: Resolution) -> Settled:
    code = resolution.code or violated(f"intent {known.stored.id} is closed without a reason")
    state = known.stored.state
    decision: Decision = expired(state, code) if resolution.state is IntentState.EXPIRED else failed(state, code)
    return Settled(known, resolution, Record(known.stored, decision, next_poll_s=NEVER_S))


def _amount(known: Known, resolution: Resolution) -> int:
    amount = resolution.amount_minor
    return amount if amount is not None else violated(f"intent {known.stored.id} settles for no amount")


def _alert(known: Known, kind: str) -> Alert:
    return Alert(kind, f"{known.dispatch.psp}:{known.stored.id}")
