"""A look into streams, at what is held and at who holds it: nothing is moved by looking, and reaping loses nothing."""

import json
from dataclasses import replace

import pytest
import pytest_asyncio

from ops.top.consumers import SILENT_S, gone, list_consumers, reap, record
from ops.top.entries import SCAN_MAX, NoStream, peek, pending
from ops.top.rows import ConsumerRow
from shared.contracts import Envelope, Kind
from shared.streams import keys
from shared.streams.accept import append
from shared.streams.group import Release, ensure_group, read, release
from shared.streams.verdicts import Member
from tests.integration.ops.commanding import NOBODY, Invoke, commands_on
from tests.integration.ops.conftest import Mesh
from tests.integration.orchestrator.world import new_id

STREAM, GROUP = keys.intents(0), keys.ORCHESTRATOR_GROUP
HOLDER = Member(STREAM, GROUP, "holder")
SILENT = Member(STREAM, GROUP, "silent")


@pytest.fixture
def invoke(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command on the mesh of this test."""
    return commands_on(mesh, monkeypatch)


@pytest_asyncio.fixture
async def busy(mesh: Mesh) -> list[bytes]:
    """Five entries: two held, one handed back, two waiting; and a consumer that holds nothing."""
    await ensure_group(mesh.redis, STREAM, GROUP)
    await mesh.redis.xgroup_createconsumer(STREAM, GROUP, SILENT.consumer)
    for number in range(5):
        body = json.dumps({"service_key": "shop", "comment": f"words {number}"}).encode()
        await append(mesh.redis, partition=0, envelope=Envelope(Kind.INTENT, str(new_id()), body))
    held = await read(mesh.redis, HOLDER, count=3, block_ms=10)
    await release(mesh.redis, HOLDER, [(held[2].id, Release.UNCOUNTED)])
    return [entry.id for entry in held]


@pytest.mark.usefixtures("busy")
async def test_peeking_shows_entries_and_their_holders_and_moves_nothing(mesh: Mesh) -> None:
    """Page by page."""
    before = await mesh.redis.xinfo_groups(STREAM)
    first = await peek(mesh.redis, STREAM, GROUP, count=3)
    rest = await peek(mesh.redis, STREAM, GROUP, after=first[-1].entry_id.encode(), count=3)
    holders = [None if row.hold is None else row.hold.consumer for row in (*first, *rest)]
    assert holders == ["holder", "holder", keys.RELEASED_CONSUMER, None, None]
    assert all(row.body == {"service_key": "shop", "comment": "(covered)"} for row in (*first, *rest))
    assert await mesh.redis.xinfo_groups(STREAM) == before


async def test_a_stream_that_does_not_exist_is_said(mesh: Mesh) -> None:
    """Nobody has registered such a PSP."""
    with pytest.raises(NoStream):
        await peek(mesh.redis, keys.jobs("nope"), keys.ADAPTER_GROUP, count=1)
    with pytest.raises(NoStream):
        await pending(mesh.redis, keys.jobs("nope"), keys.ADAPTER_GROUP, count=1)


async def test_what_is_held_is_shown_by_page_holder_and_silence(mesh: Mesh, busy: list[bytes]) -> None:
    """With the whole number from the server's own count."""
    names = [entry_id.decode() for entry_id in busy]
    page = await pending(mesh.redis, STREAM, GROUP, count=2)
    assert (page.total, [row.entry_id for row in page.rows], page.next) == (3, names[:2], names[1])
    rest = await pending(mesh.redis, STREAM, GROUP, after=busy[1], count=2)
    assert ([row.entry_id for row in rest.rows], rest.next) == (names[2:], None)
    mine = await pending(mesh.redis, STREAM, GROUP, consumer="holder", count=10)
    assert [row.entry_id for row in mine.rows] == names[:2]
    await mesh.redis.execute_command(
        "XCLAIM", STREAM, GROUP, "holder", 0, busy[1], "IDLE", 90_000, "JUSTID", parse_justid=True
    )
    silent = await pending(mesh.redis, STREAM, GROUP, consumer="holder", idle_ms=60_000, count=10)
    assert [row.entry_id for row in silent.rows] == [names[1]]
    assert silent.rows[0].hold.idle_s >= 90


async def test_a_search_through_what_is_held_ends_at_its_bound(mesh: Mesh) -> None:
    """Of more held entries than it may look through none is silent for that long; it says where to go on."""
    await ensure_group(mesh.redis, STREAM, GROUP)
    async with mesh.redis.pipeline(transaction=False) as pipeline:
        for number in range(1, SCAN_MAX + 500):
            pipeline.execute_command("XADD", STREAM, f"{number}-0", "v", "1")
        await pipeline.execute()
    await mesh.redis.xreadgroup(GROUP, "holder", {STREAM: ">"}, count=SCAN_MAX + 500)
    found = await pending(mesh.redis, STREAM, GROUP, idle_ms=3_600_000, count=5)
    assert (found.rows, found.total) == ((), SCAN_MAX + 499)
    assert SCAN_MAX <= found.scanned < SCAN_MAX + 256
    assert found.next == f"{found.scanned}-0"


async def test_reaping_forgets_only_who_holds_nothing_and_was_silent_for_an_hour(mesh: Mesh, busy: list[bytes]) -> None:
    """Whatever was seen before: the script looks again."""
    rows = await list_consumers(mesh.redis, [(STREAM, GROUP)])
    assert {row.consumer: row.held for row in rows} == {"holder": 2, "silent": 0, keys.RELEASED_CONSUMER: 1}
    assert (await reap(mesh.redis, rows)).forgotten == ()
    aged = [replace(row, idle_s=SILENT_S, held=0) for row in rows]
    reaped = await reap(mesh.redis, aged)
    assert [row.consumer for row in reaped.forgotten] == ["silent"]
    assert [row.consumer for row in reaped.kept] == ["holder"]
    await record(mesh.pool, reaped, actor="me@here")
    on_record = await mesh.pool.fetchval("SELECT detail ->> 'consumers' FROM pm.audit_log WHERE actor = 'me@here'")
    assert json.loads(on_record) == [f"{STREAM} silent"]
    left = {row.consumer for row in await list_consumers(mesh.redis, [(STREAM, GROUP)])}
    assert left == {"holder", keys.RELEASED_CONSUMER}
    assert (await pending(mesh.redis, STREAM, GROUP, count=10)).total == len(busy)


@pytest.fixture
def hour_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody counts as silent for an hour."""
    monkeypatch.setattr("ops.top.consumers.SILENT_S", 0.0)


@pytest.mark.usefixtures("busy", "hour_later")
def test_the_command_reaps_and_says_what_it_did(invoke: Invoke) -> None:
    """Who holds something stays."""
    said = invoke("streams", "consumers", "intents.0", "--reap")
    assert said.exit_code == 0, said.output
    assert "forgotten: 1; kept, since they hold entries: 1" in said.output
    told = json.loads(invoke("streams", "consumers", "--json").output)
    assert {row["consumer"] for row in told["consumers"]} == {"holder", keys.RELEASED_CONSUMER}


@pytest.mark.usefixtures("busy", "hour_later")
def test_reaping_without_the_database_says_that_it_is_not_on_record(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is done all the same: it loses nothing."""
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u@{NOBODY}/x")
    said = invoke("streams", "consumers", "--reap")
    assert said.exit_code == 1
    assert "forgotten: 1" in said.output
    assert "PostgreSQL did not say" in said.output


@pytest.mark.usefixtures("busy")
def test_looks_are_printed_for_people_and_for_programs(invoke: Invoke) -> None:
    """Without the database too, which they do not need."""
    peeked = invoke("streams", "peek", "intents.0", "--count", "4")
    assert peeked.exit_code == 0, peeked.output
    assert "handed back" in peeked.output
    assert "words" not in peeked.output
    assert "--after" in peeked.output
    assert len(json.loads(invoke("streams", "peek", "intents.0", "--json").output)) == 5
    held = invoke("streams", "pending", "intents.i0", "--consumer", "holder")
    assert (held.exit_code, "3 held" in held.output) == (0, True)
    assert json.loads(invoke("streams", "pending", "intents.0", "--json").output)["total"] == 3


@pytest_asyncio.fixture
async def ghost(mesh: Mesh, busy: list[bytes]) -> None:
    """Somebody has deleted the payload of a held entry."""
    await mesh.redis.xdel(STREAM, busy[0])


@pytest.mark.usefixtures("ghost")
def test_a_ghost_among_what_is_held_is_found_and_exits_1(invoke: Invoke) -> None:
    """Its payload is gone for good."""
    said = invoke("streams", "pending", "intents.0")
    assert said.exit_code == 1
    assert said.output.count("gone: a ghost") == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["streams", "peek", "nonsense"], 2),
        (["streams", "peek", "intents.0", "--after", "+"], 2),
        (["streams", "peek", "jobs.nope"], 1),
        (["streams", "pending", "jobs.nope"], 1),
    ],
    ids=str,
)
def test_what_cannot_be_looked_at_is_a_sentence(invoke: Invoke, arguments: list[str], code: int) -> None:
    """Never a traceback."""
    said = invoke(*arguments)
    assert said.exit_code == code
    assert said.output.startswith("error: ")


def test_without_redis_a_look_is_a_sentence(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing else to look at."""
    monkeypatch.setenv("REDIS_URL", f"redis://{NOBODY}/0")
    for arguments in (["peek", "intents.0"], ["pending", "intents.0"], ["consumers"], ["consumers", "intents.0"]):
        said = invoke("streams", *arguments)
        assert said.exit_code == 1
        assert "error: " in said.output
        assert "Traceback" not in said.output


def test_a_silent_row_is_one_of_an_hour() -> None:
    """And the shared name of what was handed back never is."""
    row = ConsumerRow(STREAM, GROUP, "c", 0, SILENT_S)
    assert gone(row)
    assert not gone(replace(row, idle_s=SILENT_S - 1))
    assert not gone(replace(row, consumer=keys.RELEASED_CONSUMER))
