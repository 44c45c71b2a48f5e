"""The results of one PSP: a batch of `results.{psp}` entries, from bytes to a verdict for each.

::

    decode → whose is it → keep what was heard → resolve (pure) → PG 1: resolutions, children → ledger → PG 2 → verdicts

What was said about one intent is taken one word after the other, each against the state that the last one left. A
decision that somebody else has overtaken is made again. Each arrow may be repeated; a batch that meets a store out of
reach raises and is handed back whole. This module must never conclude anything from an absence.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

import structlog

from orchestrator.carry_out import CarryOut
from orchestrator.cases import Known, Resolution, read_cases
from orchestrator.metrics import ResultMetrics
from orchestrator.polling import next_poll_s
from orchestrator.records import Record, Stored, record_decisions
from orchestrator.resolutions import (
    Heard,
    NewIntentId,
    Opening,
    Raised,
    Wanted,
    evidence_of,
    keep_heard,
    next_ledger_attempt,
    owners_of,
    raise_alerts,
    settle,
)
from orchestrator.resolve import Alert, Open, Purpose, Response, resolve
from orchestrator.saga import doubted, unchanged
from orchestrator.settlement import Settled, carry_out_resolutions
from shared.contracts import (
    MalformedMessage,
    NewerVersion,
    Outcome,
    ResultMessage,
    Source,
    job_envelope,
    read_envelope,
    read_result,
)
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import BadInput, violated
from shared.ids import parse_intent_id
from shared.ledger.port import Ledger
from shared.psp import Manifest, PollSchedule
from shared.states import TERMINAL, IntentState
from shared.streams import keys
from shared.streams.verdicts import DeadLetter, Done, Entry, Fields, HandBack, Verdict

_ROUNDS_MAX: Final = 8
"""How often one word may be overtaken before its entry is handed back."""
_OVERTAKEN_S: Final = 2.0
"""How soon to ask about an intent whose callback was quicker than its adapter."""
_FALLS_TO: Final = {
    Purpose.LATE_CREDIT: Purpose.SUSPENSE,
    Purpose.REVERSAL: Purpose.SUSPENSE_REVERSAL,
}
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Word:
    """One thing that was said about one intent, and what is to be done with its entry."""

    position: int
    said: ResultMessage
    intent: UUID
    rounds: int = 0
    asks: tuple[tuple[str, Fields], ...] = ()
    publish: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class _Turn:
    """A word, the intent as it stands, and what the one makes of the other."""

    word: _Word
    known: Known
    response: Response


@dataclass(slots=True)
class _Outcome:
    """What a round came to: decisions to write, alerts to raise, and the words that must be heard once more."""

    records: dict[UUID, Record] = field(default_factory=dict)
    raised: list[Raised] = field(default_factory=list)
    again: set[UUID] = field(default_factory=set)


class Results:
    """The handler of one PSP's results; keeps nothing between batches."""

    def __init__(
        self,
        *,
        psp: str,
        pool: Pool,
        ledger: Ledger,
        carry_out: CarryOut,
        manifest: Callable[[str], Manifest | None],
        new_id: NewIntentId,
        metrics: ResultMetrics,
        poke: Callable[[], None],
    ) -> None:
        """Put it together; `poke` wakes the poller once something has fallen due at once."""
        self._psp = psp
        self._pool = pool
        self._ledger = ledger
        self._carry_out = carry_out
        self._manifest = manifest
        self._new_id = new_id
        self._metrics = metrics
        self._poke = poke

    async def __call__(self, entries: Sequence[Entry]) -> list[Verdict]:
        """Carry a batch through, and say what is to be done with each entry.

        Raises:
            Transient, OutcomeUnknown: a store was out of reach; nothing is lost by handing the batch back.
            InvariantViolation: the books contradict themselves.
        """
        verdicts: list[Verdict | None] = [None] * len(entries)
        said = self._decode(entries, verdicts)
        intents = await self._whose(said)
        heard = [Heard(entries[position].id.decode(), word, intents.get(position)) for position, word in said.items()]
        if heard:
            with database():
                await keep_heard(self._pool, self._psp, heard)
        words = [_Word(position, said[position], intent) for position, intent in intents.items()]
        for position in said.keys() - intents.keys():
            await self._nobodys(said[position])
            verdicts[position] = Done()
        for word in words:
            self._metrics.heard(self._psp, word.said)
        await self._hear(words, verdicts)
        return [verdict or violated("an entry without a verdict") for verdict in verdicts]

    def _decode(self, entries: Sequence[Entry], verdicts: list[Verdict | None]) -> dict[int, ResultMessage]:
        said: dict[int, ResultMessage] = {}
        for position, entry in enumerate(entries):
            try:
                word = read_result(read_envelope(entry.fields))
                if word.psp != self._psp:
                    raise MalformedMessage("a result of another PSP")
                if word.intent_id is not None:
                    parse_intent_id(word.intent_id)
            except NewerVersion:
                verdicts[position] = HandBack()
            except BadInput as error:
                verdicts[position] = DeadLetter("decode", type(error).__name__, str(error))
            else:
                said[position] = word
        return said

    async def _whose(self, said: Mapping[int, ResultMessage]) -> dict[int, UUID]:
        """Find the intent that each word speaks of; a callback knows only our reference."""
        unnamed = {word.reference for word in said.values() if word.intent_id is None and word.reference is not None}
        owners: dict[str, UUID] = {}
        if unnamed:
            with database():
                owners = await owners_of(self._pool, self._psp, sorted(unnamed))
        found: dict[int, UUID] = {}
        for position, word in said.items():
            if word.intent_id is not None:
                found[position] = UUID(word.intent_id)
            elif word.reference in owners:
                found[position] = owners[word.reference]
        return found

    async def _hear(self, words: Sequence[_Word], verdicts: list[Verdict | None]) -> None:
        """Take one word about each intent at a time until all have been heard."""
        queues: dict[UUID, list[_Word]] = {}
        for word in words:
            queues.setdefault(word.intent, []).append(word)
        while queues:
            heads = [queue[0] for queue in queues.values()]
            again = await self._round(heads, verdicts)
            for word in heads:
                word.rounds += 1
                if word.intent in again and word.rounds < _ROUNDS_MAX:
                    continue
                if word.intent in again:
                    verdicts[word.position] = HandBack()
                elif verdicts[word.position] is None:
                    verdicts[word.position] = Done(publish=word.publish, append=word.asks)
                queues[word.intent].pop(0)
                if not queues[word.intent]:
                    del queues[word.intent]

    async def _round(self, words: Sequence[_Word], verdicts: list[Verdict | None]) -> set[UUID]:
        """Act on one word about each of several intents; return those whose word must be heard once more."""
        with database():
            cases = await read_cases(self._pool, [word.intent for word in words])
        manifest = self._manifest(self._psp)
        trusted = manifest.callback_trusted if manifest is not None else False
        turns: list[_Turn] = []
        for word in words:
            known = cases.get(word.intent)
            if known is None or known.plan.dispatch is None or known.stored.state is IntentState.VALIDATED:
                # A result may overtake the decision that it answers only if a store was restored: it is kept.
                await self._nobodys(word.said)
                verdicts[word.position] = Done()
                continue
            turns.append(_Turn(word, known, resolve(known.case(callback_trusted=trusted), word.said)))
        outcome = _Outcome()
        await self._settle(turns, outcome)
        schedule = manifest.poll if manifest is not None else PollSchedule()
        for turn in turns:
            self._follow(turn, schedule, outcome)
        with database():
            await raise_alerts(self._pool, outcome.raised)
            records = list(outcome.records.values())
            taken = await record_decisions(self._pool, records)
        for record in records:
            self._count(record, taken)
        if any(record.next_poll_s == 0 for record in records):
            self._poke()
        outcome.again |= {record.stored.id for record in records} - taken
        for turn in turns:
            self._publish(turn, outcome, taken)
        return outcome.again

    async def _settle(self, turns: Sequence[_Turn], outcome: _Outcome) -> None:
        """Store what is to be settled and opened, and carry it out."""
        wanted = [
            Wanted(turn.known, turn.response.settle, turn.word.said)
            for turn in turns
            if turn.response.settle is not None
        ]
        openings = [Opening(turn.known, one) for turn in turns for one in turn.response.opens]
        if not wanted and not openings:
            return
        with database():
            standing, children = await settle(self._pool, self._psp, wanted, openings, new_id=self._new_id)
        found = self._found(wanted, standing, outcome)
        carried = await carry_out_resolutions(self._ledger, found) if found else []
        for done in carried:
            await self._settled(done, outcome)
        heard = {one.known.stored.id for one in wanted if one.stands_as(standing.get(one.known.stored.id))}
        again = {turn.known.stored.id for turn in turns if turn.response.again}
        ended = {done.known.stored.id for done in carried if done.record is not None}
        # What lost to another resolution, or waits for its own, is heard again once that has been carried out. While
        # the ledger refuses that, it is kept among what the PSP said; the PSP is asked again.
        passed_over = {one.known.stored.id for one in wanted} - heard
        outcome.again |= ended & (passed_over | again)
        await self._carry_out_children(
            [one for one in openings if one.known.stored.id not in passed_over], children, outcome
        )

    def _found(
        self, wanted: Sequence[Wanted], standing: Mapping[UUID, Resolution], outcome: _Outcome
    ) -> list[tuple[Known, Resolution]]:
        """Return the resolutions that stand, and tell of payments that have settled another intent."""
        found: list[tuple[Known, Resolution]] = []
        for one in wanted:
            resolution = standing.get(one.known.stored.id)
            if resolution is None:
                outcome.raised.append(self._of_two(one.known.stored.id, one.settle.psp_transaction_id))
            else:
                found.append((one.known, resolution))
        return found

    def _of_two(self, intent: UUID, name: str | None) -> Raised:
        alert = Alert("payment_of_two_intents", f"{self._psp}:{name}:{intent}")
        return Raised(alert, intent, {"psp_transaction_id": name})

    async def _settled(self, done: Settled, outcome: _Outcome) -> None:
        intent = done.known.stored.id
        if done.alert is not None:
            outcome.raised.append(Raised(done.alert, intent, {"resolution": done.resolution.kind}))
        if done.to_suspense is not None:
            name = done.resolution.psp_transaction_id or violated(f"intent {intent} was paid by nothing")
            amount = done.resolution.amount_minor or violated(f"intent {intent} was paid nothing")
            opening = Opening(done.known, Open(Purpose.SUSPENSE, name, amount, done.to_suspense))
            await self._open([opening], outcome)
        if done.burnt:
            with database():
                await next_ledger_attempt(self._pool, done.known, done.resolution)
        if done.record is not None:
            outcome.records[intent] = self._watched(done.known, done.record)

    def _watched(self, known: Known, record: Record) -> Record:
        """Keep asking about a code that may still be paid: late, twice, or any number of times."""
        asked, manifest = known.dispatch, self._manifest(self._psp)
        rules = manifest.operations.get(asked.operation) if manifest is not None else None
        if manifest is None or rules is None or rules.direction == "out":
            return record
        return replace(record, next_poll_s=float(manifest.poll.max_s))

    async def _open(self, openings: Sequence[Opening], outcome: _Outcome) -> None:
        with database():
            _, children = await settle(self._pool, self._psp, (), openings, new_id=self._new_id)
        await self._carry_out_children(openings, children, outcome)

    async def _carry_out_children(
        self,
        openings: Sequence[Opening],
        children: Mapping[tuple[UUID, str, Purpose], Stored],
        outcome: _Outcome,
    ) -> None:
        """Carry children out; money that a wallet refuses goes to suspense, or is charged to it."""
        states = await self._carry_out(children.values())
        fallen: list[Opening] = []
        for one in openings:
            parent, wanted = one.known.stored.id, one.open
            child = children.get((parent, wanted.psp_transaction_id, wanted.purpose))
            state = states[child.id] if child is not None else None
            if child is None:
                outcome.raised.append(self._of_two(parent, wanted.psp_transaction_id))
            elif state is None:
                outcome.again.add(parent)
            elif state is IntentState.REJECTED:
                purpose = _FALLS_TO.get(wanted.purpose) or violated(f"suspense refuses a payment of intent {parent}")
                alert = Alert(f"{wanted.purpose}_refused", f"{self._psp}:{wanted.psp_transaction_id}")
                outcome.raised.append(Raised(alert, parent, {"amount_minor": wanted.amount_minor}))
                again = Open(purpose, wanted.psp_transaction_id, wanted.amount_minor, wanted.direction)
                fallen.append(Opening(one.known, again))
        if fallen:
            await self._open(fallen, outcome)

    def _follow(self, turn: _Turn, schedule: PollSchedule, outcome: _Outcome) -> None:
        """Add what needs no ledger: doubts, pauses, what the payer has to do, questions and alerts."""
        known, said, response = turn.known, turn.word.said, turn.response
        stored = known.stored
        outcome.raised += [Raised(alert, stored.id, evidence_of(said)) for alert in response.alerts]
        if response.ask and said.source is Source.CALLBACK:
            # Any number of hints is one thing to ask about. One that has overtaken the answer to its own job waits a
            # moment for that.
            soon_s = 0.0 if known.answered or stored.state in TERMINAL else _OVERTAKEN_S
            outcome.records[stored.id] = Record(stored, unchanged(stored.state, stored.funds), next_poll_s=soon_s)
        elif response.ask:
            job = job_envelope(known.inquiry())
            turn.word.asks = ((keys.jobs(self._psp), job.fields()),)
        if stored.id in outcome.records or not (response.wait or response.doubt or response.next_action):
            return
        later_s = next_poll_s(schedule, known.polls, said.retry_after_s)
        decision = doubted(stored.state, stored.funds) if response.doubt else unchanged(stored.state, stored.funds)
        action = said.next_action.model_dump_json() if response.next_action and said.next_action is not None else None
        outcome.records[stored.id] = Record(stored, decision, next_action=action, next_poll_s=later_s)

    def _count(self, record: Record, taken: set[UUID]) -> None:
        if record.stored.id in taken and len(record.decision.path) > 1:
            self._metrics.decided(self._psp, record.decision.state, record.decision.error_code)

    def _publish(self, turn: _Turn, outcome: _Outcome, taken: set[UUID]) -> None:
        """Tell watchers of a new state, or that there is something to do."""
        record = outcome.records.get(turn.known.stored.id)
        if record is None or record.stored.id not in taken:
            return
        if len(record.decision.path) > 1 or record.next_action is not None:
            change = (keys.intent_channel(str(record.stored.id)), record.decision.state.encode())
            turn.word.publish = (*turn.word.publish, change)

    async def _nobodys(self, said: ResultMessage) -> None:
        """Keep people informed of a word about nothing that is known here."""
        _log.warning("psp_result_of_nobody", psp=self._psp, outcome=said.outcome, intent_id=said.intent_id)
        subject = f"{self._psp}:{said.psp_transaction_id or said.reference or said.intent_id or said.callback_id}"
        alert = Alert("unmatched_result", subject, critical=said.outcome in (Outcome.PAID, Outcome.REVERSED))
        with database():
            await raise_alerts(self._pool, [Raised(alert, None, evidence_of(said))])
