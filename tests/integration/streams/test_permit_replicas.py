"""Permits and replicas: what a failover would forget, nobody acts on and nobody says."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from ops.embedded.server import Server
from ops.embedded.valkey import valkey, valkey_url
from shared.errors import Transient
from shared.streams import permits
from shared.streams.client import connect
from shared.streams.permits import Begin, Cancelled, PermitState, Replicas
from tests.integration.streams.permits_scene import a_permit, a_token, begin, cancel, delivered, prepare
from tests.ports import Lease
from tests.waiting import until

TWO = Replicas(least=1, timeout_ms=150)


@pytest.fixture
def pair(tmp_path: Path, lease: Lease) -> Iterator[tuple[Server, Server, str]]:
    """A server and its replica, which a test may stop; and the first one's URL."""
    ports = lease(), lease()
    servers = [valkey(tmp_path / f"valkey{port}", port) for port in ports]
    for server in servers:
        server.argv = [*server.argv, "--repl-diskless-sync-delay", "0"]
    servers[1].argv = [*servers[1].argv, "--replicaof", f"127.0.0.1 {ports[0]}"]
    for server in servers:
        server.start()
    yield servers[0], servers[1], valkey_url(ports[0])
    for server in servers:
        server.stop()


async def _replicated(client: Redis) -> None:
    await prepare(client)

    async def acknowledged() -> bool:
        await client.set("probe", "1")
        return bool(await client.wait(1, 100))

    await until(acknowledged, "a replica that keeps up", timeout_s=20)


async def test_a_permit_that_no_replica_has_is_given_up_and_nothing_is_sent(pair: tuple[Server, Server, str]) -> None:
    """A failover would forget it, and the job would be paid again."""
    _, replica, url = pair
    client = connect(url)
    await _replicated(client)
    permit, held = a_permit(), await delivered(client, "a")
    replica.kill()
    with pytest.raises(Transient):
        await begin(client, held, permit, a_token(), TWO)
    assert await client.get(permit.key) is None
    replica.start()
    await _replicated(client)
    assert (await begin(client, held, permit, a_token(), TWO)).status is Begin.GO
    await client.aclose()


async def test_never_submitted_is_said_only_once_the_replicas_know_it(pair: tuple[Server, Server, str]) -> None:
    """CANCELLED may stand meanwhile: it never submits; but nobody says so, neither who wrote it nor who finds it."""
    _, replica, url = pair
    client = connect(url)
    await _replicated(client)
    permit, held = a_permit(), await delivered(client, "a")
    replica.kill()
    with pytest.raises(Transient):
        await cancel(client, permit, replicas=TWO)
    with pytest.raises(Transient):
        await cancel(client, permit, replicas=TWO)
    with pytest.raises(Transient):
        await begin(client, held, permit, a_token(), TWO)
    assert (await permits.look(client, permit=permit)).state is PermitState.CANCELLED
    replica.start()
    await _replicated(client)
    assert await cancel(client, permit, replicas=TWO) is Cancelled.CANCELLED
    await client.aclose()


async def test_a_takeover_counts_only_once_the_replicas_know_it(pair: tuple[Server, Server, str]) -> None:
    """What was concluded from an absence must outlive a failover too."""
    _, replica, url = pair
    client = connect(url)
    await _replicated(client)
    permit = a_permit()
    await begin(client, await delivered(client, "a"), permit, a_token(), TWO)
    replica.kill()
    with pytest.raises(Transient):
        await permits.take_over(client, permit=permit, token="t", replicas=TWO)
    await client.aclose()
