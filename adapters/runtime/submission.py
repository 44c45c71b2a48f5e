"""One submission: prepare → permit → send → answer → result, or out of the way.

::

    queued ─ prepare ─→ declined: win CANCELLED, say DECLINED
                │      └─→ the breaker is against it: handed back
              permit ─→ CANCELLED: say NOT_SUBMITTED · INQUIRE: ask · LOST: somebody else's
                │
               send ──→ a fact: say it
                 │  └─→ proven non-event: again, within the budget; then free the permit and put the job off
                 └────→ anything else: ask, as soon as the PSP wants to be asked

The request is sent only by the holder of a permit that was looked at a moment ago. Once a request may have arrived,
nothing here is ever sent again and the permit never freed: from then on only an `Inquiry` decides.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from redis.asyncio import Redis

from adapters.runtime.calls import Calls
from adapters.runtime.conditions import Conditions
from adapters.runtime.inquiry import Inquiry
from adapters.runtime.metrics import AdapterMetrics
from adapters.runtime.psp import Ambiguous, Answer, Definite, NotSent, Ready
from adapters.runtime.steps import Steps
from adapters.runtime.work import Teller, Told, Work
from shared.contracts import Action, Outcome
from shared.errors import OutcomeUnknown
from shared.psp import Manifest
from shared.streams import permits
from shared.streams.permits import Begin, Begun, Cancelled, PermitState, Replicas
from shared.streams.verdicts import REDRIVES_FIELD, Gone, HandBack, Member, Retry

_ASK_AGAIN_MAX: Final = 5
_ASK_AGAIN_PAUSE_S: Final = 0.2

Conclusion = Told | Retry | Gone | HandBack


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a job that was put off waits: exponential with jitter, never less than the PSP asked for."""

    first_ms: int
    max_ms: int

    def delay_ms(self, put_off: int, retry_after_s: float | None, jitter: float) -> int:
        """Return the pause before the job is tried again, having been put off that often."""
        longest_ms = min(self.max_ms, self.first_ms * 2 ** min(put_off, 16))
        return max(int(longest_ms * (0.5 + jitter / 2)), int((retry_after_s or 0.0) * 1000))


@dataclass(slots=True)
class _Try:
    """How far one submission has come."""

    prepared: Mapping[str, str] | None = field(default=None, repr=False)
    taken: bool = False
    confirmed_s: float = 0.0
    """When the permit was asked for last, by the loop's clock."""


class Submission:
    """How jobs are submitted to one PSP."""

    def __init__(
        self,
        *,
        client: Redis,
        member: Member,
        manifest: Manifest,
        calls: Calls,
        conditions: Conditions,
        inquiry: Inquiry,
        teller: Teller,
        metrics: AdapterMetrics,
        replicas: Replicas,
        lease_s: float,
        pace: Pace,
        steps: Steps,
    ) -> None:
        self._client = client
        self._member = member
        self._manifest = manifest
        self._calls = calls
        self._conditions = conditions
        self._inquiry = inquiry
        self._tell = teller
        self._metrics = metrics
        self._replicas = replicas
        self._lease_s = lease_s
        self._pace = pace
        self._steps = steps

    async def carry_out(self, work: Work) -> Conclusion:
        """Submit a job, or find out what became of it.

        Raises:
            Transient, OutcomeUnknown: the stream's server is out of reach; the job is handed back.
        """
        if await self._seen_before(work):
            return await self._inquiry.settle(work)
        if await self._past_its_time(work) and await self._cancelled(work):
            return self._tell.not_submitted(work.job, "job_ttl")
        attempt = _Try()
        for tried in range(1, work.budget.tries + 1):
            answer = await self._try(work, attempt)
            if not isinstance(answer, NotSent):
                return answer
            if not await work.budget.pause(tried, answer.retry_after_s):
                return await self._put_off(work, attempt, answer)
        return await self._put_off(work, attempt, NotSent("tries_used_up"))

    async def _try(self, work: Work, attempt: _Try) -> Conclusion | NotSent:
        """Make one try; NotSent if it proved to be none."""
        if not self._conditions.may_submit(work.job.operation):
            return await self._put_off(work, attempt, NotSent("paused"))
        if work.budget.left_s < 2 * self._calls.keep_s:
            # Whatever is sent now could not be asked about any more.
            return NotSent("no_time")
        if attempt.prepared is None:
            # Before the permit, so that there is none to free where the breaker says no.
            if not await self._calls.may_begin(work.leave):
                return HandBack()
            ready = await self._calls.prepare(work.call(self._calls.timeout_s(work.budget)))
            if not isinstance(ready, Ready):
                return await self._unprepared(work, ready)
            attempt.prepared = ready.data
        refused = await self._begin(work, attempt)
        return await self._send(work, attempt.prepared) if refused is None else refused

    async def _unprepared(self, work: Work, answer: Answer) -> Conclusion | NotSent:
        match answer:
            case Definite(outcome=Outcome.DECLINED):
                return await self._declined_beforehand(work, answer)
            case NotSent():
                return answer
            case Ambiguous() | Definite():
                # A preparation moves nothing, so however it failed, nothing happened.
                reason = answer.reason if isinstance(answer, Ambiguous) else "not_prepared"
                return NotSent(reason, answer.retry_after_s)

    async def _begin(self, work: Work, attempt: _Try) -> Conclusion | None:
        """Hold the permit, freshly looked at; None if the request may go out now."""
        if not attempt.taken:
            begun = await self._ask_for_permit(work, attempt)
            self._metrics.permits.labels(work.job.psp, begun.status).inc()
            if begun.status is not Begin.GO:
                return await self._refused(work, begun)
            attempt.taken = True
            await self._steps("permit_taken")
        if asyncio.get_running_loop().time() - attempt.confirmed_s > self._lease_s:
            # We may have been paused since. Whoever got the entry in the meantime decides.
            begun = await self._ask_for_permit(work, attempt)
            if begun.status is not Begin.GO:
                self._metrics.permits.labels(work.job.psp, f"{begun.status}_LATER").inc()
                return await self._refused(work, begun)
        return None

    async def _ask_for_permit(self, work: Work, attempt: _Try) -> Begun:
        """Ask until the server answers: a token that it may have written down must not be forgotten lightly."""
        for asked in range(1, _ASK_AGAIN_MAX + 1):
            attempt.confirmed_s = asyncio.get_running_loop().time()
            try:
                return await permits.begin_submit(
                    self._client,
                    self._member,
                    work.entry.id,
                    permit=work.permit,
                    token=work.token,
                    job_ttl_ms=self._manifest.job_ttl_s * 1000,
                    replicas=self._replicas,
                )
            except OutcomeUnknown:
                if asked == _ASK_AGAIN_MAX:
                    raise
                await asyncio.sleep(_ASK_AGAIN_PAUSE_S)
        raise OutcomeUnknown("no answer about the permit")

    async def _refused(self, work: Work, begun: Begun) -> Conclusion:
        match begun.status:
            case Begin.CANCELLED:
                return self._tell.not_submitted(work.job, "cancelled")
            case Begin.LOST:
                return HandBack()
            case _:
                return await self._inquiry.settle(work)

    async def _send(self, work: Work, prepared: Mapping[str, str]) -> Conclusion | NotSent:
        call = work.call(self._calls.timeout_s(work.budget, keep_s=self._calls.keep_s), prepared)
        await self._steps("before_send")
        # The point of no return.
        answer = await self._calls.submit(call)
        match answer:
            case NotSent():
                return answer
            case Definite() if answer.outcome is not Outcome.NOT_FOUND:
                await self._steps("answer_received")
                return self._tell.answer(work.job, answer, asked=Action.SUBMIT)
            case Ambiguous() | Definite():
                return await self._ask_in_time(work, answer)

    async def _ask_in_time(self, work: Work, answer: Ambiguous | Definite) -> Conclusion:
        """Ask what became of a request, no earlier than the PSP wants to hear from us; else somebody asks later."""
        if answer.retry_after_s and not await work.budget.wait(answer.retry_after_s, keep_s=self._calls.keep_s):
            reason = answer.reason if isinstance(answer, Ambiguous) else "not_found"
            return self._tell.open(work.job, reason, answer.retry_after_s)
        return await self._inquiry.settle(work)

    async def _put_off(self, work: Work, attempt: _Try, why: NotSent) -> Conclusion:
        """Free the permit, if we hold it, and put the job off; every try so far is a proven non-event."""
        self._metrics.put_off.labels(work.job.psp, why.reason).inc()
        delay_ms = self._pace.delay_ms(work.envelope.attempt, why.retry_after_s, work.budget.jitter())
        if not attempt.taken:
            return Retry(delay_ms)
        freed = await permits.free_and_retry(
            self._client, self._member, work.entry.id, permit=work.permit, token=work.token, delay_ms=delay_ms
        )
        # Somebody has drawn conclusions from our permit: only an inquiry is right.
        return Gone() if freed else await self._inquiry.settle(work)

    async def _declined_beforehand(self, work: Work, answer: Definite) -> Conclusion:
        """Say that the preparation was declined, but only after making sure that nobody else submits."""
        if await self._cancelled(work):
            return self._tell.declined_beforehand(work.job, answer)
        return await self._inquiry.settle(work)

    async def _cancelled(self, work: Work) -> bool:
        won = await permits.win_cancelled(self._client, permit=work.permit, who=work.token, replicas=self._replicas)
        return won is Cancelled.CANCELLED

    async def _seen_before(self, work: Work) -> bool:
        """Say whether only an inquiry is right; looked up only where it is likely, since the permit decides anyway."""
        if work.job.inquire_first:
            return True
        fresh = work.entry.deliveries <= 1 and REDRIVES_FIELD not in work.entry.fields
        if fresh and not work.envelope.attempt:
            return False
        seen = await permits.look(self._client, permit=work.permit)
        return seen.state is PermitState.TAKEN or bool(seen.stale)

    async def _past_its_time(self, work: Work) -> bool:
        """Say whether the job has waited for too long, by the server's clock; ours only says whether to ask."""
        end_ms = work.job.created_ms + self._manifest.job_ttl_s * 1000
        if self._tell.clock_ms() < end_ms:
            return False
        return (await permits.look(self._client, permit=work.permit)).now_ms >= end_ms
