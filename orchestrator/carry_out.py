"""Carrying plans out: the first chain of every VALIDATED intent into the ledger, and what became of it into the log.

Used for intents as they are accepted, for those that the sweeper resumes, and for the children that a PSP's payment
opens. Whatever is carried out twice, by anybody, ends the same. This module must never conclude anything from an
absence.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from orchestrator.metrics import IntakeMetrics
from orchestrator.records import Allowance, Held, Job, Movement, Record, Stored, read_intents, record_decisions
from orchestrator.saga import decide
from shared.contracts import Action, JobMessage
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import violated
from shared.ledger.chain import id_of_account
from shared.ledger.limits import LimitAccounts, id_of_limit, used_of
from shared.ledger.outcome import ChainOutcome
from shared.ledger.planned import first_chain, refused_limit
from shared.ledger.port import Ledger
from shared.ledger.submit import Chain, Outcome, submit_chains
from shared.plans import Leg, LimitUse, Plan, PlanKind
from shared.psp import Manifest
from shared.rules.refusals import Refusal, limit_refusal
from shared.states import IntentState

DEADLINE_S: Final = 60
"""When to ask a PSP first whose manifest, or its word on the operation, has been withdrawn meanwhile."""

States = dict[UUID, IntentState | None]


class CarryOut:
    """Moves, holds or asks, as the stored plans say."""

    def __init__(
        self,
        *,
        pool: Pool,
        ledger: Ledger,
        metrics: IntakeMetrics,
        epoch: Callable[[UUID], str],
        manifest: Callable[[str], Manifest | None],
        poke: Callable[[str], None],
    ) -> None:
        """Put it together.

        Args:
            pool: the log.
            ledger: the books.
            metrics: what it counts.
            epoch: of the mesh, for the job of an intent.
            manifest: what a PSP promises, by its id.
            poke: wakes the relay of a PSP once there is a job for it.
        """
        self._pool = pool
        self._ledger = ledger
        self._limits = LimitAccounts(ledger=ledger)
        self._metrics = metrics
        self._epoch = epoch
        self._manifest = manifest
        self._poke = poke

    async def __call__(self, stored: Iterable[Stored]) -> States:
        """Carry out every intent that is only planned; return each intent's state, None where undecided.

        Raises:
            Transient, OutcomeUnknown: a store was out of reach; carry out again.
            InvariantViolation: the books contradict themselves.
        """
        rows = list(stored)
        states: States = {row.id: row.state for row in rows}
        planned = [row for row in rows if row.state is IntentState.VALIDATED]
        if not planned:
            return states
        chains = [first_chain(row.id, row.attempt, _plan(row)) for row in planned]
        outcomes = await self._submit(planned, chains)
        refusals = await self._limits_refused(planned, outcomes)
        records = [
            self._record(row, chain, outcome, refusals.get(row.id))
            for row, chain, outcome in zip(planned, chains, outcomes, strict=True)
        ]
        with database():
            taken = await record_decisions(self._pool, records)
        for record in records:
            state = record.decision.state
            self._metrics.decided(state, record.decision.error_code)
            states[record.stored.id] = state if record.stored.id in taken else None
        for psp in {record.job.psp for record in records if record.job is not None}:
            self._poke(psp)
        lost = [record for record in records if record.stored.id not in taken]
        if lost:
            states |= await self._read_again(lost)
        return states

    async def _submit(self, planned: Sequence[Stored], chains: Sequence[Chain]) -> list[Outcome | None]:
        """Submit the chains that are not empty, once every allowance that they use stands."""
        await self._limits.ensure(use.account for row in planned for use in _plan(row).limits)
        moving = [chain for chain in chains if chain]
        outcomes = iter(await submit_chains(self._ledger, moving) if moving else ())
        return [next(outcomes) if chain else None for chain in chains]

    async def _limits_refused(
        self, planned: Sequence[Stored], outcomes: Sequence[Outcome | None]
    ) -> dict[UUID, Refusal]:
        """Return which limit refused whom, and what is left of it by the ledger's word."""
        refused = {row.id: use for row, outcome in zip(planned, outcomes, strict=True) if (use := _limit(row, outcome))}
        if not refused:
            return {}
        accounts = await self._ledger.lookup_accounts(sorted({id_of_limit(use.account) for use in refused.values()}))
        used = {account.id: used_of(account) for account in accounts}
        return {
            intent: limit_refusal(use, use.account.split(":")[3], left=max(use.cap - used[id_of_limit(use.account)], 0))
            for intent, use in refused.items()
        }

    def _record(self, row: Stored, chain: Chain, outcome: Outcome | None, refusal: Refusal | None) -> Record:
        plan = _plan(row)
        decision = decide(row.state, plan.kind, outcome.verdict if outcome is not None else None)
        if refusal is not None:
            decision = replace(
                decision, error_code=refusal.code, error_detail=refusal.detail, error_data=refusal.data_json
            )
        if decision.state is IntentState.REJECTED:
            return Record(row, decision)
        if plan.kind is PlanKind.MOVE:
            moved = movements(plan.legs, chain[: len(plan.legs)], _at(row, outcome))
            return Record(row, decision, movements=moved, allowances=allowances(plan, used=1))
        job, deadline_s = self._job(row, plan)
        held = holds(plan.legs, 1) if plan.kind is PlanKind.HOLD else ()
        reserved = allowances(plan, reserved=1)
        return Record(row, decision, holds=held, allowances=reserved, job=job, next_poll_s=deadline_s)

    def _job(self, row: Stored, plan: Plan) -> tuple[Job, float]:
        asked = plan.dispatch
        if asked is None:
            violated(f"intent {row.id} is to be {plan.kind} without a PSP")
        job = JobMessage(
            psp=asked.psp,
            intent_id=str(row.id),
            attempt=row.attempt,
            operation=asked.operation,
            action=Action.SUBMIT,
            reference=asked.reference,
            amount_minor=asked.amount_minor,
            currency=asked.currency,
            created_ms=0,  # dated by the database as it is written
            epoch=self._epoch(row.id),
            destination=dict(asked.destination),
            test_scenario=asked.test_scenario,
        )
        manifest = self._manifest(asked.psp)
        rules = manifest.operations.get(asked.operation) if manifest is not None else None
        return Job(asked.psp, job.model_dump_json()), rules.deadline_s if rules is not None else DEADLINE_S

    async def _read_again(self, lost: Sequence[Record]) -> States:
        """Look at intents that somebody else decided meanwhile: the ledger told us both the same, or the books lie."""
        with database():
            rows = await read_intents(self._pool, [record.stored.id for record in lost])
        states: States = {}
        for record in lost:
            self._metrics.lost_race()
            now = rows[record.stored.id][0]
            if now.state is IntentState.VALIDATED:
                states[record.stored.id] = None
                continue
            if now.attempt == record.stored.attempt and not _agree(record, now.state):
                violated(f"intent {record.stored.id} is {now.state}, yet its chain says {record.decision.state}")
            states[record.stored.id] = now.state
        return states


def _agree(record: Record, state: IntentState) -> bool:
    """Say whether another's decision, and whatever followed it, goes with what the ledger told us."""
    if _plan(record.stored).kind is PlanKind.MOVE:
        return state is record.decision.state
    return (state is IntentState.REJECTED) == (record.decision.state is IntentState.REJECTED)


def _at(row: Stored, outcome: Outcome | None) -> datetime:
    if outcome is None or outcome.timestamp_ns is None:
        violated(f"intent {row.id} moved at no time")
    return booked_at(outcome.timestamp_ns)


def _plan(row: Stored) -> Plan:
    return row.plan if row.plan is not None else violated(f"intent {row.id} is VALIDATED without a plan")


def movements(
    legs: Sequence[Leg], chain: Chain, at: datetime, amounts: Sequence[int] | None = None
) -> tuple[Movement, ...]:
    """Return what a chain that is in the books did to customer accounts.

    Args:
        legs: as planned; the transfers of a post name no accounts.
        chain: the transfers, one a leg.
        at: when they entered the books.
        amounts: one a leg, where they are not those planned.
    """
    moved = amounts if amounts is not None else [leg.amount_minor for leg in legs]
    return tuple(
        Movement(UUID(int=id_of_account(name)), UUID(int=transfer.id), sign * amount, leg.code, at)
        for leg, transfer, amount in zip(legs, chain, moved, strict=True)
        for name, sign in ((leg.debit, -1), (leg.credit, 1))
        if _is_customer(name)
    )


def holds(legs: Sequence[Leg], sign: int) -> tuple[Held, ...]:
    """Return how much more (1) or less (-1) is held of the customer accounts that pay."""
    return tuple(
        Held(UUID(int=id_of_account(leg.debit)), sign * leg.amount_minor) for leg in legs if _is_customer(leg.debit)
    )


def allowances(
    plan: Plan, *, used: int = 0, reserved: int = 0, units: Sequence[int] | None = None
) -> tuple[Allowance, ...]:
    """Return what a decision does to the allowances of a plan.

    Args:
        plan: with its limits.
        used: 1 where what it planned, or `units` instead, is used up.
        reserved: 1 where what it planned is reserved, -1 where it is no longer.
        units: one a limit, where they are not those planned.
    """
    spent = units if units is not None else [use.units for use in plan.limits]
    return tuple(
        Allowance(
            UUID(int=id_of_limit(use.account)),
            use.account,
            used * count,
            reserved * use.units,
            datetime.fromtimestamp(use.resets_ms / 1000, UTC),
        )
        for use, count in zip(plan.limits, spent, strict=True)
    )


def _limit(row: Stored, outcome: Outcome | None) -> LimitUse | None:
    """Return the limit that refused a chain, if it was one: its leg found too little left, then or before."""
    if outcome is None or outcome.verdict.outcome is not ChainOutcome.DECLINED or outcome.verdict.leg is None:
        return None
    index = refused_limit(_plan(row), outcome.verdict.leg)
    if index is None:
        return None
    if outcome.verdict.code not in ("insufficient_funds", "attempt_burned"):
        violated(f"intent {row.id}: a limit refused it as {outcome.verdict.code}")
    return _plan(row).limits[index]


def booked_at(timestamp_ns: int) -> datetime:
    """Return a time of the ledger's clock."""
    return datetime.fromtimestamp(timestamp_ns / 1e9, UTC)


def _is_customer(name: str) -> bool:
    return name.startswith(("user:", "merchant:"))
