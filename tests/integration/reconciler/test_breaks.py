"""Breaks: noted once, however often they are seen; closed on record; opened again by what is seen again."""

import asyncio
import json
from dataclasses import replace

import pytest

from reconciler.breaks import Break, BreakState, Closing, close_breaks, open_breaks
from reconciler.kinds import KINDS, BreakKind, Severity
from shared.db.pool import Pool
from shared.errors import InvariantViolation
from tests.integration.orchestrator.world import new_id

SEEN = Break(
    BreakKind.AMOUNT_DIFFERS,
    "ipps:R1",
    {"psp": 100, "ledger": 90},
    psp="ipps",
    intent_id=new_id(),
    delta_minor=10,
    currency="THB",
    evidence={"file": "a.txt", "line": 7},
)


def closed(state: BreakState = BreakState.RESOLVED) -> Closing:
    """How the break ends."""
    return Closing(SEEN.kind, SEEN.subject, "looked at", state, {"ticket": 7})


async def history(pool: Pool) -> list[tuple[str | None, str, str, str | None]]:
    """What happened to breaks, in order."""
    rows = await pool.fetch("SELECT * FROM pm.reconciliation_break_event ORDER BY break_id, seq")
    return [(row["from_state"], row["to_state"], row["actor"], row["reason"]) for row in rows]


async def states(pool: Pool) -> list[tuple[str, int]]:
    """The breaks in the order of their numbers: state, and how often it was seen."""
    rows = await pool.fetch("SELECT state, seen FROM pm.reconciliation_break ORDER BY id")
    return [(row["state"], row["seen"]) for row in rows]


async def test_a_break_keeps_everything_that_was_said_of_it(pool: Pool) -> None:
    """Both sides, the difference, whose it is, where it was seen, and how grave its kind is."""
    noted = await open_breaks(pool, [SEEN])
    row = await pool.fetchrow("SELECT * FROM pm.reconciliation_break")
    assert row is not None
    assert noted.opened == (row["id"],)
    assert (row["kind"], row["severity"], row["state"], row["psp"]) == ("amount_differs", "critical", "OPEN", "ipps")
    assert (row["intent_id"], row["delta_minor"], row["currency"]) == (SEEN.intent_id, 10, "THB")
    assert json.loads(row["sides"]) == {"psp": 100, "ledger": 90}
    assert json.loads(row["evidence"]) == {"file": "a.txt", "line": 7}
    assert await history(pool) == [(None, "OPEN", "reconciler", None)]


async def test_a_break_is_opened_once_however_often_it_is_seen(pool: Pool) -> None:
    """Twice in one call, again later, and with figures that have moved on: one break, the last figures."""
    await open_breaks(pool, [SEEN, SEEN])
    later = await open_breaks(pool, [replace(SEEN, sides={"psp": 100, "ledger": 80}, delta_minor=20)])
    assert (later.opened, len(later.known)) == ((), 1)
    assert await states(pool) == [("OPEN", 2)]
    assert await pool.fetchval("SELECT delta_minor FROM pm.reconciliation_break") == 20
    assert len(await history(pool)) == 1


async def test_two_reconcilers_at_once_open_one_break(pool: Pool) -> None:
    """Each of many breaks is opened by exactly one of them, and counted by all."""
    many = [replace(SEEN, subject=f"ipps:R{number}") for number in range(50)]
    noted = await asyncio.gather(*(open_breaks(pool, list(reversed(many)) if turn % 2 else many) for turn in range(6)))
    assert sorted(one for each in noted for one in each.opened) == sorted(
        row["id"] for row in await pool.fetch("SELECT id FROM pm.reconciliation_break")
    )
    assert await states(pool) == [("OPEN", 6)] * 50


async def test_closing_is_on_record_and_happens_once(pool: Pool) -> None:
    """Who, why and upon what; what is closed already, or unknown, stays as it is."""
    (number,) = (await open_breaks(pool, [SEEN])).opened
    assert await close_breaks(pool, [closed()], actor="ann") == [number]
    assert await close_breaks(pool, [closed(), replace(closed(), subject="another")]) == []
    assert await history(pool) == [(None, "OPEN", "reconciler", None), ("OPEN", "RESOLVED", "ann", "looked at")]
    evidence = await pool.fetchval("SELECT evidence FROM pm.reconciliation_break_event WHERE seq = 2")
    assert json.loads(evidence) == {"ticket": 7}


async def test_what_was_resolved_opens_again_when_it_is_seen_again(pool: Pool) -> None:
    """It was not gone after all; the whole story stands on one break."""
    (number,) = (await open_breaks(pool, [SEEN])).opened
    await close_breaks(pool, [closed()])
    assert (await open_breaks(pool, [SEEN])).opened == (number,)
    assert await states(pool) == [("OPEN", 2)]
    assert [step[:2] for step in await history(pool)] == [(None, "OPEN"), ("OPEN", "RESOLVED"), ("RESOLVED", "OPEN")]


@pytest.mark.parametrize("state", [BreakState.EXPLAINED, BreakState.WRITTEN_OFF])
async def test_what_people_have_accepted_stays_closed_while_it_is_the_same(pool: Pool, state: BreakState) -> None:
    """Other figures are another occurrence, with a number of its own."""
    (number,) = (await open_breaks(pool, [SEEN])).opened
    await close_breaks(pool, [closed(state)])
    assert (await open_breaks(pool, [SEEN])).known == (number,)
    (another,) = (await open_breaks(pool, [replace(SEEN, sides={"psp": 1, "ledger": 2}, delta_minor=-1)])).opened
    assert another != number
    assert await states(pool) == [(state, 2), ("OPEN", 1)]


async def test_breaks_share_the_transaction_of_whoever_notes_them(pool: Pool) -> None:
    """What is rolled back was never noted."""

    async def noted_and_rolled_back() -> None:
        async with pool.acquire() as connection, connection.transaction():
            await open_breaks(connection, [SEEN])
            raise LookupError

    with pytest.raises(LookupError):
        await noted_and_rolled_back()
    assert await states(pool) == []


async def test_nothing_is_closed_without_a_reason(pool: Pool) -> None:
    """Nor into the state of being open."""
    for bad in (replace(closed(), reason=" "), closed(BreakState.OPEN)):
        with pytest.raises(InvariantViolation):
            await close_breaks(pool, [bad])


def test_every_kind_has_a_severity_and_a_sentence() -> None:
    """Whoever is woken up can read what it means; a contradiction of a terminal state is of the gravest."""
    assert set(KINDS) == set(BreakKind)
    assert all(meaning.sentence.endswith(".") for meaning in KINDS.values())
    assert KINDS[BreakKind.CONTRADICTS_TERMINAL].severity is Severity.EMERGENCY
