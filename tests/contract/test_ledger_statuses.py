"""What a ledger refuses, and which reason comes first when several apply: read each table from top to bottom."""

from dataclasses import replace
from typing import Any

import pytest
import tigerbeetle as tb

from shared.errors import BadInput
from shared.ledger.port import Ledger
from tests.contract.books import AMOUNT_MAX, CREATED, ID_MAX, A, Books, F, Status, linked

Fields = dict[str, Any]


@pytest.fixture
async def books(ledger: Ledger) -> Books:
    """Accounts 1 to 9 of all sorts, transfers 101 to 105 of all sorts, and 106, which is spent."""
    books = Books(ledger)
    await books.open(
        books.account(1),
        books.account(2),
        books.account(3, ledger=2),
        books.account(4, flags=A.DEBITS_MUST_NOT_EXCEED_CREDITS),
        books.account(5, flags=A.CREDITS_MUST_NOT_EXCEED_DEBITS),
        books.account(6),
        books.account(7),
        books.account(8, ledger=2),
        books.account(9, user_data_128=1, user_data_64=2, user_data_32=3, code=4, flags=A.HISTORY),
    )
    await books.sure(
        books.transfer(101, user_data_128=1, user_data_64=2, user_data_32=3),
        books.hold(102),
        books.hold(103),
        books.hold(104),
        books.post(203, 103, 4, user_data_128=7),
        books.void(204, 104),
        books.hold(105, 6, 7, 0, flags=F.CLOSING_DEBIT),
    )
    assert await books.send(books.transfer(106, 4, 2)) == [Status.EXCEEDS_CREDITS]
    return books


ACCOUNT_CASES: list[tuple[str, Fields]] = [
    ("TIMESTAMP_MUST_BE_ZERO", {"timestamp": 1, "flags": A(1 << 15)}),
    ("RESERVED_FLAG", {"flags": A(1 << 15), "id": 0}),
    ("ID_MUST_NOT_BE_ZERO", {"id": 0, "ledger": 0}),
    ("ID_MUST_NOT_BE_INT_MAX", {"id": ID_MAX, "ledger": 0}),
    ("EXISTS_WITH_DIFFERENT_FLAGS", {"id": 9, "flags": A.NONE, "user_data_128": 9}),
    ("EXISTS_WITH_DIFFERENT_USER_DATA_128", {"id": 9, "user_data_128": 9, "user_data_64": 9}),
    ("EXISTS_WITH_DIFFERENT_USER_DATA_64", {"id": 9, "user_data_64": 9, "user_data_32": 9}),
    ("EXISTS_WITH_DIFFERENT_USER_DATA_32", {"id": 9, "user_data_32": 9, "ledger": 9}),
    ("EXISTS_WITH_DIFFERENT_LEDGER", {"id": 9, "ledger": 9, "code": 9}),
    ("EXISTS_WITH_DIFFERENT_CODE", {"id": 9, "code": 9}),
    ("EXISTS", {"id": 9}),
    ("EXISTS", {"id": 9, "debits_posted": 5}),
    ("FLAGS_ARE_MUTUALLY_EXCLUSIVE", {"flags": A(6), "debits_pending": 1}),
    ("DEBITS_PENDING_MUST_BE_ZERO", {"debits_pending": 1, "debits_posted": 1}),
    ("DEBITS_POSTED_MUST_BE_ZERO", {"debits_posted": 1, "credits_pending": 1}),
    ("CREDITS_PENDING_MUST_BE_ZERO", {"credits_pending": 1, "credits_posted": 1}),
    ("CREDITS_POSTED_MUST_BE_ZERO", {"credits_posted": 1, "ledger": 0}),
    ("LEDGER_MUST_NOT_BE_ZERO", {"ledger": 0, "code": 0}),
    ("CODE_MUST_NOT_BE_ZERO", {"code": 0}),
    ("CREATED", {}),
]


async def test_accounts_are_refused_for_the_first_reason_that_applies(books: Books) -> None:
    """Each case also breaks the rule of the case below it."""
    nine: Fields = {"user_data_128": 1, "user_data_64": 2, "user_data_32": 3, "code": 4, "flags": A.HISTORY}
    accounts = []
    for place, (_, fields) in enumerate(ACCOUNT_CASES):
        number = fields.get("id", 300 + place)
        rest = {name: value for name, value in fields.items() if name != "id"}
        accounts.append(books.account(number, **({**nine, **rest} if number == 9 else rest)))
    results = await books.ledger.create_accounts(accounts)
    assert [result.status.name for result in results] == [name for name, _ in ACCOUNT_CASES]


MOVE_CASES: list[tuple[str, Fields]] = [
    ("TIMESTAMP_MUST_BE_ZERO", {"timestamp": 1, "flags": F(1 << 15)}),
    ("RESERVED_FLAG", {"flags": F(1 << 15), "id": 0}),
    ("ID_MUST_NOT_BE_ZERO", {"id": 0, "debit": 0}),
    ("ID_MUST_NOT_BE_INT_MAX", {"id": ID_MAX, "debit": 0}),
    ("EXISTS_WITH_DIFFERENT_FLAGS", {"id": 101, "flags": F.PENDING, "pending_id": 1}),
    ("EXISTS_WITH_DIFFERENT_PENDING_ID", {"id": 101, "pending_id": 1, "debit": 4}),
    ("EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID", {"id": 101, "debit": 4, "credit": 5}),
    ("EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID", {"id": 101, "credit": 5, "amount": 11}),
    ("EXISTS_WITH_DIFFERENT_AMOUNT", {"id": 101, "amount": 11, "user_data_128": 9}),
    ("EXISTS_WITH_DIFFERENT_USER_DATA_128", {"id": 101, "user_data_128": 9, "user_data_64": 9}),
    ("EXISTS_WITH_DIFFERENT_USER_DATA_64", {"id": 101, "user_data_64": 9, "user_data_32": 9}),
    ("EXISTS_WITH_DIFFERENT_USER_DATA_32", {"id": 101, "user_data_32": 9, "ledger": 9}),
    ("EXISTS_WITH_DIFFERENT_LEDGER", {"id": 101, "ledger": 9, "code": 9}),
    ("EXISTS_WITH_DIFFERENT_CODE", {"id": 101, "code": 9}),
    ("EXISTS", {"id": 101}),
    ("ID_ALREADY_FAILED", {"id": 106, "debit": 0}),
    ("DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO", {"debit": 0, "credit": 0}),
    ("DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX", {"debit": ID_MAX, "credit": 0}),
    ("CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO", {"credit": 0, "pending_id": 1}),
    ("CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX", {"credit": ID_MAX, "pending_id": 1}),
    ("ACCOUNTS_MUST_BE_DIFFERENT", {"credit": 1, "pending_id": 1}),
    ("PENDING_ID_MUST_BE_ZERO", {"pending_id": 1, "flags": F.CLOSING_DEBIT}),
    ("CLOSING_TRANSFER_MUST_BE_PENDING", {"flags": F.CLOSING_DEBIT, "ledger": 0}),
    ("LEDGER_MUST_NOT_BE_ZERO", {"ledger": 0, "code": 0}),
    ("CODE_MUST_NOT_BE_ZERO", {"code": 0, "debit": 99}),
    ("DEBIT_ACCOUNT_NOT_FOUND", {"debit": 98, "credit": 99}),
    ("CREDIT_ACCOUNT_NOT_FOUND", {"debit": 3, "credit": 99}),
    ("ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER", {"credit": 3, "ledger": 9}),
    ("TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS", {"debit": 6, "ledger": 9}),
    ("DEBIT_ACCOUNT_ALREADY_CLOSED", {"debit": 6, "amount": AMOUNT_MAX}),
    ("CREDIT_ACCOUNT_ALREADY_CLOSED", {"credit": 6, "amount": AMOUNT_MAX}),
    ("OVERFLOWS_DEBITS_PENDING", {"amount": AMOUNT_MAX, "flags": F.PENDING}),
    ("OVERFLOWS_CREDITS_PENDING", {"debit": 7, "amount": AMOUNT_MAX, "flags": F.PENDING}),
    ("OVERFLOWS_DEBITS_POSTED", {"amount": AMOUNT_MAX}),
    ("OVERFLOWS_CREDITS_POSTED", {"debit": 7, "amount": AMOUNT_MAX}),
    ("EXCEEDS_CREDITS", {"debit": 4, "credit": 5}),
    ("EXCEEDS_DEBITS", {"credit": 5}),
    ("CREATED", {}),
    ("CREATED", {"amount": 0}),
]


async def test_transfers_are_refused_for_the_first_reason_that_applies(books: Books) -> None:
    """Each case also breaks the rule of the case below it, or of one further down."""
    transfers = []
    for place, (_, fields) in enumerate(MOVE_CASES):
        number = fields.get("id", 300 + place)
        rest = {name: value for name, value in fields.items() if name != "id"}
        like_101: Fields = {"user_data_128": 1, "user_data_64": 2, "user_data_32": 3}
        transfers.append(books.transfer(number, **({**like_101, **rest} if number == 101 else rest)))
    results = await books.ledger.create_transfers(transfers)
    assert [result.status.name for result in results] == [name for name, _ in MOVE_CASES]


async def test_the_sum_of_pending_and_posted_may_not_overflow_either(books: Books) -> None:
    """Half of the range held and half of it posted leave no room."""
    half = 1 << 127
    await books.open(books.account(21), books.account(22), books.account(23))
    await books.sure(books.hold(301, 21, 22, half), books.transfer(302, 22, 21, half))
    assert await books.send(books.transfer(303, 21, 23, half)) == [Status.OVERFLOWS_DEBITS]
    assert await books.send(books.transfer(304, 23, 22, half)) == [Status.OVERFLOWS_CREDITS]


POST_CASES: list[tuple[str, Fields]] = [
    ("EXISTS_WITH_DIFFERENT_FLAGS", {"id": 203, "flags": F.LINKED | F.POST_PENDING_TRANSFER, "pending_id": 102}),
    ("EXISTS_WITH_DIFFERENT_PENDING_ID", {"id": 203, "pending_id": 102, "debit": 2}),
    ("EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID", {"id": 203, "debit": 2, "credit": 1}),
    ("EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID", {"id": 203, "credit": 1, "amount": 5}),
    ("EXISTS_WITH_DIFFERENT_AMOUNT", {"id": 203, "amount": 5, "user_data_128": 0}),
    ("EXISTS_WITH_DIFFERENT_AMOUNT", {"id": 203, "amount": AMOUNT_MAX, "user_data_128": 0}),
    ("EXISTS_WITH_DIFFERENT_USER_DATA_128", {"id": 203, "user_data_128": 0, "user_data_64": 1}),
    ("EXISTS_WITH_DIFFERENT_USER_DATA_64", {"id": 203, "user_data_64": 1, "user_data_32": 1}),
    ("EXISTS_WITH_DIFFERENT_USER_DATA_32", {"id": 203, "user_data_32": 1, "ledger": 9}),
    ("EXISTS_WITH_DIFFERENT_LEDGER", {"id": 203, "ledger": 9, "code": 9}),
    ("EXISTS_WITH_DIFFERENT_CODE", {"id": 203, "code": 9}),
    ("EXISTS", {"id": 203}),
    ("EXISTS", {"id": 203, "debit": 1, "credit": 2, "ledger": 1, "code": 1}),
    ("ID_ALREADY_FAILED", {"id": 106}),
    ("FLAGS_ARE_MUTUALLY_EXCLUSIVE", {"flags": F.POST_PENDING_TRANSFER | F.VOID_PENDING_TRANSFER, "pending_id": 0}),
    ("FLAGS_ARE_MUTUALLY_EXCLUSIVE", {"flags": F.POST_PENDING_TRANSFER | F.PENDING, "pending_id": 0}),
    ("FLAGS_ARE_MUTUALLY_EXCLUSIVE", {"flags": F.POST_PENDING_TRANSFER | F.BALANCING_DEBIT, "pending_id": 0}),
    ("FLAGS_ARE_MUTUALLY_EXCLUSIVE", {"flags": F.POST_PENDING_TRANSFER | F.BALANCING_CREDIT, "pending_id": 0}),
    ("FLAGS_ARE_MUTUALLY_EXCLUSIVE", {"flags": F.POST_PENDING_TRANSFER | F.CLOSING_DEBIT, "pending_id": 0}),
    ("FLAGS_ARE_MUTUALLY_EXCLUSIVE", {"flags": F.POST_PENDING_TRANSFER | F.CLOSING_CREDIT, "pending_id": 0}),
    ("PENDING_ID_MUST_NOT_BE_ZERO", {"pending_id": 0}),
    ("PENDING_ID_MUST_NOT_BE_INT_MAX", {"pending_id": ID_MAX}),
    ("PENDING_ID_MUST_BE_DIFFERENT", {"id": 399, "pending_id": 399}),
    ("PENDING_TRANSFER_NOT_FOUND", {"pending_id": 98, "debit": 5}),
    ("PENDING_TRANSFER_NOT_PENDING", {"pending_id": 101, "debit": 5}),
    ("PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID", {"debit": 5, "credit": 5}),
    ("PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID", {"credit": 5, "ledger": 9}),
    ("PENDING_TRANSFER_HAS_DIFFERENT_LEDGER", {"ledger": 9, "code": 9}),
    ("PENDING_TRANSFER_HAS_DIFFERENT_CODE", {"code": 9, "amount": 11}),
    ("EXCEEDS_PENDING_TRANSFER_AMOUNT", {"pending_id": 103, "amount": 11}),
    ("PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT", {"pending_id": 103, "amount": 9, "flags": F.VOID_PENDING_TRANSFER}),
    ("PENDING_TRANSFER_ALREADY_POSTED", {"pending_id": 103}),
    ("PENDING_TRANSFER_ALREADY_VOIDED", {"pending_id": 104}),
    ("DEBIT_ACCOUNT_ALREADY_CLOSED", {"pending_id": 105, "amount": 0}),
    ("CREATED", {}),
]


async def test_posts_and_voids_are_refused_for_the_first_reason_that_applies(books: Books) -> None:
    """Each case also breaks the rule of a case further down; each is sent on its own."""
    seen = []
    for place, (_, fields) in enumerate(POST_CASES):
        number = fields.get("id", 300 + place)
        like: Fields = {"flags": F.POST_PENDING_TRANSFER, "debit": 0, "credit": 0, "ledger": 0, "code": 0}
        like |= {"amount": 4, "user_data_128": 7, "pending_id": 103} if number == 203 else {"pending_id": 102}
        rest = {name: value for name, value in fields.items() if name != "id"}
        transfers = [books.transfer(number, **{**like, **rest})]
        if transfers[0].flags & F.LINKED:
            transfers.append(books.transfer(398))
        results = await books.ledger.create_transfers(transfers)
        seen.append(results[0].status.name)
    assert seen == [name for name, _ in POST_CASES]


async def test_a_void_is_known_again_in_either_of_its_forms(books: Books) -> None:
    """Amount 0 and the whole amount say the same."""
    assert await books.send(
        books.void(204, 104),
        books.void(204, 104, 10),
        books.void(204, 104, 9),
    ) == [Status.EXISTS, Status.EXISTS, Status.EXISTS_WITH_DIFFERENT_AMOUNT]


async def test_the_seven_refusals_that_spend_an_id_and_none_other_do(books: Books) -> None:
    """What was refused for a passing reason can never happen later; what was refused for its form can."""
    await books.sure(books.hold(107, 7, 2, 0, flags=F.CLOSING_DEBIT))
    spending = {
        301: books.transfer(301, 98, 2),
        302: books.transfer(302, 1, 98),
        303: books.post(303, 98),
        304: books.transfer(304, 4, 2),
        305: books.transfer(305, 1, 5),
        306: books.transfer(306, 6, 2),
        307: books.transfer(307, 1, 6),
    }
    assert [status.name for status in await books.send(*spending.values())] == [
        "DEBIT_ACCOUNT_NOT_FOUND",
        "CREDIT_ACCOUNT_NOT_FOUND",
        "PENDING_TRANSFER_NOT_FOUND",
        "EXCEEDS_CREDITS",
        "EXCEEDS_DEBITS",
        "DEBIT_ACCOUNT_ALREADY_CLOSED",
        "CREDIT_ACCOUNT_ALREADY_CLOSED",
    ]
    harmless = {
        401: books.transfer(401, 1, 1),
        402: books.transfer(402, 1, 3),
        403: books.transfer(403, code=0),
        404: books.transfer(404, amount=AMOUNT_MAX),
        405: books.post(405, 103),
        406: books.post(406, 104),
        407: books.post(407, 102, 11),
        408: books.transfer(408, ledger=9),
    }
    refused = await books.send(*harmless.values())
    assert not {CREATED, Status.ID_ALREADY_FAILED} & set(refused)
    good = [books.transfer(number) for number in (*spending, *harmless)]
    assert await books.send(*good) == [Status.ID_ALREADY_FAILED] * len(spending) + [CREATED] * len(harmless)
    assert await books.found(*spending) == []


@pytest.mark.parametrize("flags", [F.IMPORTED, F.IMPORTED | F.LINKED])
async def test_imported_events_are_refused_before_anything_is_sent(books: Books, flags: F) -> None:
    """The first event of a request would decide for everybody else's."""
    with pytest.raises(BadInput, match="imported"):
        await books.ledger.create_transfers([books.transfer(301), books.transfer(302, flags=flags, timestamp=1)])
    with pytest.raises(BadInput, match="imported"):
        await books.ledger.create_accounts([replace(books.account(31), flags=A.IMPORTED, timestamp=1)])
    assert await books.found(301) == []


@pytest.mark.parametrize("change", [{"amount": -1}, {"amount": 1 << 128}, {"amount": 0.5}, {"code": 1 << 16}])
async def test_numbers_that_do_not_fit_fail_their_own_call_only(books: Books, change: Fields) -> None:
    """Nothing is sent, and nothing is rounded or wrapped."""
    with pytest.raises((tb.IntegerOverflowError, TypeError)):
        await books.ledger.create_transfers([books.transfer(301), replace(books.transfer(302), **change)])
    assert await books.found(301, 302) == []


async def test_a_call_that_leaves_a_chain_open_is_refused(books: Books) -> None:
    """Its end would have to come from somewhere else."""
    opened = [replace(transfer, flags=F.LINKED) for transfer in (books.transfer(301), books.transfer(302))]
    assert await books.send(*opened) == [Status.LINKED_EVENT_FAILED, Status.LINKED_EVENT_CHAIN_OPEN]
    before = [books.transfer(303, 1, 1, flags=F.LINKED), books.transfer(304, flags=F.LINKED)]
    assert await books.send(*before) == [Status.ACCOUNTS_MUST_BE_DIFFERENT, Status.LINKED_EVENT_CHAIN_OPEN]
    assert await books.found(301, 302, 303, 304) == []


async def test_linked_accounts_open_together_or_not_at_all(books: Books) -> None:
    """Chains hold for accounts too, and account refusals spend nothing."""
    wrong = [books.account(31, flags=A.LINKED), books.account(32, code=0, flags=A.LINKED), books.account(33)]
    results = await books.ledger.create_accounts([*wrong, books.account(34)])
    assert [result.status.name for result in results] == [
        "LINKED_EVENT_FAILED",
        "CODE_MUST_NOT_BE_ZERO",
        "LINKED_EVENT_FAILED",
        "CREATED",
    ]
    again = [replace(wrong[0]), replace(wrong[1], code=1), wrong[2]]
    await books.open(*again)
    opened = [books.account(35, flags=A.LINKED), books.account(36, flags=A.LINKED)]
    results = await books.ledger.create_accounts(opened)
    assert [result.status.name for result in results] == ["LINKED_EVENT_FAILED", "LINKED_EVENT_CHAIN_OPEN"]
    await books.open(books.account(35), books.account(36))


async def test_an_account_that_a_broken_chain_opened_is_not_there(books: Books) -> None:
    """Within the same call its id is free again."""
    broken = [books.account(31, flags=A.LINKED), books.account(32, code=0)]
    results = await books.ledger.create_accounts([*broken, books.account(31), books.account(31)])
    assert [result.status.name for result in results] == [
        "LINKED_EVENT_FAILED",
        "CODE_MUST_NOT_BE_ZERO",
        "CREATED",
        "EXISTS",
    ]
    assert results[2].timestamp == results[3].timestamp


async def test_a_chain_longer_than_every_server_takes_is_refused_whole(books: Books) -> None:
    """253 events are the most that all servers take in one request."""
    chain = linked([books.transfer(300 + leg) for leg in range(254)])
    with pytest.raises(tb.TooMuchDataError):
        await books.ledger.create_transfers([books.transfer(299), *chain])
    assert await books.found(299, 300) == []
    await books.sure(*linked([books.transfer(600 + leg) for leg in range(253)]))
