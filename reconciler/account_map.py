"""The account verifier: every name on the map hashes to its id, and stands in the ledger as its kind promises.

The other way round, too: every account in the ledger, but the mesh's own and allowances, is on the map. This module
must never open an account, and never mend the map.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
import tigerbeetle as tb

from reconciler.breaks import Break
from reconciler.faults import Fault
from reconciler.kinds import BreakKind
from reconciler.statements import statement
from shared.accounts import Account, parse_account, transit
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import BadInput
from shared.ledger.accounts import LIMITS_LEDGER, MESH_LEDGER, AccountCode, ledger_account
from shared.ledger.port import Ledger
from shared.money import CURRENCIES

PAGE: Final = 500
_K: Final = BreakKind
_BY_NAME: Final = "SELECT name, id, ledger FROM pm.tb_account_map WHERE name = ANY ($1) ORDER BY name"
_FIXED: Final = (
    "SELECT name, id, ledger FROM pm.tb_account_map WHERE NOT name ~ '^(user|merchant):' ORDER BY name LIMIT $1"
)
_TRANSIT: Final = "SELECT name, id FROM pm.tb_account_map WHERE starts_with(name, 'transit:') ORDER BY name"
_KNOWN: Final = "SELECT id FROM pm.tb_account_map WHERE id = ANY ($1)"
_FIXED_MAX: Final = 10_000


def parsed(name: str) -> Account | None:
    """Take an account name apart; None where it is none."""
    try:
        return parse_account(name)
    except BadInput:
        return None


def account_fault(name: str, recorded_id: UUID, number: int, booked: tb.Account | None) -> Fault | None:
    """Say what is wrong with an account on the map.

    Args:
        name: as recorded.
        recorded_id: under which it is recorded.
        number: the ledger that it is recorded in.
        booked: what the ledger has under that id.
    """
    account = parsed(name)
    if account is None:
        return Fault(_K.ACCOUNT_MISNAMED, "not an account name", "name", None, name)
    if account.id != recorded_id.int:
        detail = "recorded under an id that is not its name's"
        return Fault(_K.ACCOUNT_MISNAMED, detail, "id", str(UUID(int=account.id)), str(recorded_id))
    if account.currency.number != number:
        detail = f"recorded in ledger {number}, while its currency's is {account.currency.number}"
        return Fault(_K.ACCOUNT_MISNAMED, detail, "ledger", account.currency.number, number)
    if booked is None:
        return Fault(_K.ACCOUNT_MISSING, "recorded as open, and the ledger does not know it", "account", name, None)
    wanted = ledger_account(account)
    if (booked.ledger, booked.code, booked.flags) != (wanted.ledger, wanted.code, wanted.flags):
        detail = f"stands in the ledger with ledger {booked.ledger}, code {booked.code}, flags {booked.flags!r}"
        return Fault(_K.ACCOUNT_MALFORMED, detail, "account", _told(wanted), _told(booked))
    return None


async def account_breaks(ledger: Ledger, rows: Sequence[asyncpg.Record]) -> list[Break]:
    """Hold rows of the map (`name`, `id`, `ledger`) against the ledger."""
    if not rows:
        return []
    booked = {account.id: account for account in await ledger.lookup_accounts([row["id"].int for row in rows])}
    found = []
    for row in rows:
        fault = account_fault(row["name"], row["id"], row["ledger"], booked.get(row["id"].int))
        if fault is not None:
            sides = {"map": {fault.where: fault.expected}, "ledger": {fault.where: fault.found}}
            found.append(Break(fault.kind, row["name"], sides, evidence={"fault": fault.detail}))
    return found


async def named(ledger: Ledger, pool: Pool, names: Sequence[str]) -> list[Break]:
    """Look at accounts by their names.

    Raises:
        Transient, OutcomeUnknown: a store is out of reach.
    """
    with database():
        rows = await pool.fetch(_BY_NAME, list(names))
    return await account_breaks(ledger, rows)


async def fixed(ledger: Ledger, pool: Pool) -> tuple[list[Break], int]:
    """Look at every account that is no customer's; return what is wrong, and how many there are.

    Raises:
        Transient, OutcomeUnknown: a store is out of reach.
    """
    with database():
        rows = await pool.fetch(_FIXED, _FIXED_MAX)
    return await account_breaks(ledger, rows), len(rows)


async def unmapped(pool: Pool, accounts: Sequence[tb.Account]) -> list[Break]:
    """Return those accounts of the ledger that nobody has recorded as opened.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    ours = [one for one in accounts if one.ledger not in (MESH_LEDGER, LIMITS_LEDGER)]
    if not ours:
        return []
    with database():
        rows = await pool.fetch(_KNOWN, [UUID(int=one.id) for one in ours])
    known = {row["id"].int for row in rows}
    return [
        Break(_K.ACCOUNT_UNMAPPED, str(UUID(int=one.id)), {"map": None, "ledger": _told(one)})
        for one in ours
        if one.id not in known
    ]


async def transit_breaks(ledger: Ledger, pool: Pool) -> list[Break]:
    """Return the transit accounts that are not empty: every chain leaves them so, hence no look is ever too early.

    Raises:
        Transient, OutcomeUnknown: a store is out of reach.
    """
    with database():
        rows = await pool.fetch(_BY_NAME, [transit(code) for code in CURRENCIES])
    names = {row["id"].int: row["name"] for row in rows}
    found = []
    for one in await ledger.lookup_accounts(list(names)) if names else []:
        posted, pending = one.credits_posted - one.debits_posted, one.credits_pending - one.debits_pending
        if posted or pending:
            sides = {"expected": {"posted": 0, "pending": 0}, "ledger": {"posted": posted, "pending": pending}}
            currency = names[one.id].rpartition(":")[2]
            delta = posted or pending
            found.append(Break(_K.TRANSIT_NOT_ZERO, names[one.id], sides, delta_minor=delta, currency=currency))
    return found


def _told(account: tb.Account) -> dict[str, Any]:
    kinds = {code.value: code.name.lower() for code in AccountCode}
    return {
        "ledger": account.ledger,
        "code": account.code,
        "kind": kinds.get(account.code),
        "flags": int(account.flags),
    }


async def next_page(pool: Pool, after: str, *, limit: int = PAGE) -> list[asyncpg.Record]:
    """Return the next accounts on the map by name, each with what the read model says it holds.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        return await pool.fetch(statement("next_accounts"), after, limit)
