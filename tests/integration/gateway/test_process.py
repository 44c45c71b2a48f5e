"""The gateway as processes of its own: side by side on one port, stopped politely, killed rudely."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from shared.process import EXIT_CONFIG
from tests.integration.gateway.stand import KEYRING, Client, Stand
from tests.ports import Lease
from tests.waiting import until

ROOT = Path(__file__).parents[3]


def environment(stand: Stand, port: int, **more: str) -> dict[str, str]:
    """Return the environment of a gateway process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PAYMESH_", "GATEWAY_"))}
    return {
        **kept,
        "REDIS_URL": stand.redis_url,
        "DATABASE_URL": stand.database_url,
        "PAYMESH_KEYRING": KEYRING,
        "PAYMESH_ENVIRONMENT": "test",
        "GATEWAY_PORT": str(port),
        "GATEWAY_POOL_MAX": "2",
        **more,
    }


@asynccontextmanager
async def process(stand: Stand, port: int, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a gateway process for the length of a block."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.main", cwd=ROOT, env=environment(stand, port, **more),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def test_two_processes_share_a_port_and_one_may_die(stand: Stand, lease: Lease) -> None:
    """Each post under one key, tried again after a broken connection: accepted, once each."""
    port = lease()
    async with process(stand, port) as one, process(stand, port) as two:
        client = Client(f"http://127.0.0.1:{port}", port, stand.session)
        for running in (one, two):
            await until(partial(_listens, running.pid, port), "it listens", timeout_s=20)
        first = await asyncio.gather(*(client.post(key=f"k-{turn}") for turn in range(40)))
        assert {answer.status for answer in first} == {202}
        one.send_signal(signal.SIGKILL)
        await one.wait()
        again = [await _stubborn(port, f"k-{turn}") for turn in range(40)]
        assert again == [answer.document["id"] for answer in first]
        two.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(two.wait(), 15) == 0
    assert len(await stand.entries()) == 40


def _listens(pid: int, port: int) -> bool:
    """Say whether the process holds a listening socket on the port."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    held = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            held.add(str(descriptor.readlink()))
        except OSError:
            continue
    return bool(inodes & held)


async def _stubborn(port: int, key: str) -> str:
    """Post until answered, on fresh connections."""

    async def answered() -> str | None:
        async with aiohttp.ClientSession() as session:
            try:
                answer = await Client(f"http://127.0.0.1:{port}", port, session).post(key=key)
            except aiohttp.ClientError:
                return None
        return answer.document["id"] if answer.status == 202 else None

    return str(await until(answered, "an answer"))


async def test_a_request_under_way_is_answered_before_a_polite_end(stand: Stand, lease: Lease) -> None:
    """SIGTERM while somebody waits: 202 with what is known, then exit 0."""
    port = lease()
    async with process(stand, port) as running:
        client = Client(f"http://127.0.0.1:{port}", port, stand.session)
        await until(partial(_listens, running.pid, port), "it listens", timeout_s=20)
        waiting = asyncio.create_task(client.post(wait_s=25))
        await until(stand.entries, "the entry")
        running.send_signal(signal.SIGTERM)
        assert (await waiting).status == 202
        assert await asyncio.wait_for(running.wait(), 15) == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"GATEWAY_ADMISION_LIMIT": "5"}, "GATEWAY_ADMISION_LIMIT: there is no such setting"),
        ({"GATEWAY_ADMISSION_LIMIT": "many"}, "GATEWAY_ADMISSION_LIMIT"),
        ({"GATEWAY_TRUSTED_PROXIES": "10.0.0.0/8,nonsense"}, "GATEWAY_TRUSTED_PROXIES"),
        ({"PAYMESH_KEYRING": "k1:short"}, "key k1 of the ring"),
    ],
)
async def test_a_wrong_environment_stops_the_start_and_names_the_fault(
    stand: Stand, lease: Lease, more: dict[str, str], words: str
) -> None:
    """Exit 78, one line, no trace."""
    async with process(stand, lease(), **more) as running:
        _, said = await asyncio.wait_for(running.communicate(), 20)
    assert running.returncode == EXIT_CONFIG
    assert words in said.decode()
    assert "Traceback" not in said.decode()


async def test_stores_of_two_meshes_stop_the_start(stand: Stand, lease: Lease) -> None:
    """Before a single request is taken."""
    await stand.redis.flushall()
    async with process(stand, lease()) as running:
        _, said = await asyncio.wait_for(running.communicate(), 20)
    assert running.returncode == EXIT_CONFIG
    assert "emptied" in said.decode()
