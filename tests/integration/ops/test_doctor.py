"""The doctor on real stores: every finding is planted and found, and nothing else is."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
import typer
from pydantic import SecretStr
from redis.asyncio import Redis
from typer.testing import CliRunner

from ops.audit import actor
from ops.cli import app
from ops.doctor import streams
from ops.doctor.findings import Diagnosis, Severity
from ops.doctor.run import examine
from ops.psps import pause, register
from ops.stores import open_stores
from reconciler.consumers import groups
from shared import intake
from shared.clock import wall_ms
from shared.contracts import Envelope, Kind
from shared.ledger.mesh_mark import TickingLedger
from shared.mesh import LAG_TICKS_MAX, tick
from shared.sealing import generate
from shared.streams import keys
from shared.streams.accept import append
from shared.streams.breaker import BreakerRules, record
from shared.streams.dead_letters import Reason, read_page, redrive
from shared.streams.group import dead_letter, ensure_group, read
from shared.streams.verdicts import DeadLetter, Fields, Member
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.dlq_scene import bury_waiting
from tests.integration.ops.flooding import fill, fill_and_hold
from tests.integration.orchestrator.outbound import PSP, manifest_of
from tests.integration.orchestrator.world import new_id

FSYNC_IS_OFF_IN_TESTS = "postgres.fsync"
INTENTS = keys.intents(0)
ALIVE = "alive"


@pytest_asyncio.fixture
async def staffed(mesh: Mesh) -> Mesh:
    """A mesh with a PSP, all of whose streams are read."""
    async with open_stores(mesh.settings) as stores:
        await register(stores, manifest_of(), actor=actor())
    await staff(mesh)
    return mesh


async def staff(mesh: Mesh) -> None:
    """Have every stream read just now."""
    for stream, group in groups(mesh.installed.mesh.partitions, [PSP]):
        await ensure_group(mesh.redis, stream, group)
        await read(mesh.redis, Member(stream, group, ALIVE), count=1, block_ms=1)


async def diagnosed(mesh: Mesh, **wiring: Any) -> Diagnosis:
    """Examine the mesh."""
    return await examine(mesh.settings, **wiring)


def faults(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """What is wrong, by check and subject, but for what every test server has."""
    found = [each for each in diagnosis.findings if each.severity is not Severity.NOTE]
    assert all(each.mend for each in found), "every fault names what mends it"
    assert not [each.mend for each in found if not offered(each.mend)]
    return sorted({(each.check, each.subject) for each in found if each.check != FSYNC_IS_OFF_IN_TESTS})


def offered(mend: str) -> bool:
    """Say whether every `paymesh` command in it exists, with the options that it is given."""
    for words in (part.split()[1:] for part in re.split(r"&&|;|, or ", mend) if part.strip().startswith("paymesh ")):
        command: Any = typer.main.get_command(app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        if hasattr(command, "commands") or not options.issuperset(word for word in words if word.startswith("--")):
            return False
    return True


async def only(mesh: Mesh, check: str, subject: str, **wiring: Any) -> None:
    """Make sure that exactly this is found."""
    assert faults(await diagnosed(mesh, **wiring)) == [(check, subject)]


async def accepted(mesh: Mesh, count: int = 1) -> None:
    """Put entries into a stream."""
    for _ in range(count):
        await append(mesh.redis, partition=0, envelope=Envelope(Kind.RESUME, str(new_id()), b"{}"))


async def taken(mesh: Mesh, count: int, consumer: str = ALIVE) -> list[bytes]:
    """Have a consumer take entries and sit on them."""
    await accepted(mesh, count)
    member = Member(INTENTS, keys.ORCHESTRATOR_GROUP, consumer)
    return [entry.id for entry in await read(mesh.redis, member, count=count, block_ms=100)]


async def test_a_sound_mesh_has_nothing_but_notes(staffed: Mesh) -> None:
    """Every part was looked at; what is noted is that there are no replicas."""
    diagnosis = await diagnosed(staffed)
    assert faults(diagnosis) == []
    assert {each.check for each in diagnosis.findings} == {FSYNC_IS_OFF_IN_TESTS, "postgres.standby", "redis.replicas"}
    assert not diagnosis.left_out
    assert {
        "PostgreSQL settings",
        "Redis settings",
        "streams",
        "marks",
        "ledger",
        "clocks",
        "records",
        "key ring",
    } <= set(diagnosis.looked_at)


@asynccontextmanager
async def configured(redis: Redis, name: str, value: str) -> AsyncIterator[None]:
    """Set a setting of the session's Valkey for the length of the block."""
    before = str((await redis.config_get(name))[name])
    await redis.config_set(name, value)
    try:
        yield
    finally:
        await redis.config_set(name, before)


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("appendonly", "no", "redis.appendonly"),
        ("appendfsync", "everysec", "redis.appendfsync"),
        ("maxmemory-policy", "allkeys-lru", "redis.maxmemory-policy"),
        ("maxmemory", "0", "redis.maxmemory"),
        ("no-appendfsync-on-rewrite", "yes", "redis.rewrite"),
    ],
)
async def test_settings_by_which_redis_loses_payments(staffed: Mesh, name: str, value: str, check: str) -> None:
    """As the server says of itself."""
    async with configured(staffed.redis, name, value):
        await only(staffed, check, name)


async def test_short_memory_is_found(staffed: Mesh) -> None:
    """The door refuses from there on."""
    used = (await staffed.redis.info("memory"))["used_memory"]
    async with configured(staffed.redis, "maxmemory", str(int(used * 1.2))):
        await only(staffed, "redis.memory", "Redis")


async def test_a_server_that_keeps_its_settings_to_itself(staffed: Mesh) -> None:
    """What cannot be known is a finding."""
    await staffed.redis.execute_command("ACL SETUSER doctor on >pass ~* &* +@all -config")
    try:
        url = staffed.settings.redis_url.replace("redis://", "redis://doctor:pass@")
        staffed.settings = staffed.settings.model_copy(update={"redis_url": url})
        await only(staffed, "redis.config", "Redis")
    finally:
        await staffed.redis.execute_command("ACL DELUSER doctor")


async def test_a_session_that_does_not_wait_for_its_commit(staffed: Mesh) -> None:
    """Even where only this database was told so."""
    name = await staffed.pool.fetchval("SELECT current_database()")
    await staffed.pool.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await only(staffed, "postgres.synchronous_commit", "synchronous_commit")


async def test_migrations_that_are_pending_or_changed(staffed: Mesh) -> None:
    """The ledger's own series too."""
    await staffed.pool.execute("UPDATE pm_migrations SET sha256 = repeat('0', 64) WHERE name = '0001_trunk.sql'")
    await only(staffed, "postgres.migrations", "migrations")
    await staffed.pool.execute("DELETE FROM pm_migrations")
    found = faults(await diagnosed(staffed))
    assert found == [("postgres.migrations", "migrations"), ("postgres.migrations", "postgres_ledger")]


async def test_a_missing_group(staffed: Mesh) -> None:
    """Somebody deleted it, or Redis was emptied: the entries are read by nobody."""
    await accepted(staffed, 3)
    await staffed.redis.xgroup_destroy(INTENTS, keys.ORCHESTRATOR_GROUP)
    await only(staffed, "streams.group", INTENTS)
    await staffed.redis.delete(keys.results(PSP))
    assert faults(await diagnosed(staffed)) == [("streams.group", INTENTS), ("streams.group", keys.results(PSP))]


async def test_streams_that_nobody_reads(staffed: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PSP without an adapter among them."""
    monkeypatch.setattr(streams, "READING_MS", -1)
    found = faults(await diagnosed(staffed))
    assert {check for check, _ in found} == {"streams.unread"}
    assert ("streams.unread", keys.jobs(PSP)) in found


async def test_a_psp_whose_adapter_is_gone(staffed: Mesh) -> None:
    """Its name was retired, and nobody came after it."""
    await staffed.redis.xgroup_delconsumer(keys.jobs(PSP), keys.ADAPTER_GROUP, ALIVE)
    diagnosis = await diagnosed(staffed)
    assert faults(diagnosis) == [("streams.unread", keys.jobs(PSP))]
    assert [each.mend for each in diagnosis.findings if each.check == "streams.unread"] == [
        f"python -m adapters.{PSP}.main"
    ]


async def test_ghosts_among_many_pending(staffed: Mesh) -> None:
    """One payload of a hundred is gone: found by looking, since other entries make the counts agree."""
    ids = await taken(staffed, 100)
    await accepted(staffed, 5)
    await staffed.redis.xdel(INTENTS, ids[40])
    diagnosis = await diagnosed(staffed)
    assert faults(diagnosis) == [("streams.ghosts", INTENTS)]
    (found,) = [each for each in diagnosis.findings if each.check == "streams.ghosts"]
    assert "at least 1 of 100" in found.detail
    assert ids[40].decode() in found.detail


async def test_a_silent_consumer_that_holds_entries(staffed: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has taken them over, so nobody reclaims."""
    await taken(staffed, 1, "dead")
    monkeypatch.setattr(streams, "HOLDING_MS", -1)
    await only(staffed, "streams.stale_consumer", INTENTS)


async def test_a_psp_whose_breaker_is_open(staffed: Mesh) -> None:
    """It is down: jobs wait, and nothing else says so."""
    await record(staffed.redis, PSP, "0" * BreakerRules().row_max, rules=BreakerRules(), jitter=0.0)
    await only(staffed, "psps.breaker", PSP)


async def test_names_that_gone_consumers_left(staffed: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every restart leaves one; nobody else is touched."""
    monkeypatch.setattr(streams, "SILENT_MS", -1)
    assert {check for check, _ in faults(await diagnosed(staffed))} == {"streams.gone_consumers"}


async def buried(mesh: Mesh, reason: str, count: int = 1) -> None:
    """Give entries up."""
    member = Member(INTENTS, keys.ORCHESTRATOR_GROUP, ALIVE)
    for entry in await taken(mesh, count):
        await dead_letter(mesh.redis, member, [(entry, DeadLetter(reason, "X", "x"))])


async def test_dead_letters_that_wait_for_people(staffed: Mesh) -> None:
    """Those that the reconciler puts back are none."""
    await buried(staffed, Reason.MAX_DELIVERIES)
    assert faults(await diagnosed(staffed)) == []
    await buried(staffed, Reason.INVARIANT)
    await only(staffed, "streams.dead_letters", INTENTS)


async def test_intents_that_die_again_and_again(staffed: Mesh) -> None:
    """The reconciler puts them back for ever: after the third time somebody is told where to look."""
    await buried(staffed, Reason.PERMANENT)
    for _ in range(streams.REPLAYS_MIN):
        assert faults(await diagnosed(staffed)) == []
        (record,) = await read_page(staffed.redis, INTENTS)
        assert await redrive(staffed.redis, INTENTS, record.entry_id)
        await bury_waiting(staffed.redis, INTENTS)
    await only(staffed, "streams.dead_again", INTENTS)


async def test_dead_letters_of_jobs_always_wait_for_people(staffed: Mesh) -> None:
    """Nobody puts those back by themselves."""
    stream, member = keys.jobs(PSP), Member(keys.jobs(PSP), keys.ADAPTER_GROUP, ALIVE)
    await staffed.redis.xadd(stream, {"v": "1"})
    (entry,) = await read(staffed.redis, member, count=1, block_ms=100)
    await dead_letter(staffed.redis, member, [(entry.id, DeadLetter(Reason.PERMANENT, "X", "x"))])
    await only(staffed, "streams.dead_letters", stream)


@pytest.mark.parametrize("ahead_ms", [2_000, -2_000, 7_000])
async def test_clocks_that_differ(staffed: Mesh, ahead_ms: int) -> None:
    """This host's against both servers'; beyond what the door takes it is critical."""
    diagnosis = await diagnosed(staffed, clock_ms=lambda: wall_ms() + ahead_ms)
    assert faults(diagnosis) == [("clocks.skew", "this host and PostgreSQL"), ("clocks.skew", "this host and Redis")]
    severities = {each.severity for each in diagnosis.findings if each.check == "clocks.skew"}
    assert severities == {Severity.CRITICAL if ahead_ms > 5_000 else Severity.WARNING}


async def test_a_slot_that_lost_its_mark(staffed: Mesh) -> None:
    """A partition's, or a PSP's: nothing is submitted without."""
    await staffed.redis.delete(keys.mesh(PSP))
    diagnosis = await diagnosed(staffed)
    assert faults(diagnosis) == [("mesh.marks", "Redis")]
    (found,) = [each for each in diagnosis.findings if each.check == "mesh.marks"]
    assert (f"slot {PSP}" in found.detail, found.mend) == (True, "paymesh recover")


async def test_a_database_that_lags_behind(staffed: Mesh) -> None:
    """It was restored from an older copy."""
    before = await staffed.pool.fetchval("SELECT tick FROM pm.mesh")
    for _ in range(LAG_TICKS_MAX + 1):
        await tick(pool=staffed.pool, redis=staffed.redis, ledger=TickingLedger(staffed.ledger))
    await staffed.pool.execute("UPDATE pm.mesh SET tick = $1", before)
    await only(staffed, "mesh.marks", "PostgreSQL")


async def test_a_database_of_no_mesh(staffed: Mesh) -> None:
    """Emptied, or another server."""
    await staffed.pool.execute("DELETE FROM pm.mesh")
    assert ("mesh.identity", "identity") in faults(await diagnosed(staffed))


async def test_another_kind_of_ledger(staffed: Mesh) -> None:
    """These settings would begin new books."""
    await staffed.pool.execute("UPDATE pm.mesh SET ledger_kind = 'tigerbeetle'")
    await only(staffed, "ledger.kind", "postgres")


async def test_a_ledger_that_does_not_answer(staffed: Mesh) -> None:
    """Within the time, and with everything else looked at."""
    await staffed.pool.execute("UPDATE pm.mesh SET ledger_kind = 'tigerbeetle'")
    staffed.settings = staffed.settings.model_copy(update={"tigerbeetle_addresses": "127.0.0.1:1"})
    diagnosis = await diagnosed(staffed)
    assert faults(diagnosis) == [("reach", "ledger")]
    assert diagnosis.left_out == ("ledger",)


async def test_a_missing_partition_and_rows_that_fell_into_the_default_one(staffed: Mesh) -> None:
    """Next month's is missing; a row of a year without any has come."""
    name = await staffed.pool.fetchval("SELECT 'pm.intent_event_' || to_char(now() + interval '1 month', 'YYYY_MM')")
    await staffed.pool.execute(f"DROP TABLE {name}")
    await only(staffed, "postgres.partitions", "pm.intent_event")
    await staffed.pool.execute("SELECT pm.ensure_partitions(now(), 4)")
    insert = "INSERT INTO pm.intent_event (intent_id, seq, from_state, to_state) VALUES ($1, 1, 'CREATED', 'VALIDATED')"
    await staffed.pool.execute(insert, uuid4())
    await only(staffed, "postgres.default_partition", "pm.intent_event_default")


async def test_a_psp_without_routes(staffed: Mesh) -> None:
    """Switched off, and never made."""
    await staffed.pool.execute("UPDATE pm.payment_route SET active = false WHERE channel = 'TP'")
    await only(staffed, "psps.route", PSP)
    await staffed.pool.execute("DELETE FROM pm.payment_route WHERE channel = 'TP'")
    diagnosis = await diagnosed(staffed)
    assert [each.mend for each in diagnosis.findings if each.check == "psps.route"] == [f"paymesh psp register {PSP}"]


async def test_a_psp_whose_manifest_makes_no_sense(staffed: Mesh) -> None:
    """Of another release."""
    await staffed.pool.execute("UPDATE pm.psp SET manifest = '{}'")
    await only(staffed, "psps.manifest", PSP)


async def test_a_paused_psp_is_noted(staffed: Mesh) -> None:
    """Somebody wanted it so."""
    wiring: dict[str, Any] = {"psp": PSP, "operation": "*", "reason": "burning", "actor": "me"}
    await pause(staffed.pool, staffed.redis, **wiring)
    diagnosis = await diagnosed(staffed)
    assert faults(diagnosis) == []
    (found,) = [each for each in diagnosis.findings if each.check == "psps.paused"]
    assert "burning" in found.detail


async def test_open_critical_alerts(staffed: Mesh) -> None:
    """Closed ones and warnings are none."""
    insert = (
        "INSERT INTO pm.reconciliation_alert (severity, kind, subject, detail, closed_at) VALUES ($1, $2, $3, '{}', $4)"
    )
    closed = await staffed.pool.fetchval("SELECT now()")
    await staffed.pool.executemany(
        insert, [("critical", "old", "x", closed), ("warning", "mild", "x", None), ("critical", "break", "x", None)]
    )
    await only(staffed, "alerts.open", "break")


@pytest.mark.parametrize("why", intake.Why)
async def test_a_closed_door(staffed: Mesh, why: intake.Why) -> None:
    """With who closed it, and why."""
    async with staffed.pool.acquire() as connection:
        await intake.close(connection, why, reason="moving house", by="me")
    await only(staffed, "mesh.intake", str(why))


async def test_a_key_ring_that_lacks_a_key(staffed: Mesh) -> None:
    """A service key's secret cannot be opened: its caller is locked out."""
    await staffed.pool.execute(
        "INSERT INTO pm.service_key (id, owner, permissions, secret) VALUES ('shop', 'me', '{}', 'k9:nonce:text')"
    )
    await only(staffed, "keyring.key", "shop")
    staffed.settings = staffed.settings.model_copy(update={"keyring_text": SecretStr(generate("k9"))})
    assert faults(await diagnosed(staffed)) == []


async def test_a_key_ring_that_cannot_be_read_and_one_that_is_not_given(staffed: Mesh, tmp_path: Path) -> None:
    """A fault, and a note: most commands need none."""
    staffed.settings = staffed.settings.model_copy(update={"keyring_text": SecretStr("nonsense")})
    await only(staffed, "keyring.unreadable", "key ring")
    gone = {"keyring_text": None, "keyring_file": tmp_path / "gone"}
    staffed.settings = staffed.settings.model_copy(update=gone)
    await only(staffed, "keyring.unreadable", "key ring")
    staffed.settings = staffed.settings.model_copy(update={"keyring_file": None})
    diagnosis = await diagnosed(staffed)
    assert faults(diagnosis) == []
    assert "keyring.absent" in {each.check for each in diagnosis.findings}


async def test_without_redis_everything_else_is_looked_at(staffed: Mesh) -> None:
    """And what was left out is said."""
    staffed.settings = staffed.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    diagnosis = await diagnosed(staffed)
    assert faults(diagnosis) == [("reach", "Redis")]
    assert diagnosis.left_out == ("Redis", "Redis settings", "streams")
    assert {"records", "ledger", "clocks", "PostgreSQL settings"} <= set(diagnosis.looked_at)
    assert diagnosis.seconds < 2


async def test_without_the_database_the_streams_are_looked_at(staffed: Mesh) -> None:
    """Their marks say how many there are."""
    await staffed.redis.xgroup_destroy(keys.intents(1), keys.ORCHESTRATOR_GROUP)
    nowhere = "postgresql://postgres@/x?host=/nowhere"
    staffed.settings = staffed.settings.model_copy(update={"database_url": nowhere})
    diagnosis = await diagnosed(staffed)
    assert faults(diagnosis) == [("reach", "PostgreSQL"), ("streams.group", keys.intents(1))]
    assert {"PostgreSQL", "records", "ledger", "streams of PSPs"} <= set(diagnosis.left_out)
    assert diagnosis.seconds < 2


async def test_a_server_that_accepts_and_never_answers_costs_no_more_than_two_seconds(staffed: Mesh) -> None:
    """Both stores hang."""
    hanging = await hang()
    try:
        port = hanging.sockets[0].getsockname()[1]
        urls = {"redis_url": f"redis://127.0.0.1:{port}/0", "database_url": f"postgresql://x@127.0.0.1:{port}/x"}
        staffed.settings = staffed.settings.model_copy(update=urls)
        diagnosis = await diagnosed(staffed)
    finally:
        hanging.close()
    assert faults(diagnosis) == [("reach", "PostgreSQL"), ("reach", "Redis")]
    assert diagnosis.seconds < 2


async def hang() -> Any:
    """Listen, and say nothing."""

    async def silent(reader: Any, writer: Any) -> None:
        await reader.read()
        writer.close()

    return await asyncio.start_server(silent, "127.0.0.1", 0)


@pytest.mark.slow
async def test_a_million_dead_letters_and_a_hundred_thousand_pending_are_looked_at_in_two_seconds(
    staffed: Mesh,
) -> None:
    """Counters are read, and only the oldest of what is pending are looked at."""
    redis = staffed.redis
    began = time.monotonic()
    await diagnosed(staffed)
    of_none_s = time.monotonic() - began
    async with configured(redis, "appendfsync", "no"), configured(redis, "maxmemory", str(4 << 30)):
        await fill(redis, keys.dlq(INTENTS), {b"reason": b"invariant", b"o:body": b"x" * 100}, 1_000_000)
        await redis.hset(keys.dlq_counts(INTENTS), "invariant", 1_000_000)
        pending: Fields = {b"body": b"x" * 100}
        await fill_and_hold(redis, keys.jobs(PSP), pending, 100_000, group=keys.ADAPTER_GROUP, holders=[ALIVE])
        await staff(staffed)
        began = time.monotonic()
        diagnosis = await diagnosed(staffed)
        took_s = time.monotonic() - began
        await redis.flushall()
    # On a machine that takes so long over nothing, what counts is that a million make it no worse.
    assert took_s < max(2, 3 * of_none_s)
    found = {check for check, _ in faults(diagnosis)}
    assert found == {"redis.appendfsync", "streams.dead_letters"}


def test_the_command_prints_what_it_found_and_its_exit_status_says_so(
    database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database without a mesh, to people and to programs."""
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("REDIS_URL", redis_url)
    for name in ("TIGERBEETLE_ADDRESSES", "PAYMESH_KEYRING", "PAYMESH_KEYRING_FILE"):
        monkeypatch.delenv(name, raising=False)
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 1
    assert "not well" in shown.output
    assert "paymesh migrate" in shown.output
    assert '"ok": false' in CliRunner().invoke(app, ["doctor", "--json"]).output
