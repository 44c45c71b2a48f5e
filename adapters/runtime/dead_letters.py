"""The verdict on a job that was given up: never submitted, if its permit says so; otherwise nobody knows.

A dead letter is kept for people, but the money that waits for it does not wait for them. `NOT_SUBMITTED` is said only
after winning CANCELLED, so that neither a consumer that wakes up nor a replay submits the job afterwards; everything
else is UNKNOWN, which somebody is told about. Each dead letter gets its verdict once, whichever process gives it. This
module must never take a dead letter away.
"""

import asyncio
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.runtime.metrics import AdapterMetrics
from adapters.runtime.work import Teller, permit_of
from shared.contracts import (
    Action,
    JobMessage,
    Outcome,
    ResultMessage,
    Source,
    read_envelope,
    read_job,
    result_envelope,
)
from shared.errors import OutcomeUnknown, PaymeshError, Transient
from shared.streams import keys, permits
from shared.streams.client import command
from shared.streams.dead_letters import DeadLetterRecord, read_page
from shared.streams.events import wait_up_to
from shared.streams.permits import Cancelled, Replicas
from shared.streams.script import Argument, Script

_GIVE: Final = Script("give_verdict")
_WHO: Final = "dead_letters"
_log = structlog.get_logger(__name__)


class Verdicts:
    """Gives the verdicts on one PSP's dead jobs."""

    def __init__(
        self, *, client: Redis, psp: str, teller: Teller, replicas: Replicas, metrics: AdapterMetrics, pause_s: float
    ) -> None:
        self._client = client
        self._psp = psp
        self._tell = teller
        self._replicas = replicas
        self._metrics = metrics
        self._pause_s = pause_s

    async def run(self, stop: asyncio.Event) -> None:
        """Give verdicts until `stop` is set."""
        while not stop.is_set():
            try:
                while await self.give_page():
                    pass
            except (RedisError, OSError, Transient, OutcomeUnknown) as error:
                _log.warning("psp_verdicts_wait", psp=self._psp, error=type(error).__name__)
            await wait_up_to(stop, self._pause_s)

    async def give_page(self) -> int:
        """Give the verdicts on one page of dead letters that have none; return how many were given."""
        stored: bytes | None = await command(self._client, "GET", keys.verdicts(self._psp))
        last = stored or b""
        given = 0
        for record in await read_page(self._client, keys.jobs(self._psp), after=last or b"0-0"):
            if not await self._give(last, record):
                break
            last, given = record.entry_id, given + 1
        return given

    async def _give(self, last: bytes, record: DeadLetterRecord) -> bool:
        job = self._submission(record)
        verdict = None if job is None else await self._judge(job)
        args: list[Argument] = [last, record.entry_id]
        if verdict is not None:
            args += [word for pair in result_envelope(verdict).fields().items() for word in pair]
        if not await _GIVE.run(self._client, [keys.verdicts(self._psp), keys.results(self._psp)], args):
            return False
        said = "NONE" if verdict is None else verdict.outcome
        self._metrics.verdicts.labels(self._psp, said).inc()
        log = _log.error if said != Outcome.NOT_SUBMITTED else _log.warning
        log("psp_verdict", psp=self._psp, intent_id=record.id, verdict=said, reason=record.reason)
        return True

    async def _judge(self, job: JobMessage) -> ResultMessage:
        if not job.inquire_first:
            won = await permits.win_cancelled(self._client, permit=permit_of(job), who=_WHO, replicas=self._replicas)
            if won is Cancelled.CANCELLED:
                return self._tell.not_submitted(job, "dead_lettered", Source.VERDICT).result
        return self._tell.tell(job, Outcome.UNKNOWN, code="dead_lettered", source=Source.VERDICT)

    def _submission(self, record: DeadLetterRecord) -> JobMessage | None:
        """Return the submission that was given up; None where nothing can or need be said about it."""
        try:
            job = read_job(read_envelope(record.fields))
        except PaymeshError:
            return None
        return job if job.psp == self._psp and job.action is Action.SUBMIT else None
