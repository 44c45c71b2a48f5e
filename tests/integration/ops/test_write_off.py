"""Writing off: what two people agreed upon is what is written off, and nothing that has come in its place."""

import pytest

from ops.dlq.requests import Person
from ops.recon.breaks import close_by_one, find_break
from ops.recon.write_off import decide, request_write_off
from ops.refusals import Refused
from reconciler.breaks import Break, BreakState, open_breaks
from reconciler.kinds import BreakKind
from shared.db.pool import Pool

ANN, BO = Person("Ann Lee", "ann@one"), Person("Bo Chan", "bo@two")


async def differs_by(pool: Pool, delta_minor: int) -> int:
    """See a line that differs by so much; return the break's number."""
    seen = Break(
        BreakKind.AMOUNT_DIFFERS,
        "ipps:T1:paid",
        {"psp": 300 + delta_minor, "database": 300},
        delta_minor=delta_minor,
        currency="THB",
    )
    noted = await open_breaks(pool, [seen])
    return (noted.opened + noted.known)[0]


async def test_an_approval_is_for_the_figures_that_were_asked_about(pool: Pool) -> None:
    """One satang was asked to be written off; by the time of the approval it is a million."""
    number = await differs_by(pool, 1)
    request = await request_write_off(pool, number, ANN, reason="too small", evidence="memo")
    assert await differs_by(pool, 1_000_000) == number
    with pytest.raises(Refused, match="figures"):
        await decide(pool, request, BO, reason="read the memo", approves=True)
    assert (await find_break(pool, number)).state == BreakState.OPEN
    # It is declined, and asked for anew with what stands there now.
    await decide(pool, request, BO, reason="other figures", approves=False)
    again = await request_write_off(pool, number, ANN, reason="all of it", evidence="another memo")
    assert (await decide(pool, again, BO, reason="read it", approves=True)).state == BreakState.WRITTEN_OFF


async def test_an_approval_closes_no_other_break_than_the_one_asked_about(pool: Pool) -> None:
    """The first was explained meanwhile; what came with other figures is another one."""
    number = await differs_by(pool, 1)
    request = await request_write_off(pool, number, ANN, reason="too small", evidence="memo")
    await close_by_one(pool, number, BreakState.EXPLAINED, actor="cy@three", reason="known", evidence="ticket 1")
    other = await differs_by(pool, 1_000_000)
    assert other != number
    with pytest.raises(Refused, match="meanwhile"):
        await decide(pool, request, BO, reason="read the memo", approves=True)
    assert (await find_break(pool, other)).state == BreakState.OPEN
