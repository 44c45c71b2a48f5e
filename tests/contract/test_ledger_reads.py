"""Reading the books, on both ledgers."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import tigerbeetle as tb

from shared.ledger.port import Ledger
from tests.contract.books import ID_MAX, A, Books, F

S = tb.AccountFilterFlags
REVERSED = tb.QueryFilterFlags.REVERSED


@pytest.fixture
async def books(ledger: Ledger) -> Books:
    """Accounts 1 to 3; transfers 10 to 15 between them, tagged by who (128), when (64), where (32) and why (code)."""
    books = Books(ledger)
    await books.open(*(books.account(number, user_data_128=books.id(number), code=number) for number in (1, 2, 3)))
    tag = books.id(7)
    await books.sure(
        books.transfer(10, 1, 2, code=1, user_data_128=tag, user_data_64=(1 << 64) - 1, user_data_32=1),
        books.transfer(11, 2, 1, code=2, user_data_128=tag, user_data_64=5, user_data_32=(1 << 32) - 1),
        books.transfer(12, 1, 3, code=2, user_data_128=tag),
        books.transfer(13, 3, 2, code=1, user_data_128=tag),
        books.hold(14, 1, 2, code=3, user_data_128=tag),
        books.post(15, 14),
    )
    return books


def _of(books: Books, number: int, flags: S = S.DEBITS | S.CREDITS, **fields: Any) -> tb.AccountFilter:
    none = dict.fromkeys(("user_data_128", "user_data_64", "user_data_32", "code", "timestamp_min", "timestamp_max"), 0)
    return tb.AccountFilter(account_id=books.id(number), flags=flags, **{**none, "limit": 100, **fields})


def _all(books: Books, flags: tb.QueryFilterFlags = tb.QueryFilterFlags.NONE, **fields: Any) -> tb.QueryFilter:
    names = ("user_data_64", "user_data_32", "ledger", "code", "timestamp_min", "timestamp_max")
    none = {**dict.fromkeys(names, 0), "user_data_128": books.id(7)}
    return tb.QueryFilter(flags=flags, **{**none, "limit": 100, **fields})


def _numbers(books: Books, found: Sequence[tb.Transfer | tb.Account]) -> list[int]:
    return [each.id - books.base for each in found]


async def test_what_was_written_is_read_back_to_the_last_bit(books: Books) -> None:
    """The largest number of every field survives."""
    most = books.transfer(
        20, 1, 2, (1 << 100) + 1,
        user_data_128=ID_MAX, user_data_64=(1 << 64) - 1, user_data_32=(1 << 32) - 1, code=(1 << 16) - 1,
    )  # fmt: skip
    (result,) = await books.ledger.create_transfers([most])
    most.timestamp = result.timestamp
    assert await books.ledger.lookup_transfers([most.id]) == [most]
    account = books.account(
        30, user_data_128=ID_MAX, user_data_64=(1 << 64) - 1, user_data_32=(1 << 32) - 1, ledger=(1 << 32) - 1,
        code=(1 << 16) - 1, flags=A.CREDITS_MUST_NOT_EXCEED_DEBITS | A.HISTORY,
    )  # fmt: skip
    (opened,) = await books.ledger.create_accounts([account])
    account.timestamp = opened.timestamp
    assert await books.ledger.lookup_accounts([account.id]) == [account]


async def test_a_look_up_keeps_the_order_asked_for_and_leaves_out_what_is_missing(books: Books) -> None:
    """Twice asked is twice answered; nothing is asked of nobody."""
    asked = [books.id(number) for number in (15, 99, 10, 12, 98, 10)]
    assert _numbers(books, await books.ledger.lookup_transfers(asked)) == [15, 10, 12, 10]
    asked = [books.id(number) for number in (3, 99, 1, 3)]
    assert _numbers(books, await books.ledger.lookup_accounts(asked)) == [3, 1, 3]
    assert await books.ledger.lookup_transfers([]) == []
    assert await books.ledger.create_transfers([]) == []


async def test_a_look_up_may_ask_for_more_than_a_reply_holds(books: Books) -> None:
    """Ten thousand ids, of which six exist."""
    asked = [books.id(number) for number in range(10, 10_010)]
    assert _numbers(books, await books.ledger.lookup_transfers(asked)) == [10, 11, 12, 13, 14, 15]


async def test_calls_larger_than_a_request_keep_their_order_and_their_chains(books: Books) -> None:
    """Chains of three do not divide 8,189: they are never cut."""
    transfers = [books.transfer(1000 + n, 1, 2, 1, flags=F.NONE if n % 3 == 2 else F.LINKED) for n in range(9000)]
    results = await books.ledger.create_transfers(transfers)
    assert {result.status for result in results} == {tb.CreateTransferStatus.CREATED}
    assert all(earlier.timestamp < later.timestamp for earlier, later in pairwise(results))
    everything = await books.ledger.get_account_transfers(_of(books, 1, limit=20_000))
    assert _numbers(books, everything) == [10, 11, 12, 14, 15, *range(1000, 10_000)]
    newest = await books.ledger.get_account_transfers(_of(books, 1, S.DEBITS | S.REVERSED, limit=8_500))
    assert _numbers(books, newest) == list(range(9999, 1499, -1))


ACCOUNT_FILTERS: list[tuple[int, S, dict[str, Any], list[int]]] = [
    (1, S.DEBITS | S.CREDITS, {}, [10, 11, 12, 14, 15]),
    (1, S.DEBITS, {}, [10, 12, 14, 15]),
    (1, S.CREDITS, {}, [11]),
    (1, S.DEBITS | S.CREDITS | S.REVERSED, {}, [15, 14, 12, 11, 10]),
    (1, S.DEBITS | S.CREDITS | S.REVERSED, {"limit": 2}, [15, 14]),
    (1, S.DEBITS | S.CREDITS, {"limit": 2}, [10, 11]),
    (2, S.DEBITS | S.CREDITS, {"code": 1}, [10, 13]),
    (2, S.DEBITS | S.CREDITS, {"user_data_64": (1 << 64) - 1}, [10]),
    (1, S.DEBITS | S.CREDITS, {"user_data_32": (1 << 32) - 1}, [11]),
    (1, S.DEBITS | S.CREDITS, {"user_data_128": 12345}, []),
    (99, S.DEBITS | S.CREDITS, {}, []),
    (1, S.NONE, {}, []),
    (1, S.REVERSED, {}, []),
    (1, S.DEBITS, {"limit": 0}, []),
    (1, S.DEBITS, {"timestamp_min": 3, "timestamp_max": 2}, []),
    (1, S.DEBITS, {"timestamp_min": 1 << 63}, []),
    (1, S.DEBITS, {"timestamp_max": 1 << 63}, []),
    (1, S.DEBITS, {"timestamp_max": 1}, []),
    (0, S.DEBITS, {}, []),
    (ID_MAX, S.DEBITS, {}, []),
    (1, S(1 << 5) | S.DEBITS, {}, []),
]


async def test_an_accounts_transfers(books: Books) -> None:
    """By side, order, limit and tag; a filter that makes no sense finds nothing."""
    for number, flags, fields, expected in ACCOUNT_FILTERS:
        found = await books.ledger.get_account_transfers(_of(books, number, flags, **fields))
        assert _numbers(books, found) == expected, (number, flags, fields)


QUERIES: list[tuple[tb.QueryFilterFlags, dict[str, Any], list[int]]] = [
    (tb.QueryFilterFlags.NONE, {}, [10, 11, 12, 13, 14, 15]),
    (REVERSED, {}, [15, 14, 13, 12, 11, 10]),
    (REVERSED, {"limit": 1}, [15]),
    (REVERSED, {"code": 2}, [12, 11]),
    (tb.QueryFilterFlags.NONE, {"code": 3}, [14, 15]),
    (tb.QueryFilterFlags.NONE, {"ledger": 1, "code": 1}, [10, 13]),
    (tb.QueryFilterFlags.NONE, {"ledger": 2}, []),
    (tb.QueryFilterFlags.NONE, {"user_data_64": 5}, [11]),
    (tb.QueryFilterFlags.NONE, {"user_data_32": 1}, [10]),
    (tb.QueryFilterFlags.NONE, {"limit": 0}, []),
    (tb.QueryFilterFlags.NONE, {"timestamp_min": 3, "timestamp_max": 2}, []),
    (tb.QueryFilterFlags(1 << 5), {}, []),
]


async def test_transfers_by_what_they_carry(books: Books) -> None:
    """An intent finds all its transfers by its own id."""
    for flags, fields, expected in QUERIES:
        found = await books.ledger.query_transfers(_all(books, flags, **fields))
        assert _numbers(books, found) == expected, (flags, fields)


async def test_transfers_between_two_moments(books: Books) -> None:
    """Both ends belong to the span."""
    times = [each.timestamp for each in await books.ledger.query_transfers(_all(books))]
    middle = _all(books, timestamp_min=times[1], timestamp_max=times[3])
    assert _numbers(books, await books.ledger.query_transfers(middle)) == [11, 12, 13]
    mine = _of(books, 1, timestamp_min=times[1], timestamp_max=times[3])
    assert _numbers(books, await books.ledger.get_account_transfers(mine)) == [11, 12]


async def test_accounts_by_what_they_carry(books: Books) -> None:
    """The same filter over accounts."""
    found = await books.ledger.query_accounts(_all(books, user_data_128=books.id(2), code=2, ledger=1))
    assert _numbers(books, found) == [2]
    assert await books.ledger.query_accounts(_all(books, user_data_128=books.id(2), code=3)) == []
