"""Looks at a mesh in trouble, a million dead letters and a hundred thousand held entries: fast, and cheap to serve."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis as redis_sync
from redis.asyncio import Redis

from ops.embedded.valkey import valkey, valkey_url
from shared.config import StoreSettings
from shared.streams import keys
from shared.streams.group import ensure_group
from shared.streams.verdicts import Fields
from tests.integration.ops.commanding import Invoke, commands_on
from tests.integration.ops.conftest import Mesh
from tests.ports import Lease

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STREAM, GROUP = keys.intents(0), keys.ORCHESTRATOR_GROUP
DEAD, HELD = 1_000_000, 100_000
BATCH = 10_000
LIMIT_S = 2.0
SERVED_MS_MAX = 100
FILL = """
for number = 1, tonumber(ARGV[1]) do
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
end
"""
RECORD: Fields = {
    b"v": b"1", b"id": b"0199a1b2-c3d4-7e5f-8a9b-0c1d2e030000", b"kind": b"intent", b"src": STREAM.encode(),
    b"src_id": b"1-0", b"group": GROUP.encode(), b"attempts": b"0", b"deliveries": b"1", b"reason": b"permanent",
    b"error_class": b"ValueError", b"error": b"no", b"last_consumer": b"c", b"first_ms": b"1", b"dead_ms": b"1",
    b"o:body": b'{"service_key":"shop"}',
}  # fmt: skip
ENTRY: Fields = {b"v": b"1", b"id": b"x", b"kind": b"intent", b"body": b'{"service_key":"shop"}', b"attempt": b"0"}


@pytest.fixture
def valkey_server(server_folder: Path, lease: Lease) -> Iterator[str]:
    """A server of its own, with room, and without the fsyncs that filling it would wait for."""
    port = lease()
    server = valkey(server_folder / f"valkey-{port}", port, maxmemory_mb=2048)
    server.start()
    try:
        yield valkey_url(port)
    finally:
        server.stop()


async def fill(redis: Redis, stream: str, fields: Fields, count: int) -> None:
    """Add that many entries."""
    words = [word for pair in fields.items() for word in pair]
    for _ in range(count // BATCH):
        await redis.execute_command("EVAL", FILL, 1, stream, BATCH, *words)


@pytest_asyncio.fixture
async def troubled(mesh: Mesh) -> StoreSettings:
    """The mesh, full of trouble, its server's statistics at zero."""
    redis = mesh.redis
    await redis.config_set("appendonly", "no")
    await ensure_group(redis, STREAM, GROUP)
    await fill(redis, STREAM, ENTRY, HELD)
    for number in range(HELD // BATCH):
        await redis.xreadgroup(GROUP, f"holder-{number % 5}", {STREAM: ">"}, count=BATCH)
    await fill(redis, keys.dlq(STREAM), RECORD, DEAD)
    await redis.hset(keys.dlq_counts(STREAM), mapping={"permanent": DEAD})
    await redis.config_set("slowlog-log-slower-than", SERVED_MS_MAX * 1000)
    await redis.slowlog_reset()
    await redis.config_resetstat()
    return mesh.settings


@pytest.fixture
def invoke(mesh: Mesh, troubled: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command on the troubled mesh."""
    del troubled
    return commands_on(mesh, monkeypatch)


def served_cheaply(url: str) -> None:
    """No command held the server up, and none went through all keys."""
    with redis_sync.Redis.from_url(url) as client:
        slow = [(entry["command"][:80], entry["duration"]) for entry in client.slowlog_get(20)]
        used = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
    assert not slow
    assert "xinfo|stream" in used
    assert not used & {"keys", "scan"}


def test_looks_stay_fast_however_much_there_is(invoke: Invoke, valkey_server: str) -> None:
    """Each answers within two seconds, and no command of theirs holds the server up."""
    took: dict[str, float] = {}
    for line in (
        "top --once --json",
        "top --once",
        "streams peek intents.0 --count 256 --json",
        "streams pending intents.0 --count 256 --json",
        "streams pending intents.0 --idle 3600 --json",
        "streams pending intents.0 --consumer holder-3 --json",
        "streams consumers --json",
        "psp list --json",
    ):
        begun = time.perf_counter()
        done = invoke(*line.split())
        took[line] = time.perf_counter() - begun
        assert done.exit_code == 0, done.output
        if line == "top --once --json":
            told = json.loads(done.output)
            assert told["dead"] == DEAD
            assert told["dead_letters"] == [{"stream": STREAM, "reason": "permanent", "count": DEAD}]
            assert (told["streams"][0]["in_flight"], told["streams"][0]["length"]) == (HELD, HELD)
            assert sum(row["held"] for row in told["consumers"]) == HELD
    assert max(took.values()) < LIMIT_S, took
    served_cheaply(valkey_server)
