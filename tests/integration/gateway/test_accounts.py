"""Accounts over HTTP: opened through the stream, read from the read model."""

import asyncio
import json
import time
from uuid import UUID

import pytest

from gateway.views import AccountView, BalanceView, HistoryView
from shared.ids import Phase, account_id, intent_id, transfer_id
from shared.ledger.codes import LegCode
from tests.integration.gateway.stand import FREE, SECRET, Answer, Client, Stand
from tests.waiting import until

ALICE = "user:alice:THB"


async def opening(client: Client, name: str = ALICE, *, wait_s: int | None = None, user_id: str = "") -> Answer:
    """Ask for an account."""
    headers = {} if wait_s is None else {"Prefer": f"wait={wait_s}"}
    return await client.send("POST", "/v1/accounts", json.dumps({"name": name}).encode(), headers, user_id=user_id)


async def test_an_account_is_open_once_the_map_has_it(stand: Stand, client: Client) -> None:
    """201 in the same request when the orchestrator is quick, 200 when asked again."""
    pending = asyncio.create_task(opening(client, wait_s=20))
    await until(stand.entries, "the entry")
    entry = await stand.only_entry()
    assert (entry.envelope.kind, entry.account.name, entry.account.service_key) == ("open_account", ALICE, "shop")
    await stand.open_account(ALICE)
    assert entry.account.waiter is not None
    started = time.monotonic()
    assert await stand.hint(entry.account.waiter, ALICE, "OPEN") == 1
    opened, again = await pending, await opening(client)
    assert time.monotonic() - started < 4
    assert [(answer.status, answer.document["name"]) for answer in (opened, again)] == [(201, ALICE), (200, ALICE)]
    assert opened.document["opened_at"] == again.document["opened_at"]
    assert opened.headers["Location"] == f"/v1/accounts/{ALICE}/balance"
    assert AccountView.model_validate(opened.document).currency == "THB"
    assert len(await stand.entries()) == 1


async def test_an_account_that_takes_long_to_open_is_202_after_two_seconds(client: Client) -> None:
    """Without a preference; with one, as long as it says."""
    started = time.monotonic()
    answer = await opening(client)
    assert (answer.status, answer.document["opened_at"]) == (202, None)
    assert 1.9 < time.monotonic() - started < 3.5
    started = time.monotonic()
    assert (await opening(client, wait_s=0)).status == 202
    assert time.monotonic() - started < 1


async def test_asking_ten_times_for_an_account_asks_the_orchestrator_once(stand: Stand, client: Client) -> None:
    """A client that polls does not fill the stream."""
    answers = await asyncio.gather(*(opening(client, wait_s=0) for _ in range(10)))
    assert {answer.status for answer in answers} == {202}
    assert len(await stand.entries()) == 1


async def test_only_wallets_are_opened_and_only_by_keys_that_may(stand: Stand, client: Client) -> None:
    """The house's own accounts are nobody's to open here."""
    await stand.add_key("shut", SECRET, {**FREE, "open_accounts": False})
    await stand.add_key("narrow", SECRET, {**FREE, "accounts": ["merchant:shop1:*"]})
    shut = Client(client.url, client.port, client.session, key="shut")
    narrow = Client(client.url, client.port, client.session, key="narrow")
    expected = [
        (await opening(client, "equity:THB"), 400, "account_not_openable"),
        (await opening(client, "user:alice"), 400, "bad_account_name"),
        (await opening(client, "user:bob:THB", user_id="alice"), 403, "foreign_user"),
        (await opening(shut), 403, "operation_not_permitted"),
        (await opening(narrow), 403, "account_not_permitted"),
        (await client.send("POST", "/v1/accounts", b'{"account":"user:alice:THB"}'), 400, "missing_field"),
    ]
    assert [(answer.status, answer.code) for answer, *_ in expected] == [tuple(said) for _, *said in expected]
    assert await stand.entries() == []


async def test_a_balance_is_what_the_read_model_says(stand: Stand, client: Client) -> None:
    """Zero for a wallet that is open and unused; more than 64 bits where it must be."""
    await stand.open_account(ALICE)
    empty = await client.send("GET", f"/v1/accounts/{ALICE}/balance")
    assert (empty.status, empty.document["balance_minor"]) == (200, 0)
    assert (empty.document["held_minor"], empty.document["available_minor"]) == (0, 0)
    await stand.pool.execute(
        "INSERT INTO pm.account_balance (account_id, posted) VALUES ($1, $2)", UUID(int=account_id(ALICE)), 2**65
    )
    full = await client.send("GET", f"/v1/accounts/{ALICE}/balance", user_id="alice")
    assert full.document["balance_minor"] == 2**65
    BalanceView.model_validate(full.document)


async def test_what_is_held_cannot_be_spent(stand: Stand, client: Client) -> None:
    """A payment under way is still part of the balance, and no longer available."""
    await stand.open_account(ALICE)
    await stand.pool.execute(
        "INSERT INTO pm.account_balance (account_id, posted, held) VALUES ($1, 1000, 300)",
        UUID(int=account_id(ALICE)),
    )
    held = BalanceView.model_validate((await client.send("GET", f"/v1/accounts/{ALICE}/balance")).document)
    assert (held.balance_minor, held.held_minor, held.available_minor) == (1000, 300, 700)


async def test_another_users_wallet_is_not_read(stand: Stand, client: Client) -> None:
    """A signed user sees their own; a service that names none sees what its key may."""
    await stand.open_account(ALICE)
    for tail in ("balance", "history"):
        answer = await client.send("GET", f"/v1/accounts/{ALICE}/{tail}", user_id="bob")
        assert (answer.status, answer.code) == (403, "foreign_user")
        assert (await client.send("GET", f"/v1/accounts/{ALICE}/{tail}")).status == 200


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_history_is_walked_page_by_page_newest_first(stand: Stand, client: Client, limit: int) -> None:
    """Every movement once, whatever the page's size, over months, and nobody else's."""
    await stand.open_account(ALICE)
    moved = await _movements(stand, 7)
    seen, cursor, pages = [], "", 0
    while True:
        target = f"/v1/accounts/{ALICE}/history?limit={limit}" + (f"&cursor={cursor}" if cursor else "")
        answer = await client.send("GET", target)
        page = HistoryView.model_validate(answer.document)
        assert len(page.movements) <= limit
        seen += [(movement.transfer_id, movement.amount_minor) for movement in page.movements]
        pages += 1
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert seen == moved
    assert pages == -(-7 // limit)
    assert answer.document["movements"][-1]["kind"] == "p2p_pay"


async def _movements(stand: Stand, count: int) -> list[tuple[str, int]]:
    """Write movements a fortnight apart and return them newest first, as they should be read."""
    written = []
    for turn in range(count):
        intent = intent_id((1_790_000_000 + turn * 14 * 86_400) * 1_000_000, 0, turn)
        transfer = UUID(int=transfer_id(intent, attempt=1, phase=Phase.MOVE, leg=0))
        for account, amount in ((account_id(ALICE), -turn - 1), (account_id("user:bob:THB"), turn + 1)):
            await stand.pool.execute(
                """INSERT INTO pm.tx_history (account_id, transfer_id, intent_id, amount_minor, code, at)
                   VALUES ($1, $2, $3, $4, $5, now())""",
                UUID(int=account),
                transfer,
                intent,
                amount,
                int(LegCode.P2P_PAY),
            )
        written.append((str(transfer), -turn - 1))
    return written[::-1]
