"""The handler of a job stream: one entry in, one verdict out; what is known goes into the results with the entry's end.

A result is appended by the script that takes the entry off the stream, and only by whoever is first to do so. Whoever
comes second adds what the PSP *said* as an observation, since a fact must not be lost, and drops everything else. This
module must never log where money goes.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from adapters.runtime.calls import Budget
from adapters.runtime.inquiry import Inquiry
from adapters.runtime.metrics import AdapterMetrics
from adapters.runtime.steps import Steps
from adapters.runtime.submission import Conclusion, Submission
from adapters.runtime.work import Told, Work, permit_of
from shared.contracts import (
    Action,
    Envelope,
    JobMessage,
    Kind,
    NewerVersion,
    Outcome,
    ResultMessage,
    read_envelope,
    read_job,
    result_envelope,
)
from shared.errors import BadInput
from shared.psp import Manifest, OperationRules
from shared.sealing import CannotUnseal, KeyRing, is_sealed, unseal
from shared.streams import keys
from shared.streams.dead_letters import Reason
from shared.streams.verdicts import DeadLetter, Done, Entry, Fields, HandBack, Verdict

_FACTS: Final = frozenset({Outcome.PAID, Outcome.DECLINED, Outcome.NEXT_ACTION, Outcome.EXPIRED, Outcome.REVERSED})
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What one job may take."""

    budget_s: float
    tries: int
    forward_test_scenario: bool
    jitter: Callable[[], float]


class JobHandler:
    """Judges the entries of one PSP's job stream."""

    def __init__(
        self,
        *,
        manifest: Manifest,
        consumer: str,
        keyring: KeyRing,
        submission: Submission,
        inquiry: Inquiry,
        metrics: AdapterMetrics,
        limits: JobLimits,
        steps: Steps,
    ) -> None:
        self._manifest = manifest
        self._consumer = consumer
        self._keyring = keyring
        self._submission = submission
        self._inquiry = inquiry
        self._metrics = metrics
        self._limits = limits
        self._steps = steps
        self._turns = itertools.count(1)

    async def __call__(self, entries: Sequence[Entry]) -> list[Verdict]:
        """Judge entries, each by itself."""
        return list(await asyncio.gather(*(self._judge(entry) for entry in entries)))

    async def _judge(self, entry: Entry) -> Verdict:
        try:
            envelope = read_envelope(entry.fields)
            job = read_job(envelope)
        except NewerVersion:
            return HandBack()
        except BadInput as error:
            return DeadLetter(Reason.DECODE, type(error).__name__, str(error))
        rules = self._manifest.operations.get(job.operation)
        if job.psp != self._manifest.psp or rules is None:
            return DeadLetter(Reason.PERMANENT, "UnknownOperation", "no operation of this PSP")
        try:
            work = self._work(entry, envelope, job, rules)
        except CannotUnseal as error:
            return DeadLetter(Reason.PERMANENT, type(error).__name__, f"{error.code}: {error}")
        return await self._carry_out(work)

    async def _carry_out(self, work: Work) -> Verdict:
        job, started_s = work.job, asyncio.get_running_loop().time()
        with structlog.contextvars.bound_contextvars(psp=job.psp, intent_id=job.intent_id, attempt=job.attempt):
            conclusion = await self._conclude(work)
            told = conclusion if isinstance(conclusion, Told) else None
            _log.info(
                "psp_job",
                action=job.action,
                said=type(conclusion).__name__ if told is None else told.result.outcome,
                code=None if told is None else told.result.code,
                beside=0 if told is None else len(told.beside),
                put_off=work.envelope.attempt,
                seconds=round(asyncio.get_running_loop().time() - started_s, 3),
            )
        if not isinstance(conclusion, Told):
            return conclusion
        self._metrics.results.labels(job.psp, job.operation, conclusion.result.outcome).inc()
        await self._steps("before_append")
        return finished(conclusion, traceparent=work.envelope.traceparent)

    async def _conclude(self, work: Work) -> Conclusion:
        match work.job.action:
            case Action.SUBMIT:
                return await self._submission.carry_out(work)
            case Action.INQUIRE:
                return await self._inquiry.settle(work)
            case Action.CANCEL:
                return await self._inquiry.cancel(work)

    def _work(self, entry: Entry, envelope: Envelope, job: JobMessage, rules: OperationRules) -> Work:
        limits = self._limits
        return Work(
            entry=entry,
            envelope=envelope,
            job=job,
            rules=rules,
            permit=permit_of(job),
            token=f"{self._consumer}.{next(self._turns)}",
            budget=Budget(asyncio.get_running_loop().time() + limits.budget_s, limits.tries, limits.jitter),
            opened=opened(self._keyring, job),
            test_scenario=job.test_scenario if limits.forward_test_scenario else None,
        )


def opened(keyring: KeyRing, job: JobMessage) -> dict[str, str]:
    """Return the job's destination in plain words.

    Raises:
        CannotUnseal: something is sealed under a key that this process does not hold, or was moved here.
    """
    return {
        name: unseal(keyring, context=job.intent_id, field=name, sealed=text) if is_sealed(text) else text
        for name, text in job.destination.items()
    }


def finished(told: Told, *, traceparent: str = "") -> Done:
    """Return the verdict that appends a result and what was said beside it.

    Where somebody else was first, only the facts among them are appended, as observations.
    """
    result = told.result
    stream = keys.results(result.psp)
    fields = result_envelope(result, traceparent=traceparent).fields()
    beside = _observed(told.beside, traceparent)
    facts = [said for said in (result, *told.beside) if said.outcome in _FACTS or said.fenced]
    return Done(
        append=((stream, fields), *((stream, observed) for observed in beside)),
        append_if_lost=tuple((stream, observed) for observed in _observed(facts, traceparent)),
    )


def _observed(said: Sequence[ResultMessage], traceparent: str) -> list[Fields]:
    return [result_envelope(one, kind=Kind.OBSERVATION, traceparent=traceparent).fields() for one in said]
