"""The intake: one batch of `intents.{iN}` entries, from bytes to a verdict for each.

::

    decode → open accounts → plan (pure) → PG 1: plans in → ledger: chains → PG 2: decisions in → verdicts

Each arrow may be repeated: a redelivered batch finds the plans it stored, resubmits them byte for byte, hears that
they exist, and records nothing twice. A batch that meets a store out of reach raises and is handed back whole. This
module must never conclude anything from an absence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from orchestrator.accounts import OpenAccounts, open_accounts
from orchestrator.metrics import IntakeMetrics
from orchestrator.plan import Plan, plan_operation
from orchestrator.records import Draft, Movement, Record, Stored, read_intents, record_decisions, record_drafts
from orchestrator.route_register import RouteRegister
from orchestrator.saga import decide
from shared.accounts import Account, parse_account
from shared.contracts import (
    Envelope,
    IntentMessage,
    MalformedMessage,
    NewerVersion,
    OpenAccountMessage,
    ResumeMessage,
    read_body,
    read_envelope,
)
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import BadInput, violated
from shared.ids import IntentId, Phase, parse_intent_id, partition_of
from shared.ledger.chain import build_chain
from shared.ledger.port import Ledger
from shared.ledger.submit import Chain, Outcome, submit_chains
from shared.states import TERMINAL, IntentState
from shared.streams import keys
from shared.streams.verdicts import DeadLetter, Done, Entry, HandBack, Verdict


@dataclass(slots=True)
class _Batch:
    """What a batch asks for, by the position of its entry, and what has become of each."""

    verdicts: list[Verdict | None]
    intents: dict[int, tuple[IntentId, IntentMessage]] = field(default_factory=dict)
    resumes: dict[int, IntentId] = field(default_factory=dict)
    accounts: dict[int, tuple[IntentId, Account, OpenAccountMessage]] = field(default_factory=dict)


class Intake:
    """The handler of the intents streams; keeps nothing between batches but what is known to be open."""

    def __init__(
        self, *, pool: Pool, ledger: Ledger, routes: RouteRegister, known: OpenAccounts, metrics: IntakeMetrics
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._routes = routes
        self._known = known
        self._metrics = metrics

    async def __call__(self, entries: Sequence[Entry]) -> list[Verdict]:
        """Carry a batch through, and say what is to be done with each entry.

        Raises:
            Transient, OutcomeUnknown: a store was out of reach; nothing is lost by handing the batch back.
            InvariantViolation: the books contradict themselves.
        """
        batch = _decode(entries)
        await open_accounts(
            self._ledger,
            self._pool,
            self._known,
            [(account, message.service_key) for _, account, message in batch.accounts.values()],
        )
        for position, (request, account, asked) in batch.accounts.items():
            batch.verdicts[position] = Done(
                delete=(_marker(request),), publish=_hint(account.name, "OPEN", asked.waiter)
            )
        with database():
            stored = await record_drafts(self._pool, await self._drafts(batch))
            resumed = await read_intents(self._pool, list(batch.resumes.values())) if batch.resumes else {}
        stored |= {intent: row[0] for intent, row in resumed.items()}
        states = await self._carry_out(stored)
        for position, (intent, message) in batch.intents.items():
            batch.verdicts[position] = _finished(intent, states[intent], message.waiter)
        for position, intent in batch.resumes.items():
            batch.verdicts[position] = _resumed(intent, states.get(intent))
        return [verdict or violated("an entry without a verdict") for verdict in batch.verdicts]

    async def _drafts(self, batch: _Batch) -> list[Draft]:
        """Plan every intent of the batch; an id that stands twice in it is planned once."""
        intents: dict[IntentId, IntentMessage] = {}
        for intent, message in batch.intents.values():
            known_as = intents.setdefault(intent, message)
            if known_as is not message and known_as != message:
                violated(f"intent {intent} is already in use for another request")
        known = await self._known.look_up(name for message in intents.values() for name in _accounts_named(message))
        routes = self._routes.routes
        return [
            Draft(intent, message, plan_operation(message.operation, routes=routes, is_open=known.__contains__))
            for intent, message in intents.items()
        ]

    async def _carry_out(self, stored: dict[UUID, Stored]) -> dict[UUID, IntentState | None]:
        """Move the money of every intent that is only planned; return each intent's state, None where undecided."""
        states: dict[UUID, IntentState | None] = {intent: row.state for intent, row in stored.items()}
        planned = [row for row in stored.values() if row.state is IntentState.VALIDATED]
        if not planned:
            return states
        chains = [build_chain(row.id, row.attempt, Phase.MOVE, _plan(row).legs) for row in planned]
        outcomes = await submit_chains(self._ledger, chains)
        records = [_record(*told) for told in zip(planned, chains, outcomes, strict=True)]
        with database():
            taken = await record_decisions(self._pool, records)
        for record in records:
            state = record.decision.state
            self._metrics.decided(state, record.decision.error_code)
            states[record.stored.id] = state if record.stored.id in taken else None
        lost = [record for record in records if record.stored.id not in taken]
        if lost:
            states |= await self._read_again(lost)
        return states

    async def _read_again(self, lost: Sequence[Record]) -> dict[UUID, IntentState | None]:
        """Look at intents that somebody else decided meanwhile: the ledger told us both the same, or the books lie."""
        with database():
            rows = await read_intents(self._pool, [record.stored.id for record in lost])
        states: dict[UUID, IntentState | None] = {}
        for record in lost:
            self._metrics.lost_race()
            now = rows[record.stored.id][0]
            if now.state not in TERMINAL:
                states[record.stored.id] = None
                continue
            if now.attempt == record.stored.attempt and now.state is not record.decision.state:
                violated(f"intent {record.stored.id} is {now.state}, yet its chain says {record.decision.state}")
            states[record.stored.id] = now.state
        return states


def _decode(entries: Sequence[Entry]) -> _Batch:
    batch = _Batch([None] * len(entries))
    for position, entry in enumerate(entries):
        try:
            envelope = read_envelope(entry.fields)
            _sort(batch, position, envelope)
        except NewerVersion:
            batch.verdicts[position] = HandBack()
        except BadInput as error:
            batch.verdicts[position] = DeadLetter("decode", type(error).__name__, str(error))
    return batch


def _sort(batch: _Batch, position: int, envelope: Envelope) -> None:
    body = read_body(envelope)
    match body:
        case IntentMessage():
            if not body.fingerprints:
                raise MalformedMessage("an intent without a fingerprint")
            batch.intents[position] = (parse_intent_id(envelope.id), body)
        case ResumeMessage():
            batch.resumes[position] = parse_intent_id(envelope.id)
        case OpenAccountMessage():
            batch.accounts[position] = (parse_intent_id(envelope.id), parse_account(body.name), body)


def _accounts_named(message: IntentMessage) -> tuple[str, ...]:
    """Return the account names a plan may use, fixed ones included."""
    operation = message.operation
    fixed = (f"transit:{operation.currency}", f"equity:{operation.currency}")
    if operation.operation_type == "P2P_TRANSFER":
        return (operation.from_account, operation.to_account, *fixed)
    return (operation.account, *fixed)


def _plan(row: Stored) -> Plan:
    return row.plan if row.plan is not None else violated(f"intent {row.id} is VALIDATED without a plan")


def _record(row: Stored, chain: Chain, outcome: Outcome) -> Record:
    decision = decide(row.state, outcome.verdict)
    if outcome.timestamp_ns is None:
        return Record(row, decision, ())
    at = datetime.fromtimestamp(outcome.timestamp_ns / 1e9, UTC)
    return Record(row, decision, tuple(_movements(row, chain, at)))


def _movements(row: Stored, chain: Chain, at: datetime) -> Iterator[Movement]:
    """Give what a carried-out plan did to customer accounts."""
    for leg, transfer in zip(_plan(row).legs, chain, strict=True):
        transfer_id = UUID(int=transfer.id)
        if _is_customer(leg.debit):
            yield Movement(UUID(int=transfer.debit_account_id), transfer_id, -leg.amount_minor, leg.code, at)
        if _is_customer(leg.credit):
            yield Movement(UUID(int=transfer.credit_account_id), transfer_id, leg.amount_minor, leg.code, at)


def _is_customer(name: str) -> bool:
    return name.startswith(("user:", "merchant:"))


def _finished(intent: IntentId, state: IntentState | None, waiter: str | None) -> Verdict:
    if state is None:
        return HandBack()
    name = str(intent)
    change = (keys.intent_channel(name), state.encode())
    return Done(delete=(keys.acc(partition_of(intent), name),), publish=(change, *_hint(name, state, waiter)))


def _resumed(intent: IntentId, state: IntentState | None) -> Verdict:
    """Finish a resume; an intent that the log does not know yet is still in its stream, and safe there."""
    return Done(publish=(_change(intent, state),) if state is not None else ())


def _marker(intent: IntentId) -> str:
    return keys.acc(partition_of(intent), str(intent))


def _change(intent: IntentId, state: IntentState) -> tuple[str, bytes]:
    return keys.intent_channel(str(intent)), state.encode()


def _hint(subject: str, state: str, waiter: str | None) -> tuple[tuple[str, bytes], ...]:
    """Return what wakes the gateway that waits for `subject`, if one does."""
    return ((keys.gateway_channel(waiter), f"{subject} {state}".encode()),) if waiter is not None else ()
