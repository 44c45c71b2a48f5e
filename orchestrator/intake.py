"""The intake: one batch of `intents.{iN}` entries, from bytes to a verdict for each.

::

    decode → open accounts → velocity → plan (pure) → PG 1: plans in → ledger: chains → PG 2: decisions in → verdicts

Each arrow may be repeated: a redelivered batch finds the plans it stored, resubmits them byte for byte, hears that
they exist, and records nothing twice. A batch that meets a store out of reach raises and is handed back whole. This
module must never conclude anything from an absence.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.accounts import OpenAccounts, open_accounts
from orchestrator.carry_out import CarryOut
from orchestrator.drafts import Draft, record_drafts
from orchestrator.legs import accounts_named
from orchestrator.plan import plan_operation, subject_of
from orchestrator.records import read_intents
from orchestrator.velocity import UNWATCHED, Watch, watch
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
from shared.ids import IntentId, parse_intent_id, partition_of
from shared.ledger.port import Ledger
from shared.operations import Operation
from shared.rules.book import RuleBook
from shared.rules.choice import Channels
from shared.rules.refusals import Refusal, too_fast, velocity_fault
from shared.states import IntentState
from shared.streams import keys
from shared.streams.verdicts import DeadLetter, Done, Entry, HandBack, Verdict


class Rules(Protocol):
    """Whoever keeps the rules in force."""

    book: RuleBook


Tell = Callable[[str, Sequence[Mapping[str, Any]]], Awaitable[None]]
"""Tells events of a kind to whoever listens, and never fails."""


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
        self,
        *,
        pool: Pool,
        ledger: Ledger,
        rules: Rules,
        channels: Channels,
        known: OpenAccounts,
        carry_out: CarryOut,
        tell: Tell,
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._rules = rules
        self._channels = channels
        self._known = known
        self._carry_out = carry_out
        self._tell = tell

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
            recorded = await record_drafts(self._pool, await self._drafts(batch))
            resumed = await read_intents(self._pool, list(batch.resumes.values())) if batch.resumes else {}
        if recorded.monitored:
            told = [{"intent_id": str(draft.id), "rules": draft.watchers} for draft in recorded.monitored]
            await self._tell("intent.monitored", told)
        stored = recorded.stored | {intent: row[0] for intent, row in resumed.items()}
        states = await self._carry_out(stored.values())
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
        book = self._rules.book
        known = await self._known.look_up(
            name for message in intents.values() for name in self._accounts_of(message.operation, book)
        )
        subjects = {intent: subject_of(message.operation, intent, message) for intent, message in intents.items()}
        watches = await watch(self._pool, book, subjects) if book.velocity else {}
        return [
            self._draft(intent, message, watches.get(intent, UNWATCHED), book, known)
            for intent, message in intents.items()
        ]

    def _draft(
        self, intent: IntentId, message: IntentMessage, seen: Watch, book: RuleBook, known: frozenset[str]
    ) -> Draft:
        outcome = _refused_by(seen) or plan_operation(
            message, intent=intent, book=book, is_open=known.__contains__, channels=self._channels
        )
        return Draft(intent, message, outcome, monitored_by=seen.monitored_by)

    def _accounts_of(self, operation: Operation, book: RuleBook) -> Iterator[str]:
        """Yield the names of all accounts that a plan of this operation may use."""
        kind = operation.operation_type
        found = (
            self._channels.manifest_of_channel(route.channel) for route in book.routes if route.operation_type == kind
        )
        yield from accounts_named(operation, [manifest.psp for manifest in found if manifest is not None])
        yield from book.beneficiaries_of(kind, operation.currency)


def _refused_by(seen: Watch) -> Refusal | None:
    if seen.fault is not None:
        return velocity_fault(seen.fault)
    if seen.refused_by is not None:
        return too_fast(seen.refused_by.name, seen.refused_by.version)
    return None


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
