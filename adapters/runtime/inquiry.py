"""Finding out what became of a job: ask the PSP, and if it has never heard of it, look for what makes that final.

An absence proves nothing: the request may sit in a socket buffer, or in a process that is paused. Only the PSP can
bar it, in the way its manifest promises, and only after the permit has been made ours, so that nobody frees it and
submits anew beside the conclusion. This module must never free a permit, whatever an inquiry came to.
"""

import asyncio
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from adapters.runtime.calls import Calls
from adapters.runtime.psp import Ambiguous, Answer, Call, Definite, NotSent, Ready
from adapters.runtime.steps import Steps
from adapters.runtime.work import Teller, Told, Work
from shared.contracts import Action, Outcome
from shared.psp import FenceKind, Manifest
from shared.streams import permits
from shared.streams.permits import Begin, Begun, Cancelled, PermitState, Replicas, Seen
from shared.streams.verdicts import HandBack


class Inquiry:
    """Everything that is asked of a PSP about something that may have happened."""

    def __init__(
        self,
        *,
        client: Redis,
        manifest: Manifest,
        calls: Calls,
        teller: Teller,
        replicas: Replicas,
        lease_s: float,
        steps: Steps,
    ) -> None:
        self._client = client
        self._manifest = manifest
        self._calls = calls
        self._tell = teller
        self._replicas = replicas
        self._lease_s = lease_s
        self._steps = steps

    async def settle(self, work: Work) -> Told | HandBack:
        """Find out, and return what is known; the job is handed back where the breaker is against asking."""
        job = work.job
        # The look comes first: an inquiry is final only if it was made after the time that the fence names.
        seen = await permits.look(self._client, permit=work.permit)
        if self._still_queued(work, seen):
            return await self._queued(work, seen)
        if not await self._calls.may_begin(work.leave):
            return HandBack()
        answer = await self._ask(work, self._calls.inquire)
        match answer:
            case Definite(outcome=Outcome.NOT_FOUND):
                return await self._absent(work, seen)
            case Definite():
                return self._tell.answer(job, answer, asked=Action.INQUIRE)
            case NotSent() | Ambiguous():
                if seen.state is PermitState.CANCELLED and await self._cancelled(work):
                    return self._tell.not_submitted(job, "cancelled")
                return self._tell.open(job, answer.reason, answer.retry_after_s)

    async def cancel(self, work: Work) -> Told | HandBack:
        """Give a job up: before it was submitted by its permit, afterwards at the PSP, if the breaker lets us."""
        seen = await permits.look(self._client, permit=work.permit)
        if seen.state is not PermitState.TAKEN and await self._cancelled(work):
            return self._tell.not_submitted(work.job, "cancelled")
        if not await self._calls.may_begin(work.leave):
            return HandBack()
        answer = await self._ask(work, self._calls.cancel)
        match answer:
            case Definite(outcome=Outcome.EXPIRED) if work.rules.direction == "out":
                return await self._barred_by_cancel(work)
            case Definite(outcome=Outcome.NOT_FOUND):
                return self._tell.absent(work.job)
            case Definite():
                return self._tell.answer(work.job, answer, asked=Action.CANCEL)
            case NotSent() | Ambiguous():
                return self._tell.open(work.job, answer.reason, answer.retry_after_s)

    def _still_queued(self, work: Work, seen: Seen) -> bool:
        """Say whether this is an inquiry about a submission that nobody has begun, nor can have begun before."""
        return (
            work.job.action is Action.INQUIRE
            and seen.state is PermitState.ABSENT
            and not seen.stale
            and not work.job.inquire_first
            and not work.job.psp_ids
        )

    async def _queued(self, work: Work, seen: Seen) -> Told:
        left_ms = work.job.created_ms + self._manifest.job_ttl_s * 1000 - seen.now_ms
        if left_ms <= 0 and await self._cancelled(work):
            return self._tell.not_submitted(work.job, "job_ttl")
        return self._tell.open(work.job, "queued", max(1.0, left_ms / 1000))

    async def _cancelled(self, work: Work) -> bool:
        """Win the right to say that it was never submitted.

        Never for a job that may be older than its permit, nor for one that the PSP has named: that was submitted, and
        its permit was lost.
        """
        if work.job.inquire_first or work.job.psp_ids:
            return False
        won = await permits.win_cancelled(self._client, permit=work.permit, who=work.token, replicas=self._replicas)
        return won is Cancelled.CANCELLED

    async def _ask(self, work: Work, method: Callable[[Call], Awaitable[Answer]]) -> Answer:
        """Make a call that moves nothing, again if need be."""
        tried = 0
        while True:
            answer = await method(work.call(self._calls.timeout_s(work.budget)))
            tried += 1
            if isinstance(answer, Definite) or not await work.budget.pause(tried, answer.retry_after_s):
                return answer

    # An absence.

    async def _absent(self, work: Work, seen: Seen) -> Told:
        if seen.state is PermitState.CANCELLED and await self._cancelled(work):
            return self._tell.not_submitted(work.job, "cancelled")
        fence = self._manifest.submit_fence
        if fence.kind is FenceKind.NONE:
            return self._tell.absent(work.job)
        won_s = asyncio.get_running_loop().time()
        begun = await permits.take_over(self._client, permit=work.permit, token=work.token, replicas=self._replicas)
        if begun.status is Begin.CANCELLED and await self._cancelled(work):
            return self._tell.not_submitted(work.job, "cancelled")
        if begun.status is Begin.CANCELLED or begun.reason == "absent":
            # Freed since we looked, or never taken: it is in the backlog, and may be submitted yet.
            return self._tell.absent(work.job)
        # Ours; or of another age, in which nobody can win it any more, so that it is as good as ours.
        return await self._bar(work, seen, begun, won_s)

    async def _bar(self, work: Work, seen: Seen, begun: Begun, won_s: float) -> Told:
        match self._manifest.submit_fence.kind:
            case FenceKind.CANCEL:
                return await self._bar_by_cancel(work)
            case FenceKind.REFERENCE_TTL:
                return self._bar_by_time(work, seen, begun)
            case FenceKind.RESUBMIT if self._may_resubmit(begun):
                return await self._resubmit(work, won_s)
            case FenceKind.RESUBMIT | FenceKind.NONE:
                return self._tell.absent(work.job)

    async def _bar_by_cancel(self, work: Work) -> Told:
        answer = await self._ask(work, self._calls.cancel)
        match answer:
            case Definite(outcome=Outcome.EXPIRED):
                return await self._barred_by_cancel(work)
            case Definite(outcome=Outcome.NOT_FOUND):
                return self._tell.absent(work.job)
            case Definite():
                return self._tell.answer(work.job, answer, asked=Action.INQUIRE)
            case NotSent() | Ambiguous():
                return self._tell.open(work.job, answer.reason, answer.retry_after_s)

    async def _barred_by_cancel(self, work: Work) -> Told:
        """Say what a confirmed cancellation of money out is worth."""
        if self._manifest.submit_fence.kind is not FenceKind.CANCEL:
            return self._tell.absent(work.job)
        return self._tell.barred(work.job, "barred")

    def _bar_by_time(self, work: Work, seen: Seen, begun: Begun) -> Told:
        """Say whether every reference that a submission may have used had expired before we asked.

        What a submission uses is older than its permit. Where the permit is not ours, and may not be the last there
        was, it is older than the latest time at which the job could have been taken.
        """
        fence, job = self._manifest.submit_fence, work.job
        ours = begun.taken_ms if begun.status is Begin.GO else None
        taken_ms = job.created_ms + self._manifest.job_ttl_s * 1000 if ours is None else ours
        final_ms = taken_ms + (fence.period_s + fence.margin_s) * 1000
        if seen.now_ms >= final_ms:
            return self._tell.barred(job, "reference_expired")
        return self._tell.absent(job, (final_ms - seen.now_ms) / 1000 + 1)

    def _may_resubmit(self, begun: Begun) -> bool:
        """Say whether the permit is ours, and the PSP bound to its promise for a while yet."""
        fence = self._manifest.submit_fence
        if begun.status is not Begin.GO or begun.taken_ms is None:
            return False
        return begun.now_ms < begun.taken_ms + (fence.period_s - fence.margin_s) * 1000

    async def _resubmit(self, work: Work, won_s: float) -> Told:
        """Submit again under the same reference, which at such a PSP is another way of asking."""
        job = work.job
        ready = await self._calls.prepare(work.call(self._calls.timeout_s(work.budget)))
        if not isinstance(ready, Ready):
            return self._tell.open(job, "not_prepared")
        if asyncio.get_running_loop().time() - won_s > self._lease_s:
            # Too much time has passed to be sure of the permit and of the period; the next inquiry tries again.
            return self._tell.open(job, "too_slow")
        await self._steps("before_send")
        answer = await self._calls.submit(work.call(self._calls.timeout_s(work.budget), ready.data))
        match answer:
            case Definite(outcome=Outcome.NOT_FOUND):
                return self._tell.absent(job)
            case Definite():
                await self._steps("answer_received")
                return self._tell.answer(job, answer, asked=Action.SUBMIT)
            case NotSent() | Ambiguous():
                return self._tell.open(job, answer.reason, answer.retry_after_s)
