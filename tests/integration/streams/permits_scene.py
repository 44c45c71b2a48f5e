"""One PSP's slot with its job stream, for tests about permits."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

from redis.asyncio import Redis

from shared.streams import group as calls
from shared.streams import keys, permits
from shared.streams.group import Release
from shared.streams.permits import Begun, Cancelled, PermitFor, Replicas
from shared.streams.verdicts import Member
from tests.integration.streams.scene import EPOCH, MESH_ID, envelope_fields, new_id

PSP = "tp"
JOBS = keys.jobs(PSP)
TTL_MS = 3_600_000
TOKEN = f"{MESH_ID}:{EPOCH}"
_tokens: Iterator[int] = itertools.count(1)


def now_ms() -> int:
    """Return the clock that Redis shares with us."""
    return time.time_ns() // 1_000_000


def consumer(name: str) -> Member:
    """Return a consumer of the job stream."""
    return Member(JOBS, keys.ADAPTER_GROUP, name)


def a_permit(*, age_ms: int = 0, epoch: str = TOKEN) -> PermitFor:
    """Return the permit of a job that was created that long ago."""
    return PermitFor(keys.permit(PSP, str(new_id()), 1, "TEST_PAYOUT"), now_ms() - age_ms, epoch)


def a_token() -> str:
    """Return a token that nobody else has."""
    return f"t{next(_tokens)}"


async def prepare(client: Redis) -> None:
    """Mark the slot and create the group."""
    await client.hset(keys.mesh(PSP), mapping={"id": MESH_ID, "epoch": EPOCH})
    await calls.ensure_group(client, JOBS, keys.ADAPTER_GROUP)


@dataclass(frozen=True)
class Held:
    """An entry in somebody's hands."""

    member: Member
    id: bytes


async def delivered(client: Redis, name: str) -> Held:
    """Add a job and deliver it to the consumer of that name."""
    words = [word for pair in envelope_fields("job").items() for word in pair]
    added: bytes = await client.execute_command("XADD", JOBS, "*", *words)
    member = consumer(name)
    entries = await calls.read(client, member, count=10, block_ms=50)
    assert added in [entry.id for entry in entries]
    return Held(member, added)


async def moved(client: Redis, held: Held, name: str) -> Held:
    """Let another consumer take the entry over, as if its owner were paused."""
    await calls.release(client, held.member, [(held.id, Release.COUNTED)])
    page = await calls.reclaim(client, consumer(name), idle_ms=0, count=10)
    assert held.id in [entry.id for entry in page.entries]
    return Held(consumer(name), held.id)


async def begin(client: Redis, held: Held, permit: PermitFor, token: str, replicas: Replicas = permits.ALONE) -> Begun:
    """Ask for the permit."""
    return await permits.begin_submit(
        client, held.member, held.id, permit=permit, token=token, job_ttl_ms=TTL_MS, replicas=replicas
    )


async def cancel(
    client: Redis, permit: PermitFor, who: str = "poller", replicas: Replicas = permits.ALONE
) -> Cancelled:
    """Ask for the right to say that it was never submitted."""
    return await permits.win_cancelled(client, permit=permit, who=who, replicas=replicas)
