"""The door on a real Valkey: each intent enters once, or is told why not."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from ops.embedded.valkey import valkey, valkey_url
from shared.contracts import Envelope, Kind
from shared.errors import InvariantViolation, OutcomeUnknown, Transient
from shared.ids import intent_id
from shared.streams import keys
from shared.streams.accept import AcceptEntry, AcceptResult, AcceptStatus, acc_owner, accept, append
from shared.streams.client import connect
from tests.integration.streams.lossy import LossyProxy
from tests.integration.streams.scene import (
    MESH_ID,
    STREAM,
    admission,
    envelope_fields,
    fill,
    new_id,
    request,
    script_calls,
    stream_entries,
)
from tests.ports import Lease
from tests.waiting import until

S = AcceptStatus


async def offer(client: Redis, *entries: AcceptEntry, **conditions: object) -> list[AcceptResult]:
    """Offer requests to partition 0 under the given admission."""
    return await accept(client, partition=0, entries=entries, admission=admission(**conditions))  # type: ignore[arg-type]


async def test_accepted_request_leaves_entry_marker_and_key(client: Redis) -> None:
    """Everything that a 202 promises is written by the one script."""
    entry = request("k", fingerprints=("k2:bb", "k1:aa"), owner="shop user 7")
    [result] = await offer(client, entry)
    assert result == AcceptResult(S.ACCEPTED, entry.envelope.id)
    [(_, fields)] = await stream_entries(client)
    assert fields == entry.envelope.fields()
    assert await client.get(entry.idem_key) == b"k2:bb " + entry.envelope.id.encode()
    assert 59_000 < await client.pttl(entry.idem_key) <= 60_000
    owner = await acc_owner(client, entry.envelope.id)
    assert owner is not None
    assert owner[0] == "shop user 7"
    assert await client.ttl(keys.acc(0, entry.envelope.id)) == -1


async def test_batch_of_256_is_one_script(client: Redis) -> None:
    """Nothing on the way in costs a round trip per entry."""
    entries = [request() for _ in range(256)]
    await client.config_resetstat()
    results = await offer(client, *entries)
    assert results == [AcceptResult(S.ACCEPTED, entry.envelope.id) for entry in entries]
    assert await client.xlen(STREAM) == 256
    assert await script_calls(client) <= 2  # the first call may have to send the text


async def test_replay_gives_the_first_id_and_renews_the_key(client: Redis) -> None:
    """The same request again is the same intent, by any live key's fingerprint."""
    first = request("k", fingerprints=("k1:aa",))
    await offer(client, first)
    await client.pexpire(first.idem_key, 5_000)
    [result] = await offer(client, request("k", fingerprints=("k2:zz", "k1:aa")))
    assert result == AcceptResult(S.REPLAYED, first.envelope.id)
    assert await client.xlen(STREAM) == 1
    assert await client.pttl(first.idem_key) > 50_000


async def test_replay_writes_so_that_wait_covers_it(client: Redis) -> None:
    """A 202 for a replay must stand on a write of its own connection, or WAIT vouches for nothing."""
    await offer(client, request("k"))
    before = (await client.info("persistence"))["rdb_changes_since_last_save"]
    await offer(client, request("k"))
    assert (await client.info("persistence"))["rdb_changes_since_last_save"] > before


async def test_other_request_under_the_same_key_conflicts(client: Redis) -> None:
    """One key names one request; the conflict writes nothing."""
    first = request("k", fingerprints=("k1:aa",))
    await offer(client, first)
    [result] = await offer(client, request("k", fingerprints=("k2:aa", "k1:bb")))
    assert result == AcceptResult(S.CONFLICT, first.envelope.id)
    assert await client.xlen(STREAM) == 1


async def test_replay_and_conflict_within_one_batch(client: Redis) -> None:
    """Requests that meet in one script see each other."""
    first = request("k")
    other = request()
    results = await offer(client, first, request("k"), request("k", fingerprints=("k1:bb",)), other)
    assert [result.status for result in results] == [S.ACCEPTED, S.REPLAYED, S.CONFLICT, S.ACCEPTED]
    assert [result.id for result in results] == [first.envelope.id] * 3 + [other.envelope.id]
    assert await client.xlen(STREAM) == 2


async def test_many_at_once_under_one_key_become_one_intent(client: Redis) -> None:
    """However the retries race, one wins and all hear its id."""
    answers = await asyncio.gather(*(offer(client, request("k")) for _ in range(40)))
    results = [result for [result] in answers]
    assert sum(result.status is S.ACCEPTED for result in results) == 1
    assert sum(result.status is S.REPLAYED for result in results) == 39
    assert len({result.id for result in results}) == 1
    assert await client.xlen(STREAM) == 1


async def test_admission_counts_what_the_batch_itself_adds(client: Redis) -> None:
    """The bound holds inside a batch too, finished entries make room, and a refusal writes nothing."""
    await fill(client, 2)
    entries = [request() for _ in range(5)]
    results = await offer(client, *entries, length_max=4)
    assert [result.status for result in results] == [S.ACCEPTED, S.ACCEPTED, S.BUSY, S.BUSY, S.BUSY]
    assert await client.xlen(STREAM) == 4
    assert await client.exists(entries[2].idem_key, keys.acc(0, entries[2].envelope.id)) == 0
    await client.xtrim(STREAM, maxlen=0, approximate=False)
    [again] = await offer(client, entries[2], length_max=4)
    assert again.status is S.ACCEPTED


async def test_replays_are_answered_while_the_door_is_closed(client: Redis) -> None:
    """Whoever was accepted hears so under load, short memory, and in a recovering mesh."""
    await offer(client, request("k"))
    for closed in ({"length_max": 0}, {"memory_full": True}, {"epoch": "other:9"}):
        fresh, replay = await offer(client, request(), request("k"), **closed)
        assert fresh.status in {S.BUSY, S.WRONG_MESH}
        assert replay.status is S.REPLAYED


async def test_short_memory_refuses(client: Redis) -> None:
    """The caller has seen the memory mark passed."""
    [result] = await offer(client, request(), memory_full=True)
    assert result.status is S.BUSY
    assert await client.xlen(STREAM) == 0


async def test_server_out_of_memory_is_busy(client: Redis) -> None:
    """Even when nobody saw it coming, a full server is a reason to come back, not an error."""
    await client.config_set("maxmemory", "1")
    try:
        [result] = await offer(client, request())
    finally:
        await client.config_set("maxmemory", "512mb")
    assert result.status is S.BUSY
    assert await client.xlen(STREAM) == 0


@pytest.mark.parametrize("offset_ms", [-6_000, 6_000])
async def test_id_from_another_time_is_refused(client: Redis, offset_ms: int) -> None:
    """A gateway with a wrong clock poisons partitions and periods; it gets nothing in."""
    entry = request(intent=new_id(offset_ms=offset_ms))
    [result] = await offer(client, entry)
    assert result.status is S.CLOCK
    assert await client.exists(entry.idem_key, keys.acc(0, entry.envelope.id)) == 0
    assert await client.xlen(STREAM) == 0


@pytest.mark.parametrize("fields", [None, {"id": MESH_ID}, {"id": MESH_ID, "epoch": "2"}, {"id": "x", "epoch": "1"}])
async def test_slot_of_another_mesh_or_epoch_takes_nothing(client: Redis, fields: dict[str, str] | None) -> None:
    """An emptied, restored or foreign store is recognised before anything is written."""
    await client.delete(keys.mesh("i0"))
    if fields:
        await client.hset(keys.mesh("i0"), mapping=fields)  # type: ignore[arg-type]
    entry = request()
    [result] = await offer(client, entry)
    assert result.status is S.WRONG_MESH
    assert await client.exists(entry.idem_key, keys.acc(0, entry.envelope.id)) == 0
    assert await client.xlen(STREAM) == 0


async def test_id_given_out_before_clashes(client: Redis) -> None:
    """Two intents never share an id, not even inside one batch; the loser's key stays free."""
    intent = new_id()
    first, second, third = request("a", intent=intent), request("b", intent=intent), request("c", intent=intent)
    results = await offer(client, first, second)
    assert [result.status for result in results] == [S.ACCEPTED, S.CLASH]
    [late] = await offer(client, third)
    assert late.status is S.CLASH
    assert await client.exists(second.idem_key, third.idem_key) == 0
    assert await client.xlen(STREAM) == 1


async def test_server_that_forgot_the_script_is_told_again(client: Redis) -> None:
    """A restart or failover empties the script cache."""
    await offer(client, request())
    await client.script_flush()
    [result] = await offer(client, request())
    assert result.status is S.ACCEPTED


async def test_limits_of_one_call(client: Redis) -> None:
    """A call that would hold the server up is a bug of the caller."""
    with pytest.raises(InvariantViolation, match="257"):
        await offer(client, *[request()] * 257)
    with pytest.raises(InvariantViolation, match="bytes"):
        await offer(client, *[request(body=b"x" * 60_000) for _ in range(18)])
    with pytest.raises(InvariantViolation, match="partition"):
        await offer(client, request(intent=intent_id(1_700_000_000_000_000, 3, 7)))


async def test_lost_reply_is_unknown_and_the_replay_settles_it(client: Redis, redis_url: str) -> None:
    """Nobody retries behind our back, and the caller's retry finds the one intent."""
    entry = request("k")
    async with LossyProxy(redis_url) as proxy:
        through = connect(proxy.url)
        try:
            await offer(through, request())
            proxy.swallow_replies(1)
            with pytest.raises(OutcomeUnknown):
                await offer(through, entry)
        finally:
            await through.aclose()
    assert await client.xlen(STREAM) == 2
    [again] = await offer(client, request("k"))
    assert again == AcceptResult(S.REPLAYED, entry.envelope.id)
    assert await client.xlen(STREAM) == 2


async def test_missing_replica_is_not_an_acceptance(client: Redis) -> None:
    """A 202 stands on every replica that may be promoted; without them the outcome is unknown."""
    entry = request("k")
    with pytest.raises(OutcomeUnknown, match="0 of 1"):
        await accept(client, partition=0, entries=[entry], admission=admission(), replicas_min=1, replica_timeout_ms=50)
    [refused] = await accept(
        client,
        partition=0,
        entries=[request()],
        admission=admission(length_max=0),
        replicas_min=1,
        replica_timeout_ms=50,
    )
    assert refused.status is S.BUSY  # nothing was promised, so nothing needs a replica


async def test_replica_covers_acceptance_and_replay(
    own_url: str, lease: Lease, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With a replica in step, WAIT counts it for fresh entries and for replays alike."""
    replica = valkey(tmp_path_factory.mktemp("replica"), lease())
    replica.start()
    primary = connect(own_url)
    second = connect(valkey_url(int(replica.argv[list(replica.argv).index("--port") + 1])))
    try:
        await primary.hset(keys.mesh("i0"), mapping={"id": MESH_ID, "epoch": "1"})
        await second.replicaof("127.0.0.1", own_url.split(":")[2].split("/", maxsplit=1)[0])

        async def in_step() -> Any:
            return (await primary.info("replication"))["connected_slaves"] == 1 and await primary.wait(1, 50) == 1

        await until(in_step, "the replica in step", timeout_s=30)
        conditions = {"partition": 0, "admission": admission(), "replicas_min": 1, "replica_timeout_ms": 4_000}
        [fresh] = await accept(primary, entries=[request("k")], **conditions)  # type: ignore[arg-type]
        [replay] = await accept(primary, entries=[request("k")], **conditions)  # type: ignore[arg-type]
        assert [fresh.status, replay.status] == [S.ACCEPTED, S.REPLAYED]
        assert await second.xlen(STREAM) == 1
    finally:
        await primary.aclose()
        await second.aclose()
        replica.stop()


async def test_server_that_takes_no_writes_is_transient(client: Redis) -> None:
    """Too few replicas for the server's own rule: nothing happened, and it says so."""
    await client.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(Transient):
            await offer(client, request())
        with pytest.raises(Transient):
            await append(client, partition=0, envelope=Envelope(Kind.RESUME, str(new_id()), b"{}"))
    finally:
        await client.config_set("min-replicas-to-write", 0)
    assert await client.xlen(STREAM) == 0


async def test_append_is_never_gated(client: Redis) -> None:
    """The sweeper's entries concern intents that were accepted long ago; no door may stop them."""
    await fill(client, 3)
    await client.delete(keys.mesh("i0"))
    envelope = Envelope(Kind.RESUME, str(new_id()), b'{"reason":"stuck"}')
    await append(client, partition=0, envelope=envelope)
    [*_, (_, fields)] = await stream_entries(client)
    assert fields == envelope.fields()


async def test_marker_answers_until_it_is_deleted(client: Redis) -> None:
    """GET of an accepted id finds its owner here until the database can answer."""
    entry = request(owner="shop")
    assert await acc_owner(client, entry.envelope.id) is None
    await offer(client, entry)
    assert await acc_owner(client, entry.envelope.id) == ("shop", int(entry.envelope.id.replace("-", "")[:12], 16))
    await client.delete(keys.acc(0, entry.envelope.id))
    assert await acc_owner(client, entry.envelope.id) is None


async def test_server_out_of_reach_is_transient_for_a_read(lease: Lease) -> None:
    """Reading a marker changes nothing, so it may be tried again."""
    client = connect(f"redis://127.0.0.1:{lease()}/0")
    with pytest.raises(Transient):
        await acc_owner(client, str(new_id()))
    with pytest.raises(OutcomeUnknown):
        await offer(client, request())
    await client.aclose()


async def test_fields_survive_byte_for_byte(client: Redis) -> None:
    """Bodies are bytes: zero, newline and non-UTF-8 included."""
    entry = request(body=bytes(range(256)))
    await offer(client, entry)
    [(_, fields)] = await stream_entries(client)
    assert fields[b"body"] == bytes(range(256))
    assert set(fields) == set(envelope_fields("x"))
