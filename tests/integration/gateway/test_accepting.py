"""Accepting intents: what a 202 means, what a replay answers, and what an uncertain door says."""

import asyncio
import json
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

import gateway.main
from shared import clock
from shared.ids import IntentId, intent_id, partition_of
from shared.streams import keys
from tests.integration.gateway.stand import ADJUSTMENT, KEY, PARTITIONS, TRANSFER, Answer, Client, Stand
from tests.integration.streams.lossy import LossyProxy
from tests.waiting import until


async def test_an_accepted_intent_stands_in_its_stream_before_the_answer(stand: Stand, client: Client) -> None:
    """202, a Location, and an entry that says exactly what was posted."""
    answer = await client.post({**TRANSFER, "metadata": {"tags": ["rent"]}, "requires_monitoring": True}, key="k-1")
    entry = await stand.only_entry()
    assert answer.status == 202
    assert answer.headers["Location"] == f"/v1/intents/{answer.document['id']}"
    assert answer.document["id"] == entry.envelope.id
    assert answer.document["state"] == "CREATED"
    assert answer.document["operation"] == {
        **TRANSFER, "metadata": {"tags": ["rent"]}, "requires_monitoring": True,
    }  # fmt: skip
    message = entry.message
    assert (message.service_key, message.user_id, message.idempotency_key) == ("shop", "alice", "k-1")
    assert message.operation.metadata.tags == ("rent",)
    assert message.waiter is None
    assert not answer.replayed


async def test_redis_remembers_a_key_for_an_hour_from_its_last_use(stand: Stand, client: Client) -> None:
    """Unless told otherwise; each replay begins the hour anew, so that a client at work never outlasts it."""
    hour_ms = 3_600_000
    intent = (await client.post(key="k-1")).document["id"]
    remembered = keys.idem(partition_of(IntentId(UUID(intent))), KEY, "k-1")
    assert hour_ms - 60_000 < await stand.redis.pttl(remembered) <= hour_ms
    await stand.redis.pexpire(remembered, 5_000)
    assert (await client.post(key="k-1")).replayed
    assert hour_ms - 60_000 < await stand.redis.pttl(remembered) <= hour_ms


async def test_names_and_comments_are_sealed_in_the_stream_and_masked_in_the_answer(
    stand: Stand, client: Client
) -> None:
    """Nobody's words stand anywhere in Redis, nor in full in an answer."""
    words = {"from_name": "Alice Liddell", "to_name": "Bob", "comment": "for the picnic"}
    answer = await client.post({**TRANSFER, **words})
    entry = await stand.only_entry()
    for text in words.values():
        assert text.encode() not in entry.envelope.body
    shown = answer.document["operation"]
    assert (shown["from_name"], shown["to_name"], shown["comment"]) == ("A***", "***", "f***")


async def test_a_hundred_concurrent_posts_with_one_key_are_one_intent(stand: Stand) -> None:
    """One entry in the stream, a hundred equal answers, over two gateways at once."""
    async with stand.gateway() as first, stand.gateway() as second:
        answers = await asyncio.gather(*((first, second)[turn % 2].post(key="same") for turn in range(100)))
    assert len(await stand.entries()) == 1
    assert {answer.status for answer in answers} == {202}
    documents = [answer.document for answer in answers]
    assert all(document == documents[0] for document in documents)
    assert sum(not answer.replayed for answer in answers) == 1


async def test_the_same_key_with_another_body_is_refused_with_422(stand: Stand, client: Client) -> None:
    """The key is spent on the first request, which is named."""
    first = await client.post(key="k")
    other = await client.post({**TRANSFER, "amount_minor": 1001}, key="k")
    assert (other.status, other.code, other.document["retry"]) == (422, "idempotency_key_reused", "new_key")
    assert other.document["intent_id"] == first.document["id"]
    assert len(await stand.entries()) == 1


async def test_the_same_key_for_another_user_is_another_request(client: Client) -> None:
    """The user is part of what the key is bound to."""
    merchant = {**TRANSFER, "from_account": "merchant:shop1:THB"}
    await client.post(merchant, key="k", user_id="alice")
    assert (await client.post(merchant, key="k", user_id="bob")).status == 422


async def test_the_same_key_under_another_service_key_is_another_intent(stand: Stand, client: Client) -> None:
    """Keys of two services never meet."""
    await stand.add_key("other", "x" * 32, {"operations": ["P2P_TRANSFER"], "accounts": ["user:*"]})
    other = Client(client.url, client.port, client.session, key="other", secret="x" * 32)
    answers = [await client.post(key="k"), await other.post(key="k")]
    assert [answer.status for answer in answers] == [202, 202]
    assert len({answer.document["id"] for answer in answers}) == 2


async def test_a_quoted_and_a_bare_key_are_the_same_key(client: Client) -> None:
    """Structured-field quotes are spelling, not part of the key."""
    bare, quoted = await client.post(key="k-7"), await client.post(key='"k-7"')
    assert quoted.replayed
    assert bare.document == quoted.document


async def test_the_short_path_is_the_same_path(client: Client) -> None:
    """A retry over the alias is a replay."""
    first, second = await client.post(key="k"), await client.post(key="k", path="/intents")
    assert second.replayed
    assert first.document["id"] == second.document["id"]


async def test_a_replay_answers_with_where_the_intent_stands_by_now(stand: Stand, client: Client) -> None:
    """Not with what was said at first."""
    first = await client.post(key="k")
    await stand.settle(await stand.only_entry())
    replay = await client.post(key="k")
    assert replay.replayed
    assert (replay.status, replay.document["id"], replay.document["state"]) == (200, first.document["id"], "SETTLED")


async def test_a_refused_intent_is_an_answer_and_not_an_http_error(stand: Stand, client: Client) -> None:
    """200 with an error object that says the key is spent."""
    first = await client.post(key="k")
    entry = await stand.only_entry()
    await stand.record(entry, "REJECTED", funds="none", error=("insufficient_funds", "the payer has too little"))
    for answer in (await client.post(key="k"), await client.get(first.document["id"])):
        assert answer.status == 200
        assert answer.document["state"] == "REJECTED"
        assert answer.document["error"] == {
            "code": "insufficient_funds",
            "detail": "the payer has too little",
            "retry": "new_key",
            "retryable": True,
        }


async def test_when_redis_forgot_a_retry_is_answered_with_the_first_intent(stand: Stand) -> None:
    """The later intent is an alias: replay, read and wait give the first one's id and state, on every gateway."""
    async with stand.gateway() as one, stand.gateway() as two:
        first = (await one.post(key="k")).document["id"]
        original = await stand.only_entry()
        await stand.record(original)
        await stand.finish(original)
        await stand.redis.delete(keys.idem(partition_of(original.intent), "shop", "k"))

        waiting = asyncio.create_task(two.post(key="k", wait_s=20))
        await until(stand.entries, "the second entry")
        alias = await stand.only_entry()
        assert alias.envelope.id != first
        await stand.record(alias, "DUPLICATE", funds="none", alias_of=UUID(first))
        await stand.finish(alias)
        assert alias.message.waiter is not None
        await stand.hint(alias.message.waiter, alias.envelope.id, "DUPLICATE")

        answers = [await waiting, await one.get(alias.envelope.id), await one.post(key="k")]
    for answer in answers:
        assert answer.status == 200
        assert answer.replayed
        assert (answer.document["id"], answer.document["state"]) == (first, "SETTLED")
        assert answer.headers["Location"] == f"/v1/intents/{first}"


async def test_a_full_stream_answers_busy_and_still_answers_replays(stand: Stand) -> None:
    """503 with Retry-After; what was accepted before is recognised although the door is closed."""
    async with stand.gateway(admission_limit=1) as client:
        first = await _post_to_each_partition(client)
        refused = [await client.post(key=f"late-{turn}") for turn in range(8)]
        assert {(answer.status, answer.code) for answer in refused} == {(503, "busy")}
        assert {(answer.headers["Retry-After"], answer.document["retry"]) for answer in refused} == {("1", "same_key")}
        assert (await client.post(key=first[0])).replayed
    assert len(await stand.entries()) == PARTITIONS


async def _post_to_each_partition(client: Client) -> list[str]:
    """Post until every partition holds an entry; return the keys that were accepted."""
    accepted: list[str] = []
    seen: set[int] = set()
    for turn in range(100):
        answer = await client.post(key=f"k-{turn}")
        if answer.status == 202:
            accepted.append(f"k-{turn}")
            seen.add(partition_of(answer.intent))
        if len(seen) == PARTITIONS:
            return accepted
    raise AssertionError("some partition was never hit")


async def test_short_memory_closes_the_door_within_a_second(stand: Stand, client: Client) -> None:
    """Above three quarters of maxmemory nothing new is admitted, so that what was admitted can be finished."""
    used = int((await stand.redis.info("memory"))["used_memory"])
    await stand.redis.config_set("maxmemory", used + used // 4)
    try:
        await until(lambda: client.refused_as("busy"), "the door closes")
    finally:
        await stand.redis.config_set("maxmemory", 512 << 20)
    await until(client.accepted, "the door opens")


async def test_a_lost_reply_asks_for_the_same_key_and_the_same_key_finds_the_intent(
    stand: Stand, redis_url: str
) -> None:
    """The entry was written and the answer never came: 503, not 500, and no second intent."""
    async with LossyProxy(redis_url) as proxy:
        stand.redis_url = proxy.url
        async with stand.gateway() as client:
            await client.post(key="warm")
            proxy.swallow_replies()
            lost = await client.post(key="k")
            assert (lost.status, lost.code, lost.document["retry"]) == (503, "outcome_unknown", "same_key")
            assert lost.headers["Retry-After"] == "1"
            proxy.pass_replies()
            found = await client.post(key="k")
    assert found.status == 202
    entries = [entry for entry in await stand.entries() if entry.message.idempotency_key == "k"]
    assert [entry.envelope.id for entry in entries] == [found.document["id"]]


async def test_too_few_replicas_leave_the_outcome_unknown(stand: Stand) -> None:
    """With a replica demanded and none there, nobody hears 202."""
    async with stand.gateway(replicas_min=1, replica_timeout_ms=50) as client:
        answer = await client.post()
    assert (answer.status, answer.code) == (503, "outcome_unknown")


async def test_a_slot_of_another_epoch_accepts_nothing(stand: Stand, client: Client) -> None:
    """A restored or recovering store is not written to; once both stores agree the gateway follows by itself."""
    for partition in range(PARTITIONS):
        await stand.redis.hset(keys.mesh(keys.slot(partition)), "epoch", "2")
    answer = await client.post()
    assert (answer.status, answer.code, answer.document["retry"]) == (503, "wrong_mesh", "same_key")
    assert await stand.entries() == []
    await until(client.unready, "readiness fails")
    await stand.pool.execute("UPDATE pm.mesh SET epoch = 2")
    await until(client.accepted, "the new epoch is adopted")


async def test_a_gateway_with_a_wrong_clock_accepts_nothing(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids far from the stream's time would poison months and limits."""
    monkeypatch.setattr(gateway.main, "new_intent_id", lambda partition: intent_id(10**15, partition, 7))
    async with stand.gateway() as client:
        answer = await client.post()
    assert (answer.status, answer.code) == (503, "clock_skew")
    assert await stand.entries() == []


async def test_an_id_that_exists_already_is_replaced_by_another(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collision of random bits costs a round trip, not an intent; the words are sealed again for the new id."""
    original = clock.new_intent_id
    given: list[IntentId] = []

    def new_intent_id(_partition: int) -> IntentId:
        given.append(given[0] if len(given) == 1 else original(0))
        return given[-1]

    monkeypatch.setattr(gateway.main, "new_intent_id", new_intent_id)
    monkeypatch.setattr("gateway.intents.partition_for", lambda *_: 0)
    async with stand.gateway() as client:
        answers = [await client.post({**TRANSFER, "comment": "one two three"}) for _ in range(2)]
    assert [answer.status for answer in answers] == [202, 202]
    assert given[0] == given[1] != given[2]
    assert {entry.intent for entry in await stand.entries()} == {given[0], given[2]}


async def test_two_gateways_put_one_key_into_one_partition(stand: Stand) -> None:
    """Otherwise one key could be accepted twice."""
    async with stand.gateway() as one, stand.gateway() as two:
        for turn in range(20):
            first, second = await one.post(key=f"k-{turn}"), await two.post(key=f"k-{turn}")
            assert second.replayed
            assert first.document["id"] == second.document["id"]


async def test_a_valid_trace_context_travels_with_the_entry_and_an_invalid_one_does_not(
    stand: Stand, client: Client
) -> None:
    """So that a dead letter can name the trace."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await client.post(headers={"traceparent": trace})
    await client.post(headers={"traceparent": "nonsense\tthere"})
    assert sorted(entry.envelope.traceparent for entry in await stand.entries()) == ["", trace]


async def test_an_adjustment_above_the_lone_limit_needs_a_second_owners_signature(stand: Stand, client: Client) -> None:
    """Minting money takes two parties; who approved is written down."""
    granted = {"operations": ["ADJUSTMENT"], "accounts": ["user:*"]}
    limits = {"adjustment": {"max_minor": 10_000, "alone_max_minor": 0}}
    await stand.add_key("second", "s" * 32, {**granted, **limits})
    await stand.add_key("twin", "t" * 32, {**granted, **limits}, owner="shop")
    await stand.add_key("poor", "p" * 32, granted)
    await stand.add_key("small", "q" * 32, {**granted, "adjustment": {"max_minor": 5, "alone_max_minor": 5}})
    large = {**ADJUSTMENT, "amount_minor": 5_000}

    async def approved_by(key: str, secret: str) -> Answer:
        body = json.dumps(large).encode()
        named = {"idempotency_key": uuid4().hex, "user_id": ""}
        headers = client.signed("POST", "/v1/intents", body, **named)
        approver = Client(client.url, client.port, client.session, key=key, secret=secret)
        named |= {"timestamp": headers["X-Timestamp"], "approves": client.key}
        theirs = approver.signed("POST", "/v1/intents", body, **named)
        headers |= {"X-Approver-Key": key, "X-Approver-Signature": theirs["X-Signature"]}
        return await client.raw("POST", "/v1/intents", body, headers)

    assert (await client.post(ADJUSTMENT, user_id="")).status == 202
    assert (await client.post({**ADJUSTMENT, "amount_minor": 10_001}, user_id="")).code == "amount_not_permitted"
    assert (await client.post(large, user_id="")).code == "approval_required"
    refused: Sequence[tuple[str, str]] = (
        ("shop", "pms_0123456789abcdef0123456789abcdef"), ("twin", "t" * 32), ("poor", "p" * 32), ("small", "q" * 32),
        ("second", "wrong" * 8), ("nobody", "n" * 32),
    )  # fmt: skip
    for key, secret in refused:
        answer = await approved_by(key, secret)
        assert (answer.status, answer.code) == (403, "approval_refused"), key
    answer = await approved_by("second", "s" * 32)
    assert answer.status == 202
    assert answer.document["operation"]["approved_by"] == "second"
    stored = [entry.message.operation for entry in await stand.entries()]
    assert sorted(str(getattr(operation, "approved_by", None)) for operation in stored) == ["None", "second"]


async def test_an_approval_cannot_be_turned_into_a_request_of_the_approvers(stand: Stand, client: Client) -> None:
    """The caller swaps the two keys' headers: the approval must not mint a second time in the approver's name."""
    granted = {"operations": ["ADJUSTMENT"], "accounts": ["user:*"]}
    limits = {"adjustment": {"max_minor": 10_000, "alone_max_minor": 0}}
    await stand.add_key("second", "s" * 32, {**granted, **limits})
    await stand.add_key("first", "f" * 32, {**granted, **limits}, owner="first")
    first = Client(client.url, client.port, client.session, key="first", secret="f" * 32)
    second = Client(client.url, client.port, client.session, key="second", secret="s" * 32)
    body = json.dumps({**ADJUSTMENT, "amount_minor": 5_000}).encode()
    named = {"idempotency_key": uuid4().hex, "user_id": ""}
    headers = first.signed("POST", "/v1/intents", body, **named)
    approval = second.signed("POST", "/v1/intents", body, timestamp=headers["X-Timestamp"], approves="first", **named)[
        "X-Signature"
    ]
    approved = {**headers, "X-Approver-Key": "second", "X-Approver-Signature": approval}
    assert (await first.raw("POST", "/v1/intents", body, approved)).status == 202
    swapped = {
        **headers,
        "X-Service-Key": "second",
        "X-Signature": approval,
        "X-Approver-Key": "first",
        "X-Approver-Signature": headers["X-Signature"],
    }
    answer = await first.raw("POST", "/v1/intents", body, swapped)
    assert (answer.status, answer.code) == (401, "bad_signature")
    assert len(await stand.entries()) == 1
