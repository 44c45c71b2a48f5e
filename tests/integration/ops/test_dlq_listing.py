"""Lists and exports: quick however many there are, bounded, covered, and plain about what is out of reach."""

import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from ops.dlq.counting import count_dead_letters
from ops.dlq.reach import Reach
from ops.dlq.search import Search, Wanted
from shared.contracts import Outcome, ResultMessage, Source, job_envelope, result_envelope
from shared.operations import IppsWithdrawal
from shared.sealing import unseal
from shared.streams import keys
from shared.streams.dead_letters import books_of, hour_counts, read_page
from tests.integration.adapters.runtime.scene import PERSON, a_job
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.dlq_scene import bury, bury_job, reaching, settings_of, typed
from tests.integration.orchestrator.world import intent_entry, message, new_id
from tests.integration.streams.scene import envelope_fields

RECORDS: Final = int(os.environ.get("DEAD_LETTERS", "50000"))
"""`make dead-letters` takes a million."""
STREAM = keys.intents(0)
AWAY = "redis://127.0.0.1:1"
NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none"
_SECONDS: Final = 2.0
_HELD_UP_US: Final = 100_000
"""No command holds the server up for so long; two cores that others use too make any of them slow at times."""

# What the scripts write, ten thousand times over, spread over the hours of three months.
_PLANT = """
local day = tonumber(ARGV[1])
for n = 1, 10000 do
  local reason = (n % 3 == 0) and 'permanent' or 'max_deliveries'
  local dead_ms = string.format('%.0f', day + (n % 240) * 360000)
  local id = string.format('0199a1b2-c3d4-7e5f-8a9b-%012x', tonumber(ARGV[2]) * 10000 + n)
  local record = redis.call('XADD', KEYS[1], '*', 'v', '1', 'id', id, 'kind', 'intent', 'src', KEYS[5], 'src_id', '1-1',
    'group', 'orchestrator', 'attempts', '0', 'deliveries', '3', 'reason', reason, 'error_class', 'Broken',
    'error', 'why', 'last_consumer', 'c', 'first_ms', dead_ms, 'dead_ms', dead_ms, 'trace_id', '',
    'app_version', '0.1.0', 'replay_count', '0', 'o:v', '1', 'o:id', id, 'o:kind', 'intent', 'o:body', '{}')
  redis.call('HINCRBY', KEYS[2], reason, 1)
  redis.call('HINCRBY', KEYS[3], reason .. '|' .. string.format('%.0f', math.floor(dead_ms / 3600000)), 1)
  redis.call('ZADD', KEYS[4], 0, id .. ' ' .. record)
end
"""


@pytest_asyncio.fixture
async def reach(mesh: Mesh) -> AsyncIterator[Reach]:
    """The stores as a command reaches them."""
    async with reaching(mesh) as reach:
        yield reach


async def plant(redis: Redis, records: int) -> None:
    """Write so many dead letters into partition 0."""
    script_keys = [keys.dlq(STREAM), *books_of(STREAM), STREAM]
    day_ms = 86_400_000
    today_ms = time.time_ns() // 1_000_000 // day_ms * day_ms
    for chunk in range(records // 10_000):
        words = (today_ms - (chunk % 90) * day_ms, chunk)
        await redis.execute_command("EVAL", _PLANT, len(script_keys), *script_keys, *words)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_list_is_quick_however_many_there_are(mesh: Mesh, reach: Reach) -> None:
    """Under two seconds as a command, start of the interpreter and all; the server is never held up."""
    started_s = time.monotonic()
    await typed(mesh.settings, "dlq", "list", "--json")
    empty_s = time.monotonic() - started_s
    await plant(mesh.redis, RECORDS)
    await mesh.redis.config_set("slowlog-log-slower-than", _HELD_UP_US)
    await mesh.redis.slowlog_reset()
    started_s = time.monotonic()
    listed = await typed(mesh.settings, "dlq", "list", "--json")
    command_s = time.monotonic() - started_s
    assert listed.code == 0, listed.errors
    assert listed.json["total"] == RECORDS
    assert {count["reason"] for count in listed.json["counts"]} == {"permanent", "max_deliveries"}
    started_s = time.monotonic()
    counted = await count_dead_letters(mesh.redis, [STREAM], Wanted(reasons=frozenset({"permanent"})))
    counting_s = time.monotonic() - started_s
    assert counted[0].records == RECORDS // 10_000 * 3333
    intent = f"0199a1b2-c3d4-7e5f-8a9b-{RECORDS:012x}"
    started_s = time.monotonic()
    search = Search(reach.redis, [STREAM], Wanted(intent=intent), limit=10)
    assert [record.id async for _, page in search.pages() for record in page] == [intent]
    finding_s = time.monotonic() - started_s
    took = f"command {command_s:.2f} s, counts {counting_s:.3f} s, one {finding_s:.4f} s; of none {empty_s:.2f} s"
    print(f"{RECORDS} dead letters: {took}")  # noqa: T201 - what `make dead-letters` is for
    assert counting_s + finding_s < _SECONDS / 4
    # On a machine that takes that long to start an interpreter, what counts is that they cost nothing more.
    assert command_s < max(_SECONDS, 2 * empty_s)
    assert await mesh.redis.slowlog_get() == []


async def test_hours_and_reasons_agree_with_the_records(mesh: Mesh, reach: Reach) -> None:
    """What a list says is what a search finds."""
    await plant(mesh.redis, 10_000)
    await bury(mesh.redis, STREAM, [envelope_fields(f"e{n}") for n in range(300)], reason="decode")
    assert sum([count.records async for count in hour_counts(mesh.redis, STREAM)]) == 10_300
    (fresh,) = await count_dead_letters(mesh.redis, [STREAM], Wanted(reasons=frozenset({"decode"})))
    assert (fresh.records, fresh.hour, fresh.day, fresh.week) == (300, 300, 300, 300)
    search = Search(reach.redis, [STREAM], Wanted(reasons=frozenset({"decode"})), limit=10_000, looked_at_max=20_000)
    assert sum([len(page) async for _, page in search.pages()]) == 300
    bounded = Search(reach.redis, [STREAM], Wanted(reasons=frozenset({"decode"})), limit=10, looked_at_max=500)
    assert [page async for _, page in bounded.pages()] == []
    assert (bounded.looked_at, bounded.cut) == (500, True)


async def test_searches_take_age_amount_reason_and_limit_together(mesh: Mesh, reach: Reach) -> None:
    """Each narrows what the others leave."""
    for amount, reason in ((100, "permanent"), (500, "permanent"), (900, "expired")):
        await bury_job(mesh.redis, a_job(amount_minor=amount), reason=reason)
    stream = keys.jobs(a_job().psp)
    now_ms = time.time_ns() // 1_000_000

    async def found(limit: int = 10, **wanted: Any) -> int:
        search = Search(reach.redis, [stream], Wanted(**wanted), limit=limit)
        return sum([len(page) async for _, page in search.pages()])

    assert await found() == 3
    assert await found(limit=2) == 2
    assert await found(amount_min=500) == 2
    assert await found(amount_min=200, amount_max=600, reasons=frozenset({"permanent"})) == 1
    assert await found(amount_max=600, reasons=frozenset({"expired"})) == 0
    assert await found(since_ms=now_ms - 60_000) == 3
    assert await found(before_ms=now_ms - 60_000) == 0
    assert await found(since_ms=now_ms + 60_000) == 0


async def test_nothing_personal_is_printed_in_any_form(mesh: Mesh, tmp_path: Path) -> None:
    """Sealed texts, texts that should have been sealed, and bodies that nobody can read."""
    withdrawal = IppsWithdrawal(
        from_account="user:ann:THB", amount_minor=300, currency="THB", proxy_type="MOBILE", proxy=PERSON,
        comment=f"for {PERSON}",
    )  # fmt: skip
    result = ResultMessage(
        psp="tb", source=Source.CALLBACK, outcome=Outcome.PENDING, reference="R1", at_ms=1, raw=PERSON, callback_id="c"
    )
    fields = [
        intent_entry(message(withdrawal), new_id()).fields,
        job_envelope(a_job().model_copy(update={"destination": {"to": PERSON, "bank_code": "004"}})).fields(),
        result_envelope(result).fields(),
        {b"body": PERSON.encode(), PERSON.encode(): b"x", b"id": PERSON.encode(), b"kind": PERSON.encode()},
    ]
    await bury(mesh.redis, STREAM, fields)
    file = tmp_path / "dead.jsonl"
    said = [
        await typed(mesh.settings, "dlq", "list", "--records", "--json"),
        await typed(mesh.settings, "dlq", "list", "--records"),
        await typed(mesh.settings, "dlq", "export", "--stream", "intents.i0", "--output", str(file)),
        await typed(mesh.settings, "dlq", "replay", "--stream", "intents.i0"),
        await typed(mesh.settings, "dlq", "discard", "--stream", "intents.i0"),
    ]
    for record in await read_page(mesh.redis, STREAM):
        address = f"{STREAM}:{record.entry_id.decode()}"
        said += [await typed(mesh.settings, "dlq", "show", address)]
    assert [ended.code for ended in said] == [0] * len(said), [ended.errors for ended in said]
    assert len(said[0].json["records"]) == 4
    for text in (*(ended.output + ended.errors for ended in said), file.read_text()):
        assert PERSON not in text
    assert "004" in said[0].output
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    opened = unseal(
        mesh.settings.keyring(),
        context=f"dlq:{lines[0]['address']}",
        field="record",
        sealed=lines[0]["original_sealed"],
    )
    assert len(json.loads(opened)) == len(fields[0])


@pytest.mark.parametrize(
    "line", [["list"], ["list", "--records"], ["show", "intents.i0:1-1"], ["export", "--psp", "tb"]]
)
async def test_without_redis_the_error_is_a_sentence(mesh: Mesh, line: list[str]) -> None:
    """And the exit code is 1."""
    settings = mesh.settings.model_copy(update={"redis_url": AWAY})
    await mesh.pool.execute("INSERT INTO pm.psp (psp, manifest) VALUES ('tb', '{}')")
    ended = await typed(settings, "dlq", *line)
    assert ended.code == 1
    assert "Redis is out of reach" in ended.errors
    assert "Traceback" not in ended.errors


async def test_requests_need_no_redis(mesh: Mesh) -> None:
    """What waits for people stands in the database."""
    settings = mesh.settings.model_copy(update={"redis_url": AWAY})
    assert (await typed(settings, "dlq", "requests", "--json")).json == []


async def test_without_the_database_the_list_goes_on_and_says_so(mesh: Mesh) -> None:
    """Partitions by their marks; exit code 1, since something is missing."""
    await bury(mesh.redis, STREAM, [envelope_fields("e1")])
    settings = settings_of(NO_DATABASE, mesh.settings.redis_url)
    ended = await typed(settings, "dlq", "list", "--json")
    assert ended.code == 1
    assert ended.json["total"] == 1
    assert any("PostgreSQL is out of reach" in note for note in ended.json["missing"])
    shown = await typed(settings, "dlq", "requests")
    assert shown.code == 1
    assert "PostgreSQL is out of reach" in shown.errors
    assert "Traceback" not in ended.errors + shown.errors


@pytest.mark.parametrize(
    "line",
    [
        ["replay"],
        ["discard"],
        ["show", "nonsense"],
        ["list", "--older-than", "soon"],
        ["list", "--psp", "ipps", "--stream", "jobs.ipps"],
        ["void", "nonsense"],
    ],
    ids=" ".join,
)
async def test_what_makes_no_sense_exits_2(mesh: Mesh, line: list[str]) -> None:
    """Nothing said is not everything."""
    assert (await typed(mesh.settings, "dlq", *line)).code == 2


UNKNOWN: Final = "01a1fb3d-456d-796c-b1c4-ecfccd000000"


@pytest.mark.parametrize(
    "line",
    [
        ["list", "--psp", "nobody"],
        ["list", "--stream", "intents.i99"],
        ["void", UNKNOWN],
        ["fail", UNKNOWN, "--evidence", "a mail", "--requested-by", "Ann Lee"],
        ["approve", "7", "--approved-by", "Bo Chan"],
    ],
    ids=lambda line: " ".join(line[:2]),
)
async def test_what_is_not_there_exits_1(mesh: Mesh, line: list[str]) -> None:
    """It was understood: nothing of that name is there, which is for people to look at, not for the typist."""
    ended = await typed(mesh.settings, "dlq", *line)
    assert (ended.code, ended.errors.startswith("error: ")) == (1, True)
