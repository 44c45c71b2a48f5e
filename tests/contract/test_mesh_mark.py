"""The mesh's mark in the ledger, on both ledgers: named once, ticked once per tick.

TigerBeetle forgets nothing between tests, so they start from whatever mark stands there.
"""

import asyncio
from uuid import uuid4

import pytest

from shared.errors import InvariantViolation
from shared.ledger.mesh_mark import IDENTITY_ID, TICKS_ID, TickingLedger
from shared.ledger.port import Ledger
from shared.ledger.postgres import PostgresLedger
from shared.mesh import LAG_TICKS_MAX, Mark


async def test_an_empty_ledger_carries_no_mark(postgres_ledger: PostgresLedger) -> None:
    """Neither a name nor ticks."""
    assert await TickingLedger(postgres_ledger).read() == Mark("ledger", None, None, 0)


async def test_the_first_mesh_to_claim_a_ledger_keeps_it(ledger: Ledger) -> None:
    """Whoever comes later is told whose it is; nothing is overwritten."""
    mark = TickingLedger(ledger)
    standing = await mark.claim(uuid4())
    assert await mark.claim(standing) == standing
    assert await mark.claim(uuid4()) == standing
    assert (await mark.read()).mesh == standing


async def test_a_tick_is_booked_once_however_often_and_by_however_many(ledger: Ledger) -> None:
    """Several reconcilers, or one that repeats itself after a crash."""
    mark = TickingLedger(ledger)
    mesh = await mark.claim(uuid4())
    before = (await mark.read()).tick
    await asyncio.gather(*(mark.advance(mesh, since=before, until=before + 2) for _ in range(4)))
    assert (await mark.read()).tick == before + 2
    await mark.advance(mesh, since=before, until=before + 1)
    await mark.advance(mesh, since=before + 2, until=before + 2)
    assert (await mark.read()).tick == before + 2, "a ticker that slept changes nothing"


async def test_a_ledger_beyond_the_tolerance_is_not_brought_up(ledger: Ledger) -> None:
    """That would hide a restored ledger."""
    mark = TickingLedger(ledger)
    mesh = await mark.claim(uuid4())
    before = (await mark.read()).tick
    with pytest.raises(InvariantViolation, match="lags"):
        await mark.advance(mesh, since=before, until=before + LAG_TICKS_MAX + 1)
    assert (await mark.read()).tick == before


async def test_ticks_do_not_unbalance_the_books(postgres_ledger: PostgresLedger) -> None:
    """What one account of the mesh gives, the other receives."""
    mark = TickingLedger(postgres_ledger)
    mesh = await mark.claim(uuid4())
    await mark.advance(mesh, since=0, until=3)
    assert await mark.read() == Mark("ledger", mesh, None, 3)
    giver, receiver = await postgres_ledger.lookup_accounts([IDENTITY_ID, TICKS_ID])
    assert (giver.debits_posted, giver.credits_posted) == (receiver.credits_posted, receiver.debits_posted) == (3, 0)
