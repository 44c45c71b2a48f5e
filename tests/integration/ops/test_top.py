"""The mesh at a glance, on real stores: what it counts is there, and what does not answer is said."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from ops.psps import register
from ops.stores import open_stores
from ops.top.look import Watcher
from ops.top.reach import PATIENCE_S, reach
from ops.top.rows import StreamRow, View
from shared.config import StoreSettings
from shared.contracts import Envelope, Kind
from shared.streams import keys
from shared.streams.accept import append
from shared.streams.breaker import BreakerRules, record
from shared.streams.control import pause
from shared.streams.group import dead_letter, ensure_group, read
from shared.streams.verdicts import DeadLetter, Member
from tests.integration.ops.commanding import NOBODY, Invoke, commands_on
from tests.integration.ops.conftest import Mesh
from tests.integration.orchestrator.outbound import PAYOUT, PSP, manifest_of
from tests.integration.orchestrator.world import grant, intent_entry, message, new_id

ORCHESTRATOR = Member(keys.intents(0), keys.ORCHESTRATOR_GROUP, "orchestrator-here-1")


@pytest_asyncio.fixture
async def psp(mesh: Mesh) -> str:
    """A registered PSP, with its stream's group."""
    async with open_stores(mesh.settings) as stores:
        await register(stores, manifest_of(), actor="me@here")
    await ensure_group(mesh.redis, keys.jobs(PSP), keys.ADAPTER_GROUP)
    return PSP


async def view_of(settings: StoreSettings) -> View:
    """One view with rates."""
    async with reach(settings) as stores:
        return await Watcher(stores).once()


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """A server that takes connections, and nothing comes of it."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()


def stream(view: View, name: str) -> StreamRow:
    """One stream's row."""
    return next(row for row in view.streams if row.stream == name)


async def add_entries(mesh: Mesh, count: int) -> None:
    """Add entries to the first partition."""
    for _ in range(count):
        await append(mesh.redis, partition=0, envelope=Envelope(Kind.INTENT, str(new_id()), b"{}"))


async def test_streams_and_consumers_are_counted(mesh: Mesh) -> None:
    """What waits, what is held and by whom, what is dead and why, and what was added since the look before."""
    await ensure_group(mesh.redis, keys.intents(0), keys.ORCHESTRATOR_GROUP)
    await add_entries(mesh, 5)
    held = await read(mesh.redis, ORCHESTRATOR, count=3, block_ms=10)
    await dead_letter(mesh.redis, ORCHESTRATOR, [(held[0].id, DeadLetter("permanent", "ValueError", "no"))])
    async with reach(mesh.settings) as stores:
        watcher = Watcher(stores)
        await watcher.look()
        await add_entries(mesh, 2)
        view = await watcher.look()
    row = stream(view, keys.intents(0))
    assert (row.length, row.waiting, row.in_flight, row.dead) == (6, 4, 2, 1)
    assert row.oldest_s is not None
    assert 0 <= row.behind_s <= row.oldest_s < 60
    assert row.added_per_s is not None
    assert row.added_per_s > 0
    assert row.finished_per_s == 0
    assert row.dead_oldest_s is not None
    assert [(each.consumer, each.held) for each in view.consumers] == [("orchestrator-here-1", 2)]
    assert [(each.stream, each.reason, each.count) for each in view.dead_letters] == [(keys.intents(0), "permanent", 1)]
    assert view.dead == 1
    assert view.unreached == ()


async def test_finished_entries_are_a_rate(mesh: Mesh) -> None:
    """Taken off since the look before: added less what the stream has grown by."""
    await ensure_group(mesh.redis, keys.intents(0), keys.ORCHESTRATOR_GROUP)
    await add_entries(mesh, 4)
    async with reach(mesh.settings) as stores:
        watcher = Watcher(stores)
        await watcher.look()
        await mesh.redis.xtrim(keys.intents(0), maxlen=1, approximate=False)
        row = stream(await watcher.look(), keys.intents(0))
    assert row.added_per_s == 0
    assert row.finished_per_s is not None
    assert row.finished_per_s > 0


async def test_a_psp_is_shown_from_both_stores(mesh: Mesh, psp: str) -> None:
    """Breaker and calls from Redis; pauses, outbox and the time that answers take from PostgreSQL."""
    await record(mesh.redis, psp, "1110", rules=BreakerRules(), jitter=0.0)
    await pause(mesh.redis, psp, PAYOUT, who="me", at_ms=1)
    first, second = new_id(), new_id()
    await mesh.pool.execute(
        "INSERT INTO pm.outbox_event (intent_id, attempt, action, psp, body, created_at, sent_at) VALUES "
        "($1, 1, 'submit', $3, '{}', now() - interval '30 s', now() - interval '2 s'), "
        "($2, 1, 'submit', $3, '{}', now() - interval '9 s', NULL)",
        first,
        second,
        psp,
    )
    now_ms = int(await mesh.pool.fetchval("SELECT extract(epoch FROM now()) * 1000"))
    for number, action in enumerate(("submit", "inquire")):
        await mesh.pool.execute(
            "INSERT INTO pm.psp_result (psp, entry_id, intent_id, attempt, source, outcome, body) "
            "VALUES ($1, $2, $3, 1, 'job', 'PAID', $4)",
            psp,
            f"{now_ms}-{number}",
            first,
            json.dumps({"action": action}),
        )
    view = await view_of(mesh.settings)
    (row,) = view.psps
    assert (row.breaker, row.calls, row.errors, row.error_rate) == ("CLOSED", 4, 1, 0.25)
    assert (row.paused, row.untold) == ({}, (PAYOUT,))
    assert (row.heard, row.answers) == (2, 1)
    assert row.p95_s == pytest.approx(2.0, abs=1.5)
    assert row.unsent == view.outbox == 1
    assert row.unsent_oldest_s == pytest.approx(9.0, abs=5.0)


async def test_intents_are_counted_by_the_states_they_entered(mesh: Mesh, psp: str) -> None:
    """Those of now by their ids, those of long ago once a PSP has spoken of them; and what is undecided."""
    await mesh.world.fund({mesh.world.wallet("a"): 0})
    await mesh.world.handle(intent_entry(message(grant(mesh.world.wallet("a"), 5))))
    old = "00000000-0000-7000-8000-000000000000"
    await mesh.pool.execute(
        "INSERT INTO pm.intent_event (intent_id, seq, from_state, to_state) VALUES ($1, 1, 'AUTHORIZED', 'IN_DOUBT')",
        old,
    )
    await mesh.pool.execute(
        "INSERT INTO pm.intent (id, service_key_id, idempotency_key, operation_type, channel, amount_minor, currency, "
        "state, version, operation, created_at) "
        "VALUES ($1, 'shop', 'k', 'TEST_PAYOUT', 'TP', 1, 'THB', 'IN_DOUBT', 1, '{}', now())",
        old,
    )
    before = await view_of(mesh.settings)
    assert before.steps_per_s is not None
    assert before.steps_per_s["SETTLED"] == pytest.approx(0.1)
    assert "IN_DOUBT" not in before.steps_per_s
    assert (before.undecided, before.in_doubt) == ({"IN_DOUBT": 1}, 1)
    assert before.psps[0].undecided == {"IN_DOUBT": 1}
    now_ms = int(await mesh.pool.fetchval("SELECT extract(epoch FROM now()) * 1000"))
    await mesh.pool.execute(
        "INSERT INTO pm.psp_result (psp, entry_id, intent_id, attempt, source, outcome, body) "
        "VALUES ($1, $2, $3, 1, 'job', 'UNKNOWN', '{}')",
        psp,
        f"{now_ms}-0",
        old,
    )
    after = await view_of(mesh.settings)
    assert after.steps_per_s is not None
    assert after.steps_per_s["IN_DOUBT"] == pytest.approx(0.1)


async def test_without_redis_the_database_half_is_shown(mesh: Mesh, psp: str) -> None:
    """And that Redis did not answer."""
    view = await view_of(mesh.settings.model_copy(update={"redis_url": f"redis://{NOBODY}/0"}))
    assert {fault.store for fault in view.unreached} == {"Redis"}
    assert view.mesh is not None
    assert view.streams == ()
    assert (view.outbox, view.in_doubt) == (0, 0)
    assert [(row.psp, row.breaker, row.paused) for row in view.psps] == [(psp, None, {})]


async def test_without_the_database_the_redis_half_is_shown(mesh: Mesh) -> None:
    """Partitions and PSPs are found by their marks, of which only those of this release's adapters are looked for."""
    async with open_stores(mesh.settings) as stores:
        await register(stores, manifest_of("ipps"), actor="me@here")
    await pause(mesh.redis, "ipps", who="me", at_ms=1)
    view = await view_of(mesh.settings.model_copy(update={"database_url": f"postgresql://u@{NOBODY}/x"}))
    assert {fault.store for fault in view.unreached} == {"PostgreSQL"}
    assert view.mesh is not None
    assert (view.mesh.id, view.mesh.partitions) == (
        str(mesh.installed.mesh.id),
        mesh.installed.mesh.partitions,
    )
    assert len(view.streams) == mesh.installed.mesh.partitions + 2
    assert [(row.psp, row.paused, row.unsent, row.breaker) for row in view.psps] == [
        ("ipps", {"*": "by me"}, None, "CLOSED")
    ]
    assert (view.outbox, view.in_doubt, view.steps_per_s) == (None, None, None)


@pytest.mark.parametrize("store", ["Redis", "PostgreSQL"])
async def test_a_store_that_hangs_holds_nobody_up_for_long(mesh: Mesh, store: str) -> None:
    """It takes connections and says nothing: it is waited for once, and the other half is shown."""
    async with silent_server() as address:
        change = {"redis_url": f"redis://{address}/0"} if store == "Redis" else {}
        change |= {"database_url": f"postgresql://u@{address}/x"} if store == "PostgreSQL" else {}
        begun = time.perf_counter()
        view = await view_of(mesh.settings.model_copy(update=change))
        took_s = time.perf_counter() - begun
    assert {fault.store for fault in view.unreached} == {store}
    assert "no answer within" in view.unreached[0].error
    assert view.mesh is not None
    assert took_s < 2 * PATIENCE_S


async def test_a_database_without_a_mesh_is_said(mesh: Mesh) -> None:
    """Nobody has migrated it."""
    await mesh.pool.execute("DROP SCHEMA pm CASCADE")
    view = await view_of(mesh.settings)
    assert ["paymesh migrate" in fault.error for fault in view.unreached] == [True]


@pytest.fixture
def invoke(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command on the mesh of this test."""
    return commands_on(mesh, monkeypatch)


@pytest_asyncio.fixture
async def busy(mesh: Mesh) -> None:
    """A mesh with something in it."""
    await ensure_group(mesh.redis, keys.intents(0), keys.ORCHESTRATOR_GROUP)
    await add_entries(mesh, 3)
    await read(mesh.redis, ORCHESTRATOR, count=2, block_ms=10)


@pytest.mark.usefixtures("busy")
def test_once_prints_a_view_for_people_and_for_programs(invoke: Invoke) -> None:
    """Without a terminal one view is all there is."""
    said = invoke("top")
    assert said.exit_code == 0, said.output
    assert keys.intents(0) in said.output
    assert "orchestrator-here-1" in said.output
    told = json.loads(invoke("top", "--once", "--json").output)
    assert (told["unreached"], told["in_doubt"], told["outbox"], told["dead"]) == ([], 0, 0, 0)
    first = told["streams"][0]
    assert (first["stream"], first["length"], first["in_flight"]) == (keys.intents(0), 3, 2)
    assert told["consumers"][0]["consumer"] == "orchestrator-here-1"


@pytest.mark.parametrize(
    ("name", "value", "store"),
    [("REDIS_URL", f"redis://{NOBODY}/0", "Redis"), ("DATABASE_URL", f"postgresql://u@{NOBODY}/x", "PostgreSQL")],
    ids=["redis", "database"],
)
def test_a_store_that_is_away_is_said_with_exit_1(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, name: str, value: str, store: str
) -> None:
    """The other half is printed all the same."""
    monkeypatch.setenv(name, value)
    said = invoke("top", "--once")
    assert said.exit_code == 1
    assert f"{store} did not say" in said.output
    assert "Traceback" not in said.output
    assert json.loads(invoke("top", "--json").output)["unreached"][0]["store"] == store


def test_the_status_of_a_psp_is_all_that_is_known_of_it(invoke: Invoke, psp: str) -> None:
    """For people and for programs."""
    said = invoke("psp", "status", psp)
    assert said.exit_code == 0, said.output
    for words in (f"psp {psp}", "kill switch", "CLOSED", keys.jobs(psp), "empty"):
        assert words in said.output
    told = json.loads(invoke("psp", "status", psp, "--json").output)
    assert (told["psp"]["channel"], told["psp"]["unsent"], told["error_rate"]) == ("TP", 0, None)
    assert [row["stream"] for row in told["streams"]] == [keys.jobs(psp), keys.results(psp)]


def test_a_paused_psp_says_why(invoke: Invoke, psp: str) -> None:
    """And by whom."""
    assert invoke("psp", "pause", psp, "--operation", PAYOUT, "--reason", "double payouts").exit_code == 0
    said = invoke("psp", "status", psp)
    assert f"{PAYOUT} paused: double payouts" in said.output


def test_the_status_of_a_psp_without_the_other_store_is_half_of_it(
    invoke: Invoke, psp: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of no PSP there is none."""
    monkeypatch.setenv("REDIS_URL", f"redis://{NOBODY}/0")
    said = invoke("psp", "status", psp)
    assert (said.exit_code, "Redis did not say" in said.output, "TP" in said.output) == (1, True, True)
    missing = invoke("psp", "status", "nope")
    assert (missing.exit_code, "no PSP nope" in missing.output) == (1, True)
