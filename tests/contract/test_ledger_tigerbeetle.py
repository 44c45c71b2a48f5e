"""What only the real client has to survive: cancellation, eviction, a closed session, a server killed at work."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import tigerbeetle as tb

from ops.embedded.server import Server
from ops.embedded.tigerbeetle import tigerbeetle, tigerbeetle_binary
from shared.errors import BadInput, OutcomeUnknown, Transient
from shared.ledger.batcher import TigerBeetleLedger
from shared.ledger.open import open_ledger
from tests.contract.books import CREATED, FAILED, Books, Status, linked
from tests.ports import Lease
from tests.waiting import until

pytestmark = pytest.mark.tigerbeetle

_SESSIONS_MAX = 64


@asynccontextmanager
async def _opened(
    addresses: str, *, timeout_s: float = 30.0, keep_alive_s: float = 10.0
) -> AsyncIterator[TigerBeetleLedger]:
    ledger = TigerBeetleLedger(addresses, timeout_s=timeout_s, keep_alive_s=keep_alive_s)
    try:
        yield ledger
    finally:
        await ledger.close()


async def _prepared(ledger: TigerBeetleLedger) -> Books:
    books = Books(ledger)
    await books.open(books.account(1), books.account(2))
    return books


async def test_cancelled_calls_leak_nothing_and_close_ends_cleanly(tigerbeetle_addresses: str) -> None:
    """Two hundred callers, every other one cancelled at another moment: the rest get their own answers."""
    async with _opened(tigerbeetle_addresses) as ledger:
        books = await _prepared(ledger)
        calls = [asyncio.create_task(books.send(books.transfer(10 + n))) for n in range(200)]
        for call in calls[::2]:
            await asyncio.wait({call}, timeout=0)
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert answers[1::2] == [[CREATED]] * 100
        assert {type(answer) for answer in answers[::2]} <= {asyncio.CancelledError, list}
        again = await books.send(*(books.transfer(10 + n) for n in range(200)))
        assert set(again) <= {CREATED, Status.EXISTS}
        assert await books.balance(1) == (0, 2000, 0, 0)


async def test_many_small_calls_share_few_requests(tigerbeetle_addresses: str) -> None:
    """What arrives while a request is in flight travels together, chains whole."""
    async with _opened(tigerbeetle_addresses) as ledger:
        books = await _prepared(ledger)
        before = ledger.requests
        answers = await asyncio.gather(
            *(books.send(*linked([books.transfer(2 * n), books.transfer(2 * n + 1)])) for n in range(10, 510))
        )
        assert answers == [[CREATED, CREATED]] * 500
        assert ledger.requests - before < 25


async def test_one_callers_refused_events_do_not_touch_another_s(tigerbeetle_addresses: str) -> None:
    """Broken and open chains in a shared request end with their own caller."""
    async with _opened(tigerbeetle_addresses) as ledger:
        books = await _prepared(ledger)
        broken = linked([books.transfer(10), books.transfer(11, 1, 1)])
        opened = linked([books.transfer(20), books.transfer(21)])[:1]
        answers = await asyncio.gather(
            *(books.send(*events) for events in (broken, [books.transfer(30)], opened, [books.transfer(31)]))
        )
        assert answers == [
            [FAILED, Status.ACCOUNTS_MUST_BE_DIFFERENT],
            [CREATED],
            [Status.LINKED_EVENT_CHAIN_OPEN],
            [CREATED],
        ]


async def _passers_by(addresses: str, count: int) -> None:
    """Open and close sessions: the cluster remembers each until a newer one takes its place."""

    async def pass_by() -> None:
        client = tb.ClientAsync(0, addresses)
        await client.lookup_accounts([1])
        await client.close()

    # A server takes 32 connections, fewer than sessions, and lets no one in beyond them.
    for _ in range(0, count, 16):
        await asyncio.gather(*(pass_by() for _ in range(16)))


async def test_an_evicted_session_is_replaced_and_the_same_ids_are_sent_again(tigerbeetle_addresses: str) -> None:
    """Sixty-four newer sessions push it out; its callers never notice."""
    async with _opened(tigerbeetle_addresses, keep_alive_s=3600) as ledger:
        books = await _prepared(ledger)
        await _passers_by(tigerbeetle_addresses, _SESSIONS_MAX)
        look_up = asyncio.create_task(books.found(1))
        answers = await asyncio.gather(*(books.send(books.transfer(10 + n)) for n in range(20)))
        assert await look_up == []
        assert ledger.evictions == 1
        assert all(set(answer) <= {CREATED, Status.EXISTS} for answer in answers)
        assert await books.balance(1) == (0, 200, 0, 0)


async def test_a_session_that_is_touched_is_not_the_first_to_go(tigerbeetle_addresses: str) -> None:
    """An idle process looks something up now and then; the silent one is evicted in its place."""
    async with (
        _opened(tigerbeetle_addresses, keep_alive_s=3600) as silent,
        _opened(tigerbeetle_addresses, keep_alive_s=0.02) as idle,
    ):
        books = await _prepared(silent)
        await idle.lookup_accounts([1])
        await _passers_by(tigerbeetle_addresses, _SESSIONS_MAX)
        assert await books.send(books.transfer(10)) == [CREATED]
        await idle.lookup_accounts([1])
        assert (silent.evictions, idle.evictions) == (1, 0)


async def test_a_server_that_does_not_answer_leaves_the_outcome_unknown_and_close_still_ends(
    lease: Lease,
) -> None:
    """Nobody listens: every call is told in time, and closing with calls in flight raises nothing."""
    ledger = TigerBeetleLedger(f"127.0.0.1:{lease()}", timeout_s=0.05)
    with pytest.raises(OutcomeUnknown):
        await ledger.lookup_accounts([1])
    with pytest.raises(OutcomeUnknown):
        await ledger.create_transfers([tb.Transfer(id=1)])
    await ledger.close()
    await ledger.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(Transient):
        await ledger.lookup_accounts([1])


async def test_calls_in_flight_end_as_unknown_when_the_ledger_is_closed(lease: Lease) -> None:
    """Sent or still waiting behind what was sent: nobody is left hanging."""
    ledger = TigerBeetleLedger(f"127.0.0.1:{lease()}", timeout_s=60)
    calls = [asyncio.create_task(ledger.create_transfers([tb.Transfer(id=n)])) for n in range(1, 4)]
    look_ups = [asyncio.create_task(ledger.lookup_transfers([n])) for n in range(1, 4)]
    await until(lambda: ledger.requests == 1)
    late = asyncio.create_task(ledger.create_transfers([tb.Transfer(id=9)]))
    await until(lambda: len(ledger._transfers._waiting) == 1)
    await ledger.close()
    answers = await asyncio.gather(*calls, *look_ups, late, return_exceptions=True)
    assert {type(answer) for answer in answers} == {OutcomeUnknown}


async def test_addresses_that_cannot_be_used_are_refused_at_once(tigerbeetle_addresses: str) -> None:
    """Names are not resolved; the message says what is wanted."""
    with pytest.raises(BadInput, match="ip:port"):
        TigerBeetleLedger("tigerbeetle.internal:3000")
    opened = open_ledger(pool=None, tigerbeetle_addresses=tigerbeetle_addresses)  # type: ignore[arg-type]
    assert isinstance(opened, TigerBeetleLedger)
    await opened.close()


@pytest.fixture
def mortal(tmp_path: Path, lease: Lease) -> Iterator[tuple[Server, str]]:
    """A server of this test's own, to be killed."""
    binary = tigerbeetle_binary()
    if binary is None:
        pytest.skip("no TigerBeetle server on PATH or in TIGERBEETLE_BIN")
    port = lease()
    server = tigerbeetle(binary, tmp_path / "mortal", port)
    server.start()
    yield server, f"127.0.0.1:{port}"
    server.kill()
    (tmp_path / "mortal" / "0_0.tigerbeetle").unlink()


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_server_killed_under_load_loses_no_answer_and_moves_no_money_twice(mortal: tuple[Server, str]) -> None:
    """Killed with -9 and restarted while eight callers send chains: every call ends with a true answer."""
    server, addresses = mortal
    async with _opened(addresses, timeout_s=120) as ledger:
        books = await _prepared(ledger)
        done = 0

        async def send(first: int) -> int:
            nonlocal done
            made = 0
            for number in range(first, first + 60):
                chain = linked([books.transfer(2 * number, 1, 2), books.transfer(2 * number + 1, 2, 1, 9)])
                statuses = await books.send(*chain)
                assert statuses in ([CREATED, CREATED], [Status.EXISTS, FAILED])
                made += 1
                done += 1
            return made

        senders = [asyncio.create_task(send(1000 * place)) for place in range(1, 9)]
        for goal in (100, 250):
            await until(lambda goal=goal: done >= goal, "load", timeout_s=60)  # type: ignore[misc]
            server.kill()
            server.spawn()
        assert sum(await asyncio.gather(*senders)) == 480
        assert await books.balance(1) == (0, 4800, 0, 4320)
        assert await books.balance(2) == (0, 4320, 0, 4800)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_call_given_up_during_an_outage_is_answered_truly_when_sent_again(mortal: tuple[Server, str]) -> None:
    """Unknown while the server was down; afterwards the same ids tell what became of them."""
    server, addresses = mortal
    async with _opened(addresses, timeout_s=0.3) as ledger:
        books = Books(ledger)

        async def prepared() -> bool:
            with suppress(OutcomeUnknown):
                results = await ledger.create_accounts([books.account(1), books.account(2)])
                return {result.status.name for result in results} <= {"CREATED", "EXISTS"}
            return False

        await until(prepared, "the accounts stand", timeout_s=60)
        server.kill()
        for number in (10, 11):
            with pytest.raises(OutcomeUnknown):
                await books.send(books.transfer(number))
        server.start()

        async def answered() -> list[Status]:
            with suppress(OutcomeUnknown):
                return await books.send(books.transfer(10), books.transfer(11))
            return []

        statuses = await until(answered, "an answer", timeout_s=60)
        assert set(statuses) <= {CREATED, Status.EXISTS}
        assert await books.balance(1) == (0, 20, 0, 0)
