"""Dead letters for tests of operators' commands, and the commands run as processes of their own."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import SecretStr
from redis.asyncio import Redis

from ops.dlq.reach import Reach, reach_stores
from ops.dlq.replaying import Deed, Replayed, replay
from ops.dlq.search import Search, Wanted
from shared.config import StoreSettings
from shared.contracts import JobMessage, job_envelope
from shared.db.pool import Pool
from shared.streams import group as calls
from shared.streams import keys
from shared.streams.dead_letters import DeadLetterRecord, read_page
from shared.streams.verdicts import DeadLetter, Fields, Member
from tests.integration.adapters.runtime.scene import RING_TEXT
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.processes import ROOT, plain_environ

DEED = Deed("me@here", "mended", {})


def settings_of(database: str, redis_url: str) -> StoreSettings:
    """The stores of a test without a mesh around them."""
    return StoreSettings(
        redis_url=redis_url,
        database_url=database,
        tigerbeetle_addresses=None,
        keyring_text=SecretStr(RING_TEXT),
        keyring_file=None,
    )


async def bury(
    client: Redis, stream: str, entries: Sequence[Fields], *, group: str = keys.ORCHESTRATOR_GROUP,
    reason: str = "permanent",
) -> None:  # fmt: skip
    """Let entries die, as a consumer gives them up."""
    await calls.ensure_group(client, stream, group)
    for start in range(0, len(entries), 256):
        async with client.pipeline(transaction=False) as pipeline:
            for fields in entries[start : start + 256]:
                pipeline.execute_command("XADD", stream, "*", *[word for pair in fields.items() for word in pair])
            await pipeline.execute()
        await bury_waiting(client, stream, group=group, reason=reason)


async def bury_waiting(
    client: Redis, stream: str, *, group: str = keys.ORCHESTRATOR_GROUP, reason: str = "permanent"
) -> None:
    """Let whatever waits on a stream die."""
    member = Member(stream, group, "undertaker")
    while read := await calls.read(client, member, count=256, block_ms=10):
        await calls.dead_letter(client, member, [(entry.id, DeadLetter(reason, "Broken", "why")) for entry in read])


async def bury_job(client: Redis, job: JobMessage, *, reason: str = "permanent") -> DeadLetterRecord:
    """Let a job die; return its record."""
    stream = keys.jobs(job.psp)
    await bury(client, stream, [job_envelope(job).fields()], group=keys.ADAPTER_GROUP, reason=reason)
    return (await read_page(client, stream))[-1]


@asynccontextmanager
async def reaching(mesh: Mesh) -> AsyncIterator[Reach]:
    """The mesh's stores as a command reaches them."""
    async with reach_stores(mesh.settings) as reach:
        yield reach


async def replay_all(reach: Reach, stream: str, *, rate: int = 10_000) -> Replayed:
    """Put everything back that died in a stream."""
    search = Search(reach.redis, [stream], Wanted(), limit=1_000_000)
    return await replay(reach, search, DEED, rate=rate, advance=lambda _count: None)


async def insert_intent(pool: Pool, job: JobMessage, *, state: str) -> None:
    """Write an intent into the log whose submission is the job."""
    intent = UUID(job.intent_id)
    await pool.execute(
        "INSERT INTO pm.intent (id, service_key_id, idempotency_key, operation_type, channel, amount_minor, currency,"
        " state, version, funds, operation, created_at)"
        " VALUES ($1, 'shop', $2, 'IPPS_WITHDRAWAL', 'TP', $3, 'THB', $4, 2, 'held', '{}', now())",
        intent,
        job.intent_id,
        job.amount_minor,
        state,
    )
    await pool.execute(
        "INSERT INTO pm.outbox_event (intent_id, attempt, action, psp, body, sent_at)"
        " VALUES ($1, 1, 'submit', $2, $3, now())",
        intent,
        job.psp,
        job.model_dump_json(),
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    code: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """What it printed, read as JSON."""
        return json.loads(self.output)


async def typed(settings: StoreSettings, *arguments: str, environ: Mapping[str, str] | None = None) -> Ended:
    """Run one `paymesh` command in a process of its own."""
    ring = settings.keyring_text
    env = plain_environ(
        REDIS_URL=settings.redis_url,
        DATABASE_URL=settings.database_url,
        PAYMESH_KEYRING=ring.get_secret_value() if ring is not None else "",
        PYTHONPATH=os.fspath(ROOT),
        **(environ or {}),
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ops.cli",
        *arguments,
        cwd=ROOT,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(child.communicate(), 90)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return Ended(child.returncode or 0, output.decode(), errors.decode())
