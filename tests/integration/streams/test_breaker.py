"""The shared circuit breaker and the kill switch: when they open, for whom, and how they close."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from shared.streams import keys
from shared.streams.breaker import Breaker, BreakerRules, BreakerState, may_probe, read_breaker, record
from shared.streams.client import connect
from shared.streams.control import pause, read_control, resume
from tests.waiting import until

PSP = "tp"
RULES = BreakerRules(open_ms_min=150, open_ms_max=250, probe_ms=200)


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty server."""
    client = connect(redis_url)
    yield client
    await client.aclose()


async def report(client: Redis, outcomes: str, jitter: float = 0.0) -> Breaker:
    """Report calls."""
    return await record(client, PSP, outcomes, rules=RULES, jitter=jitter)


async def state(client: Redis) -> BreakerState:
    """Return how the breaker stands."""
    return (await read_breaker(client, PSP)).state


async def half_open(client: Redis) -> None:
    """Open the breaker and wait until it may be probed."""
    await report(client, "0" * 10)

    async def probing() -> bool:
        return await state(client) is BreakerState.HALF_OPEN

    await until(probing, "half open")


@pytest.mark.parametrize(
    ("outcomes", "stands"),
    [
        ("", BreakerState.CLOSED),
        ("1" * 100, BreakerState.CLOSED),
        ("0" * 9, BreakerState.CLOSED),
        ("0" * 10, BreakerState.OPEN),
        ("0" * 9 + "1" + "0" * 9 + "1" * 100, BreakerState.CLOSED),
        ("111110" * 10, BreakerState.CLOSED),  # 17 %
        ("11110" * 3, BreakerState.CLOSED),  # 20 %, but of 15 only
        ("11110" * 4, BreakerState.OPEN),  # 20 % of 20
    ],
)
async def test_it_opens_at_ten_errors_in_a_row_or_at_a_fifth_of_enough_calls(
    client: Redis, outcomes: str, stands: BreakerState
) -> None:
    """And never for less."""
    assert (await report(client, outcomes)).state is stands
    assert await state(client) is stands


async def test_errors_of_several_processes_count_together(client: Redis) -> None:
    """Each saw too few to tell."""
    for _ in range(4):
        assert (await report(client, "00")).state is BreakerState.CLOSED
    assert (await report(client, "00")).state is BreakerState.OPEN


async def test_errors_of_more_than_a_minute_ago_count_no_more(client: Redis) -> None:
    """They are forgotten with the next report."""
    await client.hset(keys.breaker(PSP), mapping={"b100": "0 500"})
    assert (await report(client, "1" * 30)).state is BreakerState.CLOSED
    assert not await client.hexists(keys.breaker(PSP), "b100")


@pytest.mark.parametrize(("jitter", "least_ms", "most_ms"), [(0.0, 100, 150), (0.999, 200, 250)])
async def test_it_stays_open_for_a_random_time(client: Redis, jitter: float, least_ms: int, most_ms: int) -> None:
    """So that nobody probes in step."""
    breaker = await report(client, "0" * 10, jitter)
    assert least_ms < breaker.left_ms <= most_ms


async def test_while_open_nobody_may_call_and_late_answers_change_nothing(client: Redis) -> None:
    """They belong to calls made before."""
    await report(client, "0" * 10)
    assert not await may_probe(client, PSP, rules=RULES)
    assert (await report(client, "1" * 50)).state is BreakerState.OPEN


async def test_half_open_one_at_a_time_finds_out(client: Redis) -> None:
    """The next one may when the first does not come back."""
    await half_open(client)
    assert await may_probe(client, PSP, rules=RULES)
    assert not await may_probe(client, PSP, rules=RULES)
    await until(lambda: may_probe(client, PSP, rules=RULES), "another probe")


async def test_an_answered_probe_closes_it_and_forgets(client: Redis) -> None:
    """The errors from before do not open it again."""
    await half_open(client)
    assert (await report(client, "1")).state is BreakerState.CLOSED
    assert await client.exists(keys.breaker(PSP)) == 0
    assert (await report(client, "0" * 9)).state is BreakerState.CLOSED
    assert await may_probe(client, PSP, rules=RULES)


async def test_a_failed_probe_opens_it_for_as_long_again(client: Redis) -> None:
    """One error is enough."""
    await half_open(client)
    assert (await report(client, "0")).state is BreakerState.OPEN


async def test_a_breaker_nobody_touches_is_forgotten_within_the_hour(client: Redis) -> None:
    """Closed is what an absent one means."""
    await report(client, "10")
    assert 0 < await client.pttl(keys.breaker(PSP)) <= 3_600_000


async def test_the_kill_switch_names_operations_or_the_whole_psp(client: Redis) -> None:
    """And is taken back by name."""
    assert not (await read_control(client, PSP)).pauses("A")
    await pause(client, PSP, "A", who="ann", at_ms=1)
    control = await read_control(client, PSP)
    assert (control.pauses("A"), control.pauses("B"), control.all_paused) == (True, False, False)
    await pause(client, PSP, who="bob", at_ms=2)
    control = await read_control(client, PSP)
    assert (control.pauses("A"), control.pauses("B"), control.all_paused) == (True, True, True)
    await resume(client, PSP)
    assert (await read_control(client, PSP)).paused == {"A"}
    assert await client.hget(keys.control(PSP), "A") in (b"ann 1", "ann 1")
