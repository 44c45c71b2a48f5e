"""How often a key may ask, on real gateways and a real Valkey: who is refused, what they hear, and who is not."""

import asyncio
import json
from collections import Counter
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from gateway import rates
from gateway.coalescer import Coalescer
from gateway.problems import QUOTA_EXCEEDED
from gateway.views import ProblemView
from shared.streams import keys, rate
from tests.integration.gateway.outage import Outage
from tests.integration.gateway.stand import ADJUSTMENT, FREE, SECRET, TRANSFER, Answer, Client, Stand
from tests.waiting import until

HOUR = 3600
NOBODYS = "00000000-0000-7000-8000-000000000000"
"""An intent that nobody has posted."""


async def limited(stand: Stand, client: Client, key: str = "fast", **bounds: int) -> Client:
    """Add a key with a rate, an hour's unless told otherwise, and return the client that speaks as it."""
    await stand.add_key(key, SECRET, {**FREE, "rate": {"per_s": HOUR, **bounds}})
    return as_key(client, key)


def as_key(client: Client, key: str, secret: str = SECRET) -> Client:
    """Return the same client under another key."""
    return Client(client.url, client.port, client.session, key=key, secret=secret)


def left(answer: Answer) -> dict[str, tuple[int, int]]:
    """Return what is left by policy, and in how many seconds it is more."""
    found = {}
    for item in answer.headers["RateLimit"].split(", "):
        name, r, t = item.split(";")
        found[name.strip('"')] = (int(r.removeprefix("r=")), int(t.removeprefix("t=")))
    return found


async def test_every_answer_says_what_is_left_and_beyond_it_the_key_is_refused(stand: Stand, client: Client) -> None:
    """Accepted, not found and malformed alike; the refusal says why, for how long, and what to do."""
    fast = await limited(stand, client, requests=4)
    answers = [
        await fast.post(),
        await fast.get(NOBODYS),
        await fast.send("POST", "/v1/intents", b"{", idempotency_key="k"),
        await fast.send("GET", "/v1/accounts/user:alice:THB/balance"),
    ]
    assert [answer.status for answer in answers] == [202, 404, 400, 404]
    assert [left(answer)["key"][0] for answer in answers] == [3, 2, 1, 0]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"key";q=4;w=3600'}

    refused = await fast.post(key="again")
    assert (refused.status, refused.code, refused.document["retry"]) == (429, "rate_limited", "same_key")
    assert refused.headers["Content-Type"] == "application/problem+json"
    problem = ProblemView.model_validate(refused.document)
    assert (problem.type, problem.violated_policies) == (QUOTA_EXCEEDED, ["key"])
    assert refused.headers["RateLimit-Policy"] == '"key";q=4;w=3600'
    none_left, t = left(refused)["key"]
    assert none_left == 0
    assert t <= int(refused.headers["Retry-After"]) <= HOUR * 1.05
    assert len(await stand.entries()) == 1


async def test_a_refusal_does_not_bind_the_idempotency_key(stand: Stand, client: Client) -> None:
    """The same key is accepted afterwards, with another body too."""
    fast = await limited(stand, client, requests=1)
    assert (await fast.post()).status == 202
    assert (await fast.post(key="k")).status == 429
    await stand.redis.delete(keys.rate("fast", HOUR))
    await stand.pool.execute("""UPDATE pm.service_key SET permissions = permissions || '{"rate": null}'""")

    async def accepted() -> Any:
        answer = await fast.post({**TRANSFER, "amount_minor": 7}, key="k")
        return answer.status == 202 and not answer.replayed

    await until(accepted, "the key is free")


async def test_probes_and_metrics_are_never_counted_nor_refused(stand: Stand, client: Client) -> None:
    """Whoever watches must not need an allowance; metrics tell who was refused, and by which policy."""
    fast = await limited(stand, client, requests=1)
    assert [(await fast.post()).status for _ in range(3)] == [202, 429, 429]
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json"):
        answer = await client.raw("GET", path, b"", {})
        assert answer.status == 200
        assert "RateLimit" not in answer.headers
    async with client.session.get(f"{client.url}/metrics") as response:
        text = await response.text()
    assert 'paymesh_gateway_rate_refused_total{key="fast",policy="key"} 2.0' in text


async def test_each_user_has_a_part_of_the_keys_allowance(stand: Stand, client: Client) -> None:
    """One who has used theirs up is refused alone, and costs the key nothing."""
    fast = await limited(stand, client, requests=5, per_user_requests=2)
    mine = [await fast.send("GET", "/v1/accounts/user:alice:THB/balance", user_id="alice") for _ in range(4)]
    assert [answer.status for answer in mine] == [404, 404, 429, 429]
    assert mine[-1].headers["RateLimit-Policy"] == '"key";q=5;w=3600, "user";q=2;w=3600'
    assert mine[-1].document["violated-policies"] == ["user"]
    theirs = await fast.send("GET", "/v1/accounts/user:bob:THB/balance", user_id="bob")
    assert {name: room for name, (room, _) in left(theirs).items()} == {"key": 2, "user": 1}
    nobodys = await fast.send("GET", "/v1/accounts/user:bob:THB/balance")
    assert {name: room for name, (room, _) in left(nobodys).items()} == {"key": 1}
    assert (await fast.send("GET", "/v1/accounts/user:bob:THB/balance", user_id="bob")).status == 404
    both = await fast.send("GET", "/v1/accounts/user:bob:THB/balance", user_id="bob")
    assert both.document["violated-policies"] == ["key", "user"]


async def test_nobody_can_use_up_the_allowance_of_another(stand: Stand, client: Client) -> None:
    """Not by its name under a wrong signature, nor from an address of its own choosing, nor by having it approve."""
    await stand.add_key("office", SECRET, {**FREE, "addresses": ["10.0.0.0/8"], "rate": {"requests": 1, "per_s": HOUR}})
    fast = await limited(stand, client, requests=2)
    forged = as_key(client, "fast", "pms_" + "x" * 32)
    assert {(await forged.post()).code for _ in range(5)} == {"bad_signature"}
    assert {(await as_key(client, "office").post()).code for _ in range(3)} == {"address_not_permitted"}
    for _ in range(3):
        body, named = json.dumps({**ADJUSTMENT, "amount_minor": 5_000}).encode(), {"idempotency_key": uuid4().hex}
        headers = client.signed("POST", "/v1/intents", body, **named)
        theirs = fast.signed("POST", "/v1/intents", body, timestamp=headers["X-Timestamp"], approves="shop", **named)
        headers |= {"X-Approver-Key": "fast", "X-Approver-Signature": theirs["X-Signature"]}
        assert (await client.raw("POST", "/v1/intents", body, headers)).status == 202
    assert await stand.redis.keys("rate.*") == [keys.rate("shop", 10).encode()]  # the caller's own
    assert left(await fast.post())["key"][0] == 1


async def test_gateways_share_one_limit(stand: Stand) -> None:
    """Together they let through what one would, all at once and whoever is asked."""
    async with stand.gateway() as one, stand.gateway() as two:
        fast = [await limited(stand, one, requests=30), as_key(two, "fast")]
        await asyncio.gather(*(client.get(NOBODYS) for client in fast))
        answers = await asyncio.gather(*(client.get(NOBODYS) for client in fast for _ in range(40)))
    statuses = [answer.status for answer in answers]
    assert (statuses.count(404), statuses.count(429)) == (28, 52)


async def test_while_a_key_is_refused_nobody_asks_redis(
    stand: Stand, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a storm costs it nothing; a user's refusal is remembered too."""
    fast = await limited(stand, client, requests=3, per_user_requests=1)
    asked: list[int] = []
    original = rate.take

    async def counted(*args: Any, **named: Any) -> Any:
        asked.append(len(named["users"]))
        return await original(*args, **named)

    monkeypatch.setattr(rates, "take", counted)
    assert [(await fast.post(user_id="alice")).status for _ in range(20)] == [202] + [429] * 19
    assert asked == [1]
    other = {**TRANSFER, "from_account": "user:bob:THB", "to_account": "user:alice:THB"}
    assert [(await fast.post(other, user_id="bob")).status for _ in range(2)] == [202, 429]
    answers = [await fast.get(NOBODYS) for _ in range(20)]
    assert [answer.status for answer in answers] == [404] + [429] * 19
    assert asked == [1, 1, 1]


async def test_requests_that_come_together_are_counted_together(
    stand: Stand, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call asks for all that gathered behind the one before."""
    fast = await limited(stand, client, requests=1000, per_user_requests=1000)
    assert (await fast.get(NOBODYS)).status == 404
    asked: list[int] = []
    waiting: list[str | None] = []
    let_go = asyncio.Event()
    original_take, original_submit = rate.take, Coalescer.submit

    async def held(*args: Any, **named: Any) -> Any:
        asked.append(len(named["users"]))
        await let_go.wait()
        return await original_take(*args, **named)

    async def noticed(lane: Any, item: Any) -> Any:
        if item == "alice":
            waiting.append(item)
        return await original_submit(lane, item)

    monkeypatch.setattr(rates, "take", held)
    monkeypatch.setattr(rates, "ANSWER_S", 30.0)
    monkeypatch.setattr(Coalescer, "submit", noticed)
    sent = [asyncio.create_task(fast.get(NOBODYS, user_id="alice")) for _ in range(20)]
    await until(lambda: len(waiting) == 20, "all of them wait")
    let_go.set()
    assert {answer.status for answer in await asyncio.gather(*sent)} == {404}
    assert asked == [1, 19]


async def test_the_window_slides_and_the_key_is_let_through_when_it_was_told(stand: Stand, client: Client) -> None:
    """After `Retry-After`, and at most a twentieth later than a window."""
    fast = await limited(stand, client, requests=2, per_s=1)
    assert [(await fast.post()).status for _ in range(2)] == [202, 202]
    refused = await fast.post()
    if refused.status == 429:  # the machine may have been slower than the window
        assert int(refused.headers["Retry-After"]) in (1, 2)
    await until(fast.accepted, "room again", timeout_s=3)


async def test_a_limit_that_is_raised_holds_within_a_second_though_the_key_was_refused(
    stand: Stand, client: Client
) -> None:
    """What is known of a refusal belongs to the limit it was made under."""
    fast = await limited(stand, client, requests=1)
    assert [(await fast.post()).status for _ in range(2)] == [202, 429]
    wider = (
        """UPDATE pm.service_key SET permissions = jsonb_set(permissions, '{rate,requests}', '3') WHERE id = 'fast'"""
    )
    await stand.pool.execute(wider)
    await until(fast.accepted, "the wider limit", timeout_s=1.5)
    assert [(await fast.post()).status for _ in range(2)] == [202, 429]


async def test_a_refused_key_that_is_disabled_hears_so_within_a_second(stand: Stand, client: Client) -> None:
    """Being refused for its rate hides nothing."""
    fast = await limited(stand, client, requests=1)
    assert [(await fast.post()).status for _ in range(2)] == [202, 429]
    await stand.pool.execute("UPDATE pm.service_key SET disabled_at = now() WHERE id = 'fast'")
    await until(partial(fast.refused_as, "key_disabled"), "the key is disabled", timeout_s=1.5)


async def test_both_secrets_of_a_rotated_key_share_its_allowance(stand: Stand, client: Client) -> None:
    """Rotation is no way to more."""
    fast = await limited(stand, client, requests=3)
    renewed = as_key(client, "fast", "pms_" + "n" * 32)
    assert (await fast.post()).status == 202
    await stand.pool.execute(
        """UPDATE pm.service_key SET previous_secret = secret, previous_ends_at = now() + interval '1 hour', secret =
           $1 WHERE id = 'fast'""",
        stand.sealed("fast", renewed.secret),
    )
    await until(renewed.accepted, "the new secret")
    assert [(await client.post()).status for client in (fast, renewed, fast)] == [202, 429, 429]


async def test_without_redis_reads_pass_uncounted(stand: Stand) -> None:
    """They need the database alone; what would be accepted is refused for what it needs itself."""
    async with Outage(stand.redis_url) as outage:
        stand.redis_url = outage.url
        async with stand.gateway() as client:
            fast = await limited(stand, client, requests=2)
            await stand.open_account("user:alice:THB")
            posted = await fast.post()
            await stand.record(await stand.only_entry())
            outage.cut()
            reads = [await fast.get(posted.document["id"]) for _ in range(6)]
            assert {answer.status for answer in reads} == {200}
            assert all("RateLimit" not in answer.headers for answer in reads)
            assert {answer.headers["RateLimit-Policy"] for answer in reads} == {'"key";q=2;w=3600'}
            assert (await fast.post()).status == 503
            outage.mend()

            async def counted() -> bool:
                return "RateLimit" in (await fast.get(posted.document["id"])).headers

            await until(counted, "requests are counted again")


async def test_a_redis_that_hangs_holds_a_read_up_for_a_moment_and_the_next_ones_not_at_all(
    stand: Stand, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One asks, and what it learns holds for a while."""
    monkeypatch.setattr(rates, "ANSWER_S", 0.05)
    monkeypatch.setattr(rates, "AWAY_S", 60.0)
    posted = (await client.post()).document["id"]
    await stand.record(await stand.only_entry())
    asked = 0

    async def hangs(*_: Any, **__: Any) -> Any:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()

    monkeypatch.setattr(rates, "take", hangs)
    answers = await asyncio.gather(*(client.get(posted) for _ in range(30)))
    assert {answer.status for answer in answers} == {200}
    assert asked == 1


async def test_a_storm_of_one_key_is_refused_and_another_ones_requests_all_pass(
    stand: Stand, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty times its limit at once; Redis hears of the first few only."""
    storm = await limited(stand, client, key="storm", requests=10)
    assert (await storm.get(NOBODYS)).status == 404
    asked: list[str] = []
    original = rate.take

    async def counted(*args: Any, **named: Any) -> Any:
        asked.append(named["service_key"])
        return await original(*args, **named)

    monkeypatch.setattr(rates, "take", counted)
    stormed, posted = await asyncio.gather(
        asyncio.gather(*(storm.get(NOBODYS) for _ in range(300))), asyncio.gather(*(client.post() for _ in range(30)))
    )
    assert Counter(answer.status for answer in stormed) == {404: 9, 429: 291}
    assert {answer.status for answer in posted} == {202}
    before = asked.count("storm")
    assert {answer.status for answer in await asyncio.gather(*(storm.get(NOBODYS) for _ in range(300)))} == {429}
    assert asked.count("storm") == before
