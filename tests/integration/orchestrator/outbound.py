"""What tests of the outbound half share: PSPs in the register, jobs in the outbox, intents that wait for an answer."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from orchestrator.outbound_metrics import OutboundMetrics
from orchestrator.poller import Poller
from orchestrator.psp_register import PspRegister
from orchestrator.relay import Relay
from shared.contracts import Action, JobMessage, ResultMessage, read_envelope, read_job, read_result
from shared.db.pool import Pool
from shared.psp import (
    FenceKind,
    Manifest,
    OperationRules,
    PollSchedule,
    ReferenceFormat,
    SubmitFence,
    write_manifest,
)
from shared.streams import keys
from shared.streams.permits import PermitFor
from tests.integration.orchestrator.world import new_id

PSP = "tp"
PAYOUT = "TEST_PAYOUT"
MESH_ID = "6f1f8a52-9f4f-4b5a-8c88-2f7c0a1f3c11"
TOKEN = f"{MESH_ID}:1"
JOB_TTL_S = 600


def manifest_of(psp: str = PSP, **changes: Any) -> Manifest:
    """A PSP that pays out baht, and takes them in."""
    rules = OperationRules("out", "THB", 100, 5_000_000)
    plain = Manifest(
        psp=psp,
        channel=psp.upper(),
        operations={PAYOUT: rules, "TEST_TOPUP": replace(rules, direction="in")},
        reference=ReferenceFormat("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 15),
        status_by_our_reference=True,
        submit_fence=SubmitFence(FenceKind.RESUBMIT, 86_400, 600),
        job_ttl_s=JOB_TTL_S,
        poll=PollSchedule(10, 2.0, 900, 3600),
    )
    return replace(plain, **changes)


def now_ms() -> int:
    """The clock that Redis shares with us."""
    return time.time_ns() // 1_000_000


def a_job(psp: str = PSP, *, age_s: float = 0, **changes: Any) -> JobMessage:
    """A submission that was planned that long ago."""
    intent = str(new_id())
    plain = JobMessage(
        psp=psp,
        intent_id=intent,
        attempt=1,
        operation=PAYOUT,
        action=Action.SUBMIT,
        reference=f"R{intent[:18].replace('-', '').upper()}",
        amount_minor=12_345,
        currency="THB",
        created_ms=now_ms() - int(age_s * 1000),
        epoch=TOKEN,
        destination={"proxy_type": "MOBILE", "proxy": "k2:nonce:text"},
    )
    return plain.model_copy(update=changes)


def permit_of(job: JobMessage) -> PermitFor:
    """The permit of a job."""
    return PermitFor(keys.permit(job.psp, job.intent_id, job.attempt, job.operation), job.created_ms, job.epoch)


@dataclass(slots=True)
class Outbound:
    """Real stores, and processes' halves over them."""

    pool: Pool
    redis: Redis
    outbox_max: int = 50_000
    jobs_max: int = 10_000
    psps: PspRegister = field(init=False)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.psps = self.another_register(OutboundMetrics(self.registry))

    def another_register(self, metrics: OutboundMetrics | None = None) -> PspRegister:
        """The register of another process."""
        return PspRegister(
            pool=self.pool, redis=self.redis, epoch=TOKEN, poll_s=0.02, outbox_max=self.outbox_max, metrics=metrics
        )

    def relay(self, redis: Redis | None = None, pool: Any = None) -> Relay:
        """Another process's relay."""
        return Relay(
            pool=pool or self.pool,
            redis=redis or self.redis,
            psps=self.psps,
            metrics=OutboundMetrics(CollectorRegistry()),
            jobs_max=self.jobs_max,
            poll_s=0.02,
        )

    def poller(self, redis: Redis | None = None) -> Poller:
        """Another process's poller."""
        return Poller(
            pool=self.pool,
            redis=redis or self.redis,
            psps=self.psps,
            metrics=OutboundMetrics(CollectorRegistry()),
            jobs_max=self.jobs_max,
            poll_s=0.02,
        )

    async def enrol(self, *manifests: Manifest) -> None:
        """Register PSPs, mark their slots, and look at the register."""
        for manifest in manifests:
            await self.pool.execute(
                "INSERT INTO pm.psp (psp, manifest) VALUES ($1, $2)"
                " ON CONFLICT (psp) DO UPDATE SET manifest = EXCLUDED.manifest, version = pm.psp.version + 1",
                manifest.psp,
                write_manifest(manifest),
            )
            await self.redis.hset(keys.mesh(manifest.psp), mapping={"id": MESH_ID, "epoch": 1, "tick": 1})
        await self.psps.refresh()

    async def pause(self, psp: str, operation: str = "*") -> None:
        """Pause something where the decision is kept."""
        await self.pool.execute(
            "INSERT INTO pm.psp_control (psp, operation, reason, paused_by) VALUES ($1, $2, 'test', 'me at here')",
            psp,
            operation,
        )

    async def write(self, *jobs: JobMessage, sent: bool = False) -> None:
        """Write jobs into the outbox."""
        await self.pool.executemany(
            "INSERT INTO pm.outbox_event (intent_id, attempt, action, psp, body, sent_at)"
            " VALUES ($1, $2, $3, $4, $5, CASE WHEN $6 THEN now() END)",
            [
                (UUID(job.intent_id), job.attempt, job.action.value, job.psp, job.model_dump_json(), sent)
                for job in jobs
            ],
        )

    async def open_intent(
        self, job: JobMessage, *, state: str = "AUTHORIZED", sent: bool = True, polls: int = 0, due_s: float = -1.0
    ) -> None:
        """Record an intent whose submission is that job, due since, or in, that many seconds."""
        await self.write(job, sent=sent)
        await self.pool.execute(
            "INSERT INTO pm.psp_reference (psp, reference, intent_id, attempt) VALUES ($1, $2, $3, $4)",
            job.psp,
            job.intent_id.replace("-", ""),
            UUID(job.intent_id),
            job.attempt,
        )
        await self.pool.execute(
            "INSERT INTO pm.intent (id, service_key_id, idempotency_key, operation_type, channel, amount_minor, "
            " currency, state, version, operation, created_at, next_poll_at, polls)"
            " VALUES ($1, 'shop', $2, $3, 'TP', $4, 'THB', $5, 3, '{}', now(), now() + make_interval(secs => $6), $7)",
            UUID(job.intent_id),
            job.intent_id,
            job.operation,
            job.amount_minor,
            state,
            due_s,
            polls,
        )

    async def next_poll(self, job: JobMessage) -> tuple[float, int]:
        """In how many seconds an intent is looked at next, and how often it was asked about."""
        row = await self.pool.fetchrow(
            "SELECT extract(epoch FROM next_poll_at - now())::float8 AS left_s, polls FROM pm.intent WHERE id = $1",
            UUID(job.intent_id),
        )
        assert row is not None
        return row["left_s"], row["polls"]

    async def unsent(self, psp: str = PSP) -> list[str]:
        """The intents whose jobs still wait in the outbox."""
        rows = await self.pool.fetch(
            "SELECT intent_id FROM pm.outbox_event WHERE psp = $1 AND sent_at IS NULL ORDER BY intent_id", psp
        )
        return [str(row["intent_id"]) for row in rows]

    async def jobs(self, psp: str = PSP) -> list[JobMessage]:
        """What stands in a PSP's job stream."""
        return [read_job(read_envelope(fields)) for fields in await self._stream(keys.jobs(psp))]

    async def results(self, psp: str = PSP) -> list[ResultMessage]:
        """What stands in a PSP's result stream."""
        return [read_result(read_envelope(fields)) for fields in await self._stream(keys.results(psp))]

    async def _stream(self, stream: str) -> Sequence[dict[bytes, bytes]]:
        raw: list[tuple[bytes, dict[bytes, bytes]]] = await self.redis.xrange(stream)  # type: ignore[assignment]
        return [fields for _, fields in raw]

    async def fill_delay(self, psp: str, jobs: int) -> None:
        """Put members into the delay set, as planned retries do."""
        if jobs:
            await self.redis.zadd(keys.delay(keys.jobs(psp)), {json.dumps(n): now_ms() + 60_000 for n in range(jobs)})
