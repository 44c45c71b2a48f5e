"""Looks at a mesh in trouble, a million dead letters and a hundred thousand held entries: fast, and cheap to serve."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis as redis_sync
from typer.testing import Result

from ops.embedded.valkey import valkey, valkey_url
from shared.config import StoreSettings
from shared.streams import keys
from shared.streams.verdicts import Fields
from tests.integration.ops.commanding import Invoke, commands_on
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.flooding import fill, fill_and_hold
from tests.ports import Lease

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STREAM, GROUP = keys.intents(0), keys.ORCHESTRATOR_GROUP
DEAD, HELD = 1_000_000, 100_000
LIMIT_S = 2.0
SERVED_MS_MAX = 100
LOOKS = (
    "top --once --json",
    "top --once",
    "streams peek intents.0 --count 256 --json",
    "streams pending intents.0 --count 256 --json",
    "streams pending intents.0 --idle 3600 --json",
    "streams pending intents.0 --consumer holder-3 --json",
    "streams consumers --json",
    "psp list --json",
)
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


@pytest.fixture
def calm(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """How long each look takes, in seconds, while there is nothing to be seen: what a busy machine makes of it."""
    invoke = commands_on(mesh, monkeypatch)
    return {line: timed(invoke, line)[0] for line in LOOKS}


@pytest_asyncio.fixture
async def troubled(mesh: Mesh, calm: dict[str, float]) -> StoreSettings:
    """The mesh, full of trouble, its server's statistics at zero."""
    del calm
    redis = mesh.redis
    await redis.config_set("appendonly", "no")
    holders = [f"holder-{number}" for number in range(5)]
    await fill_and_hold(redis, STREAM, ENTRY, HELD, group=GROUP, holders=holders)
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


def timed(invoke: Invoke, line: str) -> tuple[float, Result]:
    """Run a command; return how long that took, in seconds, and what came of it."""
    begun = time.perf_counter()
    done = invoke(*line.split())
    return time.perf_counter() - begun, done


def test_looks_stay_fast_however_much_there_is(invoke: Invoke, valkey_server: str, calm: dict[str, float]) -> None:
    """Each answers within two seconds, and no command of theirs holds the server up."""
    took: dict[str, float] = {}
    for line in LOOKS:
        took[line], done = timed(invoke, line)
        assert done.exit_code == 0, done.output
        if line == "top --once --json":
            told = json.loads(done.output)
            assert told["dead"] == DEAD
            assert told["dead_letters"] == [{"stream": STREAM, "reason": "permanent", "count": DEAD}]
            assert (told["streams"][0]["in_flight"], told["streams"][0]["length"]) == (HELD, HELD)
            assert sum(row["held"] for row in told["consumers"]) == HELD
    # Where nothing takes so long already, what counts is that a million make it no worse.
    late = {line: (took_s, calm[line]) for line, took_s in took.items() if took_s > max(LIMIT_S, 3 * calm[line])}
    assert not late, "seconds, and seconds when there was nothing"
    served_cheaply(valkey_server)
