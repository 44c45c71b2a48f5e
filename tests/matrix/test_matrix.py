"""Every scenario of the PSPs, undisturbed and under kills and pauses at every step, for a PSP of each fence.

A kill ends the adapter with all its jobs at that step; another one finds them. A pause stops it there until others
have decided about every intent, and then lets it go on with what it was at. After either, the sandboxes' books say
what was really paid: never what was voided, never twice, never nothing for what was settled.
"""

import pytest

from ops.embedded.tigerbeetle import tigerbeetle_binary
from shared.psp import FenceKind
from tests.matrix.cells import Cell, Matrix, cells
from tests.matrix.scenarios import UNSENT, Payout
from tests.matrix.stack import Strike

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]


def stopped_at(step: str) -> pytest.MarkDecorator:
    """A run for each fence in which the adapter is paused at a step."""
    return pytest.mark.parametrize("cell", cells(Strike(step, "stop")), ids=str)


def killed_at(step: str) -> pytest.MarkDecorator:
    """A run for each fence in which the adapter is killed at a step."""
    return pytest.mark.parametrize("cell", cells(Strike(step, "kill")), ids=str)


async def books_agree(matrix: Matrix, cell: Cell) -> None:
    """Fail unless all books say the same of every intent."""
    verdict = await matrix.verdict(cell)
    assert not verdict.all_faults


@pytest.mark.parametrize("cell", cells(), ids=str)
async def test_every_scenario_ends_where_it_should(matrix: Matrix, cell: Cell) -> None:
    """Nobody is disturbed, so the ends are known: all of them where a slow machine changes nothing about them."""
    verdict = await matrix.verdict(cell)
    assert not verdict.all_faults
    # Where calls time out for want of cores the breaker opens, and what comes meanwhile is refused with nothing done.
    begun = [line for line in verdict.lines if line.error != "psp_unavailable"]
    assert len(begun) > len(verdict.lines) / 2
    ends = {line.posted.name: (line.state, line.posted.played) for line in begun}
    strict = {
        name: (state, played.undisturbed(cell.fence) if isinstance(played, Payout) else played.ends)
        for name, (state, played) in ends.items()
        if cell.fence is FenceKind.RESUBMIT or played.ends == UNSENT
    }
    assert {name: end for name, end in strict.items() if end[0] not in end[1]} == {}


@stopped_at("permit_taken")
async def test_a_consumer_that_wakes_up_with_its_permit_never_pays_what_others_decided(
    matrix: Matrix, cell: Cell
) -> None:
    """It looks at its permit again, and finds that the entry is somebody else's."""
    await books_agree(matrix, cell)


@stopped_at("before_send")
async def test_a_request_that_leaves_after_others_decided_is_barred_by_what_they_decided_on(
    matrix: Matrix, cell: Cell
) -> None:
    """Nothing stands between it and the PSP any more but the fence; without one nobody decides on an absence."""
    await books_agree(matrix, cell)


@pytest.mark.parametrize("cell", cells(Strike("before_send", "nap")), ids=str)
async def test_a_request_that_leaves_while_others_decide_is_never_paid_beside_their_decision(
    matrix: Matrix, cell: Cell
) -> None:
    """The sleeper and the others race; whoever wins, there is one payment or none, and one decision."""
    await books_agree(matrix, cell)


@stopped_at("request_sent")
async def test_an_answer_that_is_read_after_others_decided_changes_nothing(matrix: Matrix, cell: Cell) -> None:
    """The others asked, and were told the same."""
    await books_agree(matrix, cell)


@stopped_at("answer_received")
async def test_an_answer_that_is_told_after_others_decided_is_a_mere_observation(matrix: Matrix, cell: Cell) -> None:
    """A fact is not lost with the entry, and not counted twice."""
    await books_agree(matrix, cell)


@stopped_at("before_append")
async def test_a_result_of_a_consumer_that_lost_its_entry_settles_nothing_twice(matrix: Matrix, cell: Cell) -> None:
    """Only the first to finish an entry appends its result."""
    await books_agree(matrix, cell)


@killed_at("permit_taken")
async def test_a_permit_that_was_taken_and_never_used_pays_nothing_and_voids_nothing_unproven(
    matrix: Matrix, cell: Cell
) -> None:
    """Whoever comes next asks, and leaves it in doubt where no fence makes the absence final."""
    await books_agree(matrix, cell)


@killed_at("request_sent")
async def test_a_request_whose_sender_died_is_asked_about_and_never_repeated_unfenced(
    matrix: Matrix, cell: Cell
) -> None:
    """What it did only the PSP can tell."""
    await books_agree(matrix, cell)


@killed_at("answer_received")
async def test_an_answer_that_died_with_its_reader_is_asked_for_again(matrix: Matrix, cell: Cell) -> None:
    """It was paid or declined, and nobody here knows."""
    await books_agree(matrix, cell)


@killed_at("before_append")
async def test_a_result_that_was_never_appended_is_found_out_again(matrix: Matrix, cell: Cell) -> None:
    """Everything was known, and nothing written down."""
    await books_agree(matrix, cell)


@pytest.mark.tigerbeetle
@pytest.mark.skipif(tigerbeetle_binary() is None, reason="no TigerBeetle server on PATH or in TIGERBEETLE_BIN")
@pytest.mark.parametrize("cell", [Cell(FenceKind.RESUBMIT, Strike("request_sent", "kill"), "tigerbeetle")], ids=str)
async def test_on_tigerbeetle_the_books_agree_as_well(matrix: Matrix, cell: Cell) -> None:
    """Holds, posts, voids, credits and children, on the other ledger."""
    await books_agree(matrix, cell)
