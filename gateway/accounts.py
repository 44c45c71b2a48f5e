"""Accounts over HTTP: open, balance, history, limits.

Opening an account is a stream entry like any other: the ledger first, then the map, and only what stands in the map
is open. Reads come from the read model, which follows the ledger by moments. This module must never report an
account open that the map does not have.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from aiohttp import web

from gateway.accept import Door, partition_for
from gateway.auth import Authenticator, Caller
from gateway.calls import Call, traceparent
from gateway.entries import owner_of
from gateway.intents import CLASH_TRIES_MAX, NewIntentId
from gateway.prefer import wait_seconds
from gateway.problems import Problem
from gateway.reads import HISTORY_PAGE_MAX, NEWEST, MovementRow, Reads
from gateway.requests import parse_open_account
from gateway.rule_views import limits_document
from gateway.views import json_response, write_time
from gateway.vitals import Vitals
from gateway.waiting import Hints, decided, tolerant
from shared.accounts import Account, parse_account
from shared.contracts import Envelope, Kind, OpenAccountMessage
from shared.ids import IntentId
from shared.ledger.codes import LegCode
from shared.rules.limits import allowances
from shared.rules.load import RuleRegister
from shared.sealing import KeyRing, fingerprint
from shared.streams import keys
from shared.streams.accept import AcceptEntry, AcceptStatus

OPEN_WAIT_S: Final = 2
HISTORY_PAGE_DEFAULT: Final = 50
_CURSOR_CHARS: Final = 32
_KINDS: Final = {int(code): code.name.lower() for code in LegCode}


@dataclass(frozen=True, slots=True)
class Accounts:
    """The handlers of ``/v1/accounts``."""

    authenticator: Authenticator
    door: Door
    hints: Hints
    reads: Reads
    ring: KeyRing
    rules: RuleRegister
    vitals: Vitals
    new_intent_id: NewIntentId
    wait_max_s: int

    async def open(self, call: Call) -> web.Response:
        """Open a wallet; opening it again answers with the one there is."""
        caller = await self.authenticator.caller(call)
        account = parse_open_account(caller.body)
        if not caller.key.permissions.open_accounts:
            raise Problem("operation_not_permitted")
        caller.require_account(account)
        opened_at = await self.reads.opened_at(account.name)
        if opened_at is not None:
            return _account_answer(200, account, opened_at)
        if self.hints.open:
            call.wait_s = wait_seconds(call.request, default_s=OPEN_WAIT_S, max_s=self.wait_max_s)
        opened_at = await self._opened(caller, account, call)
        return _account_answer(202 if opened_at is None else 201, account, opened_at)

    async def balance(self, call: Call) -> web.Response:
        """Say what a wallet holds."""
        account = await self._readable(call)
        row = await self.reads.balance(account.name)
        if row is None:
            raise Problem("account_not_found")
        document = {
            "name": account.name,
            "currency": account.currency.code,
            "balance_minor": row.posted_minor,
            "held_minor": row.held_minor,
            "available_minor": row.posted_minor - row.held_minor,
            "updated_at": write_time(row.updated_at),
        }
        return json_response(200, document)

    async def history(self, call: Call) -> web.Response:
        """List a wallet's movements, newest first, a page at a time."""
        account = await self._readable(call)
        limit = _limit(call.query.get("limit"))
        before = _cursor(call.query.get("cursor"))
        if await self.reads.opened_at(account.name) is None:
            raise Problem("account_not_found")
        rows = await self.reads.history(account.id, before=before, limit=limit + 1)
        page = rows[:limit]
        document = {
            "name": account.name,
            "currency": account.currency.code,
            "movements": [_movement(row) for row in page],
            "next_cursor": page[-1].transfer_id.hex if len(rows) > limit else None,
        }
        return json_response(200, document)

    async def limits(self, call: Call) -> web.Response:
        """Say what is left of the allowances of a wallet's owner, in the wallet's currency."""
        caller, account = await self._reader(call)
        if await self.reads.opened_at(account.name) is None:
            raise Problem("account_not_found")
        book, code, now_ms = self.rules.book, account.currency.code, int(caller.now_unix_s * 1000)
        holder = account.name.rpartition(":")[0]
        rules = [(rule, allowances(rule, holder, now_ms, book.calendar)) for rule in book.limits_of(code)]
        used = await self.reads.usages([use.account for _, uses in rules for use in uses])
        return json_response(200, limits_document(rules, name=account.name, currency=code, used=used))

    async def _readable(self, call: Call) -> Account:
        _, account = await self._reader(call)
        return account

    async def _reader(self, call: Call) -> tuple[Caller, Account]:
        caller = await self.authenticator.caller(call)
        account = parse_account(call.params["name"])
        caller.require_account(account)
        if not account.is_customer:
            raise Problem("account_not_found", "only wallets have a balance here")
        return caller, account

    async def _opened(self, caller: Caller, account: Account, call: Call) -> datetime | None:
        """Offer the account to its stream and wait for the map to have it."""
        # A client's own keys have no space in them, so that none can be taken for this one.
        key = f"open_account {account.name}"
        partition = partition_for(caller.key.id, key, self.vitals.partitions)
        for _ in range(CLASH_TRIES_MAX):
            entry_id = self.new_intent_id(partition)
            with self.hints.expect(account.name) as event:
                entry = self._entry(entry_id, caller, account, key=key, partition=partition, call=call)
                result = await self.door.offer(partition, entry)
                if result.status is AcceptStatus.CLASH:
                    continue
                if not call.wait_s:
                    return await tolerant(lambda: self.reads.opened_at(account.name))
                return await decided(
                    self.hints,
                    event,
                    wait_s=call.wait_s,
                    look=lambda: self.reads.opened_at(account.name),
                    final=lambda _: True,
                )
        raise Problem("busy", "no unused id was found")

    def _entry(
        self, entry_id: IntentId, caller: Caller, account: Account, *, key: str, partition: int, call: Call
    ) -> AcceptEntry:
        message = OpenAccountMessage(service_key=caller.key.id, name=account.name, waiter=self.hints.instance)
        return AcceptEntry(
            envelope=Envelope(
                kind=Kind.OPEN_ACCOUNT,
                id=str(entry_id),
                body=message.model_dump_json(exclude_none=True).encode(),
                traceparent=traceparent(call.request),
            ),
            idem_key=keys.idem(partition, caller.key.id, key),
            fingerprints=fingerprint(self.ring, (b"open_account", account.name.encode())),
            owner=owner_of(caller.key.id, caller.user_id),
        )


def _account_answer(status: int, account: Account, opened_at: datetime | None) -> web.Response:
    document: dict[str, Any] = {
        "name": account.name,
        "currency": account.currency.code,
        "opened_at": None if opened_at is None else write_time(opened_at),
    }
    return json_response(status, document, {"Location": f"/v1/accounts/{account.name}/balance"})


def _movement(row: MovementRow) -> dict[str, Any]:
    return {
        "transfer_id": str(row.transfer_id),
        "intent_id": str(row.intent_id),
        "amount_minor": row.amount_minor,
        "kind": _KINDS.get(row.code, "other"),
        "at": write_time(row.at),
    }


def _limit(text: str | None) -> int:
    if text is None:
        return HISTORY_PAGE_DEFAULT
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= HISTORY_PAGE_MAX):  # noqa: PLR2004
        raise Problem("bad_parameter", f"limit is a number from 1 to {HISTORY_PAGE_MAX}")
    return int(text)


def _cursor(text: str | None) -> UUID:
    if text is None:
        return NEWEST
    if len(text) != _CURSOR_CHARS or not set(text) <= set("0123456789abcdef"):
        raise Problem("bad_parameter", "a cursor is a next_cursor of an earlier page, unchanged")
    return UUID(hex=text)
