"""One job in a consumer's hands, and how what became of it is put into a result. Pure, but for a clock handed in."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.runtime.calls import Budget, Leave
from adapters.runtime.psp import Call, Definite, Observation
from shared.contracts import Action, Envelope, JobMessage, Outcome, ResultMessage, Source
from shared.psp import Manifest, OperationRules
from shared.streams import keys
from shared.streams.permits import PermitFor
from shared.streams.verdicts import Entry


@dataclass(frozen=True, slots=True)
class Work:
    """A job, decoded and opened.

    Attributes:
        entry: where it came from.
        envelope: how often it was put off.
        job: what is asked.
        rules: what the manifest says about its operation.
        permit: which one.
        token: who we are, as far as permits are concerned; never used before.
        budget: how long its calls may take.
        opened: where the money goes, in plain words.
        test_scenario: for a sandbox.
        leave: whether the breaker has let it through.
    """

    entry: Entry
    envelope: Envelope
    job: JobMessage
    rules: OperationRules
    permit: PermitFor
    token: str
    budget: Budget
    opened: Mapping[str, str] = field(repr=False)
    test_scenario: str | None = None
    leave: Leave = field(default_factory=Leave)

    def call(self, timeout_s: float, prepared: Mapping[str, str] | None = None) -> Call:
        """Describe a call about this job."""
        return Call(self.job, self.opened, prepared or {}, timeout_s, self.test_scenario)


def permit_of(job: JobMessage) -> PermitFor:
    """Return the permit that everybody contends for who says something about this job."""
    key = keys.permit(job.psp, job.intent_id, job.attempt, job.operation)
    return PermitFor(key, job.created_ms, job.epoch)


@dataclass(frozen=True, slots=True)
class Told:
    """What a job comes to.

    Attributes:
        result: the one result.
        beside: what else the answer said, for observations.
    """

    result: ResultMessage
    beside: tuple[ResultMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class Teller:
    """Puts answers into results."""

    manifest: Manifest
    clock_ms: Callable[[], int]

    def answer(self, job: JobMessage, answer: Definite, *, asked: Action) -> Told:
        """Return the result of a definite answer to a submission or an inquiry, and what else it said.

        A decline is final if the PSP calls it so *and* either the manifest promises that this code is never taken
        back, or it is what an inquiry confirmed.
        """
        return Told(self._fact(job, answer, asked), tuple(self._fact(job, fact, asked) for fact in answer.more))

    def _fact(self, job: JobMessage, answer: Definite, asked: Action) -> ResultMessage:
        promised = asked is not Action.SUBMIT or answer.code in self.manifest.final_answers
        parts = self._parts(answer) | {"psp_ids": {**job.psp_ids, **answer.psp_ids}}
        final = answer.final and (promised or answer.outcome is not Outcome.DECLINED)
        return self.tell(job, answer.outcome, final=final, **parts)

    def declined_beforehand(self, job: JobMessage, answer: Definite) -> Told:
        """Return the result of a preparation that was declined, once CANCELLED was won: final, whoever says it."""
        parts = self._parts(answer) | {"code": _code(answer.code or "declined")}
        return Told(self.tell(job, Outcome.DECLINED, **parts | {"final": True}))

    def not_submitted(self, job: JobMessage, code: str, source: Source = Source.JOB) -> Told:
        """Return the result of having won CANCELLED."""
        return Told(self.tell(job, Outcome.NOT_SUBMITTED, code=code, final=True, source=source))

    def barred(self, job: JobMessage, code: str) -> Told:
        """Return the result of an absence that the PSP's fence makes final."""
        return Told(self.tell(job, Outcome.NOT_FOUND, code=code, final=True, fenced=True))

    def open(self, job: JobMessage, code: str, retry_after_s: float | None = None) -> Told:
        """Return the result of knowing nothing.

        To a submission that is UNKNOWN: it may have happened. To an inquiry it is no news: PENDING.
        """
        outcome = Outcome.UNKNOWN if job.action is Action.SUBMIT else Outcome.PENDING
        return Told(self.tell(job, outcome, code=_code(code), retry_after_s=_whole(retry_after_s)))

    def absent(self, job: JobMessage, retry_after_s: float | None = None) -> Told:
        """Return the result of an absence that proves nothing."""
        outcome = Outcome.UNKNOWN if job.action is Action.SUBMIT else Outcome.NOT_FOUND
        return Told(self.tell(job, outcome, code="not_found", retry_after_s=_whole(retry_after_s)))

    def heard(self, seen: Observation, *, callback_id: str, raw: str) -> ResultMessage:
        """Return the observation that a callback makes; whose intent it is, whoever reads it finds out."""
        answer = seen.answer
        return ResultMessage(
            psp=self.manifest.psp,
            source=Source.CALLBACK,
            outcome=answer.outcome,
            reference=seen.reference,
            at_ms=self.clock_ms(),
            callback_id=callback_id,
            raw=raw,
            final=answer.final,
            **self._parts(answer),
        )

    def _parts(self, answer: Definite) -> dict[str, Any]:
        return {name: getattr(answer, name) for name in _CARRIED} | {
            "code": None if answer.code is None else _code(answer.code),
            "detail": None if answer.detail is None else answer.detail[:_DETAIL_MAX],
            "psp_ids": dict(answer.psp_ids),
            "summary": dict(answer.summary),
        }

    def tell(self, job: JobMessage, outcome: Outcome, *, source: Source = Source.JOB, **parts: Any) -> ResultMessage:
        """Return a result about a job."""
        return ResultMessage(
            **{
                "psp": job.psp,
                "intent_id": job.intent_id,
                "attempt": job.attempt,
                "operation": job.operation,
                "action": job.action,
                "source": source,
                "outcome": outcome,
                "reference": job.reference,
                "psp_ids": dict(job.psp_ids),
                "at_ms": self.clock_ms(),
                **parts,
            }
        )


_CARRIED: Final = ("psp_transaction_id", "amount_minor", "currency", "next_action", "retry_after_s")
_DETAIL_MAX: Final = 256
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


def _code(word: str) -> str:
    """Keep a word that is one of ours; a wrong word must not keep a right answer from being told."""
    return word if _CODE.fullmatch(word) else "other"


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else min(86_400, max(0, int(seconds + 0.999)))
