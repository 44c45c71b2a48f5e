"""The reconciler's rounds: dead letters rest and return, stuck intents are resumed, the database is kept."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from redis.asyncio import Redis

from reconciler.consumers import groups, retire_silent
from reconciler.dead_letters import Pause, Swept, sweep_dead_letters
from reconciler.stuck import BEHIND_ENTRIES, resume, take_stuck
from reconciler.upkeep import create_partitions, prune_keys
from shared.contracts import Envelope, Kind, ResumeMessage, read_body, read_envelope
from shared.db.pool import Pool
from shared.ids import intent_id
from shared.streams import keys
from shared.streams.dead_letters import Reason, counts, read_page
from shared.streams.group import dead_letter, ensure_group, read
from shared.streams.verdicts import REDRIVES_FIELD, DeadLetter, Member

STREAM = keys.intents(0)
MEMBER = Member(STREAM, keys.ORCHESTRATOR_GROUP, "test")
PAUSE = Pause(first_s=30, max_s=100)


def now_ms() -> int:
    """The clock the sweeper is given."""
    return time.time_ns() // 1_000_000


async def bury(redis: Redis, reason: str, number: int = 1, *, intent: str | None = None) -> list[bytes]:
    """Dead-letter entries for a reason, as a worker does; return their bodies."""
    await ensure_group(redis, STREAM, keys.ORCHESTRATOR_GROUP)
    bodies = [f"{reason}-{index}-\x00\xff".encode() for index in range(number)]
    for body in bodies:
        fields = Envelope(Kind.INTENT, intent or str(intent_id(time.time_ns() // 1000, 0, 7)), body).fields()
        await redis.execute_command("XADD", STREAM, "*", *(part for pair in fields.items() for part in pair))
    entries = await read(redis, MEMBER, count=number, block_ms=10)
    letter = DeadLetter(reason, "Boom", "it broke")
    await dead_letter(redis, MEMBER, [(entry.id, letter) for entry in entries])
    return bodies


async def test_dead_letters_return_after_their_pause_with_their_bytes_untouched(redis: Redis) -> None:
    """Before the pause has passed nothing moves; after it the entry is back, marked to be processed alone."""
    (body,) = await bury(redis, Reason.PERMANENT)
    assert await sweep_dead_letters(redis, STREAM, now_ms=now_ms(), pause=PAUSE) == Swept(waiting=1)
    later = now_ms() + 31_000
    assert await sweep_dead_letters(redis, STREAM, now_ms=later, pause=PAUSE) == Swept(redriven=1)
    (entry,) = await read(redis, MEMBER, count=10, block_ms=10)
    assert entry.fields[b"body"] == body
    assert entry.fields[REDRIVES_FIELD] == b"1"
    assert await read_page(redis, STREAM) == []
    assert sum((await counts(redis, STREAM)).values()) == 0


async def test_each_return_doubles_the_next_pause_up_to_its_bound(redis: Redis) -> None:
    """A message that fails for ever is tried ever more rarely, but never given up."""
    await bury(redis, Reason.PERMANENT)
    pauses = []
    for _ in range(4):
        (record,) = await read_page(redis, STREAM)
        pauses.append(PAUSE.due_ms(record) - record.dead_ms)
        await sweep_dead_letters(redis, STREAM, now_ms=now_ms() + 101_000, pause=PAUSE)
        entries = await read(redis, MEMBER, count=10, block_ms=10)
        await dead_letter(redis, MEMBER, [(entries[0].id, DeadLetter("permanent", "Boom", "again"))])
    assert pauses == [30_000, 60_000, 100_000, 100_000]


async def test_contradictions_wait_for_people(redis: Redis) -> None:
    """An invariant violation is never swept back into processing."""
    await bury(redis, Reason.INVARIANT, 2)
    swept = await sweep_dead_letters(redis, STREAM, now_ms=now_ms() + 10**9, pause=PAUSE)
    assert (swept.for_people, swept.redriven, swept.waiting) == (2, 0, 0)
    assert len(await read_page(redis, STREAM)) == 2


@pytest.mark.parametrize("malformed", ["fields", "attempt", "redrives"])
async def test_one_dead_letter_that_cannot_be_put_back_holds_up_no_other(redis: Redis, malformed: str) -> None:
    """Entries as nobody of ours writes them are kept for people; the sweep goes on to the rest."""
    await ensure_group(redis, STREAM, keys.ORCHESTRATOR_GROUP)
    fields: dict[str, str] = {
        "fields": {f"f{index}": "x" for index in range(1100)},
        "attempt": {"attempt": "9" * 5000, "body": "x"},
        "redrives": {"redrives": "9" * 5000, "body": "x"},
    }[malformed]
    await redis.execute_command("XADD", STREAM, "*", *(part for pair in fields.items() for part in pair))
    entries = await read(redis, MEMBER, count=1, block_ms=10)
    await dead_letter(redis, MEMBER, [(entries[0].id, DeadLetter("decode", "Malformed", "no envelope"))])
    await bury(redis, Reason.PERMANENT)
    swept = await sweep_dead_letters(redis, STREAM, now_ms=now_ms() + 10**12, pause=PAUSE)
    assert swept.redriven == (1 if malformed == "fields" else 2)
    assert swept.for_people == (1 if malformed == "fields" else 0)


async def test_sweep_reads_every_page_of_dead_letters(redis: Redis) -> None:
    """More records than one page holds are all put back."""
    await bury(redis, Reason.PERMANENT, 200)
    await bury(redis, Reason.DECODE, 200)
    swept = await sweep_dead_letters(redis, STREAM, now_ms=now_ms() + 31_000, pause=PAUSE)
    assert swept == Swept(redriven=400)
    assert await redis.xlen(STREAM) == 400


async def plant(pool: Pool, *, state: str, age_s: int, partition: int = 0) -> UUID:
    """Write an intent of some age into the log."""
    intent = intent_id(time.time_ns() // 1000, partition, age_s * 31 + partition)
    await pool.execute(
        "INSERT INTO pm.intent (id, service_key_id, idempotency_key, operation_type, amount_minor, currency, state,"
        " version, error_code, operation, created_at, updated_at)"
        " VALUES ($1, 'shop', $1::uuid::text, 'P2P_TRANSFER', 1, 'THB', $2, 1, 'x', '{}', now(), now() - $3::interval)",
        intent,
        state,
        timedelta(seconds=age_s),
    )
    return intent


async def test_only_intents_planned_long_ago_are_stuck(pool: Pool) -> None:
    """Young ones are under way, terminal ones are done."""
    old = await plant(pool, state="VALIDATED", age_s=100)
    await plant(pool, state="VALIDATED", age_s=5)
    await plant(pool, state="REJECTED", age_s=101)
    assert await take_stuck(pool, after_s=60) == [old]


async def test_a_stuck_intent_is_asked_for_once_per_period_and_never_by_two_sweepers(pool: Pool) -> None:
    """Sweeps in quick succession must not flood the stream they are meant to help."""
    old = [await plant(pool, state="VALIDATED", age_s=100 + index) for index in range(20)]
    taken = await asyncio.gather(*(take_stuck(pool, after_s=60) for _ in range(4)))
    assert sorted(intent for part in taken for intent in part) == sorted(old)
    assert await take_stuck(pool, after_s=60) == []


async def test_a_quarantined_intent_is_left_to_people(pool: Pool, redis: Redis) -> None:
    """What the books contradict would only contradict them again, and end an orchestrator at every sweep."""
    old = await plant(pool, state="VALIDATED", age_s=100)
    await bury(redis, Reason.INVARIANT, intent=str(old))
    swept = await sweep_dead_letters(redis, STREAM, now_ms=now_ms(), pause=PAUSE)
    assert swept.quarantined == {str(old)}
    assert await take_stuck(pool, after_s=60, quarantined=[UUID(text) for text in swept.quarantined]) == []
    assert await take_stuck(pool, after_s=60) == [old]


async def test_a_stream_that_is_behind_gets_no_reminders(pool: Pool, redis: Redis) -> None:
    """In an outage the intents' own entries are still there; resumes on top would close the door to new ones."""
    old = [await plant(pool, state="VALIDATED", age_s=100, partition=0) for _ in range(3)]
    for _ in range(BEHIND_ENTRIES - 1):
        await redis.xadd(STREAM, {"a": "b"})
    assert await resume(redis, old, reason="stuck") == 1
    assert await resume(redis, old, reason="stuck") == 0
    assert await redis.xlen(STREAM) == BEHIND_ENTRIES


async def test_stuck_intents_are_resumed_past_a_closed_door(pool: Pool, redis: Redis) -> None:
    """The resume entry names the intent, in the partition its id carries."""
    old = await plant(pool, state="VALIDATED", age_s=100, partition=3)
    assert await resume(redis, [old], reason="stuck") == 1
    ((_, fields),) = await redis.execute_command("XRANGE", keys.intents(3), "-", "+")
    envelope = read_envelope(fields)
    assert (envelope.kind, envelope.id) == (Kind.RESUME, str(old))
    assert read_body(envelope) == ResumeMessage(reason="stuck")


async def test_partitions_are_made_ahead_and_only_once(pool: Pool) -> None:
    """A lost month comes back; a second round creates nothing."""
    month = datetime.now(UTC).strftime("%Y_%m")
    await pool.execute(f"DROP TABLE pm.intent_{month}")
    assert await create_partitions(pool) == 1
    assert await create_partitions(pool) == 0


async def test_only_idempotency_keys_beyond_retention_are_pruned(pool: Pool) -> None:
    """The backstop outlives the window in which money can still be asked for twice."""
    for age in (1, 89, 91, 400):
        await pool.execute(
            "INSERT INTO pm.idempotency_key VALUES ('shop', $1, 'k:aa', gen_random_uuid(), now() - $2::interval)",
            str(age),
            timedelta(days=age),
        )
    assert await prune_keys(pool, retention_days=90) == 2
    assert {row["key"] for row in await pool.fetch("SELECT key FROM pm.idempotency_key")} == {"1", "89"}


@pytest.mark.parametrize("holding", [True, False])
async def test_silent_consumers_are_forgotten_unless_they_hold_entries(redis: Redis, *, holding: bool) -> None:
    """Deleting a consumer destroys what it holds; the entries of a dead process are reclaimed first."""
    await ensure_group(redis, STREAM, keys.ORCHESTRATOR_GROUP)
    await redis.xgroup_createconsumer(STREAM, keys.ORCHESTRATOR_GROUP, "gone")
    if holding:
        await redis.xadd(STREAM, {"a": "b"})
        await redis.xreadgroup(keys.ORCHESTRATOR_GROUP, "gone", {STREAM: ">"})
    retired = await retire_silent(redis, STREAM, keys.ORCHESTRATOR_GROUP, silent_ms=0)
    assert retired == (0 if holding else 1)
    pending = await redis.xpending(STREAM, keys.ORCHESTRATOR_GROUP)
    assert pending["pending"] == (1 if holding else 0)


async def test_upkeep_before_the_first_worker_finds_nothing_to_forget(redis: Redis) -> None:
    """A mesh whose orchestrators have not started yet has neither streams nor groups."""
    assert await retire_silent(redis, STREAM, keys.ORCHESTRATOR_GROUP) == 0
    await redis.xadd(STREAM, {"a": "b"})
    assert await retire_silent(redis, STREAM, keys.ORCHESTRATOR_GROUP) == 0


def test_consumers_of_every_stream_are_looked_after() -> None:
    """Adapters and results workers leave names behind as intents workers do."""
    assert groups(2, ["tp"]) == [
        ("intents.{i0}", "orchestrator"),
        ("intents.{i1}", "orchestrator"),
        ("jobs.{tp}", "adapter"),
        ("results.{tp}", "orchestrator"),
    ]
