"""Whose a line is, files that are not what they say, and lines that make no sense beside lines that do."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.upkeep import prune_lines
from shared.contracts import Outcome
from shared.money import AMOUNT_MINOR_MAX
from shared.settlement.layout import Column, Tolerances, Value
from tests.integration.reconciler.settlement.scene import IPPS, QP, Line, Scene, ipps_file, qp_file


async def matches(scene: Scene) -> list[str | None]:
    """How the intent of each line was found."""
    rows = await scene.pool.fetch("SELECT matched_by FROM pm.settlement_line ORDER BY file_id, line")
    return [row["matched_by"] for row in rows]


async def test_what_agrees_with_what_the_psp_has_said_already_is_left_alone(scene: Scene) -> None:
    """Paid and paid, failed and failed: nobody says anything."""
    paid, failed = await scene.doubt(), await scene.doubt()
    await scene.saga.hear(scene.saga.said(paid, Outcome.PAID, psp_transaction_id="T1"))
    await scene.saga.hear(scene.saga.said(failed, Outcome.DECLINED, code="declined", final=True))
    lines = [Line(await scene.reference(paid)), Line(await scene.reference(failed), "T2", "REJECTED")]
    await scene.take(ipps_file(*lines))
    assert (await scene.verdicts(), await scene.hear(), await scene.breaks()) == (["agrees", "agrees"], 0, [])


@pytest.mark.parametrize(
    ("changes", "kind"), [({"amount_minor": 301}, "amount_differs"), ({"currency": "RUB"}, "currency_differs")]
)
async def test_a_settled_payment_of_another_amount_or_currency_is_told(
    scene: Scene, changes: dict[str, Any], kind: str
) -> None:
    """What the PSP said at once and what its file says differ; what is booked stays."""
    intent = await scene.doubt()
    await scene.saga.hear(scene.saga.said(intent, Outcome.PAID, psp_transaction_id="T1"))
    await scene.take(ipps_file(replace(Line(await scene.reference(intent)), **changes)))
    await scene.look_again()
    assert (await scene.hear(), await scene.breaks()) == (0, [(kind, "critical")])
    assert (await scene.saga.booked(scene.payer)) == (700, 0)


async def test_a_payment_is_found_by_the_psps_name_where_the_line_lacks_ours(scene: Scene) -> None:
    """By what it has named before."""
    intent = await scene.doubt()
    await scene.saga.hear(scene.saga.said(intent, Outcome.PAID, psp_transaction_id="T1"))
    await scene.take(ipps_file(Line("")))
    assert (await scene.verdicts(), await matches(scene)) == (["agrees"], ["transaction"])


async def test_an_open_payment_that_a_line_does_not_name_by_our_reference_is_for_people(scene: Scene) -> None:
    """Who it is can be seen, by what the PSP calls it or by amount and time; neither moves money."""
    called, near = await scene.doubt(100), await scene.doubt(200)
    await scene.saga.hear(
        scene.saga.said(called, Outcome.PENDING, reference=await scene.reference(called), psp_ids={"txn_no": "T1"})
    )
    now = await scene.pool.fetchval("SELECT to_char(now() AT TIME ZONE 'Asia/Bangkok', 'YYYYMMDDHH24MISS')")
    lines = [Line("", "T1", amount_minor=100), Line("", "T2", amount_minor=200, at=now), Line("", "T3")]
    await scene.take(ipps_file(*lines))
    assert (await scene.hear(), await scene.breaks()) == (0, [("psp_unknown", "critical")] * 3)
    assert await matches(scene) == ["psp_id", "amount_time", None]
    found = await scene.pool.fetch("SELECT intent_id FROM pm.reconciliation_break ORDER BY subject")
    assert [row["intent_id"] for row in found] == [called, near, None]
    assert {(await scene.saga.state(intent))[0] for intent in (called, near)} == {"IN_DOUBT"}


async def test_one_payment_of_ours_may_be_several_of_the_psps(scene: Scene) -> None:
    """1:N: lines of one reference that together are what was planned; a part too few is told."""
    intent = await scene.doubt()
    reference = await scene.reference(intent)
    await scene.saga.hear(scene.saga.said(intent, Outcome.PAID, psp_transaction_id="T0"))
    await scene.take(ipps_file(Line(reference, "T1", amount_minor=100), Line(reference, "T2", amount_minor=150)))
    await scene.look_again()
    assert await scene.breaks() == [("contradicts_terminal", "emergency")] * 2
    await scene.take(ipps_file(Line(reference, "T3", amount_minor=50)))
    await scene.look_again()
    assert (await scene.verdicts(), await scene.breaks()) == (["part"] * 3, [])
    assert len(await scene.breaks("RESOLVED")) == 2


async def test_several_payments_of_ours_may_be_one_of_the_psps(scene: Scene) -> None:
    """N:1: a line that names a batch is the sum of the lines that belong to it."""
    layout = replace(QP, columns={**QP.columns, Value.BATCH: Column("kind")})
    payee = f"user:payee-{scene.saga.world.tag}:RUB"
    await scene.saga.world.fund({payee: 0})
    intents = [await scene.saga.top_up(payee, 100), await scene.saga.top_up(payee, 200)]
    references = [await scene.reference(intent) for intent in intents]
    members = [(references[0], "P1", "ACCEPTED", 100), (references[1], "P2", "ACCEPTED", 200)]
    await scene.take(qp_file(*members, ("", "", "ACCEPTED", 300)), layout=layout)
    assert await scene.verdicts() == ["says", "says", "waits"]
    assert await scene.hear("qp") == 2
    await scene.look_again(layout)
    await scene.look_again(layout)
    assert (await scene.verdicts(), await scene.breaks()) == (["agrees"] * 3, [])


async def test_a_batch_that_does_not_add_up_is_told(scene: Scene) -> None:
    """Something was moved for a payment that is not among its lines."""
    layout = replace(QP, columns={**QP.columns, Value.BATCH: Column("kind")})
    await scene.take(qp_file(("", "", "ACCEPTED", 300)), layout=layout)
    await scene.look_again(layout)
    assert await scene.breaks() == [("amount_differs", "critical")]


async def test_amounts_that_no_number_of_the_database_holds_together_end_no_reader(scene: Scene) -> None:
    """Each is an amount; what the lines of a reference, or of a batch, add up to is more than any may be."""
    layout = replace(QP, columns={**QP.columns, Value.BATCH: Column("kind")})
    payee = f"user:payee-{scene.saga.world.tag}:RUB"
    await scene.saga.world.fund({payee: 0})
    reference = await scene.reference(await scene.saga.top_up(payee, 100))
    many = [(reference, f"P{number}", "ACCEPTED", AMOUNT_MINOR_MAX) for number in range(3)]
    file = await scene.take(qp_file(*many, ("", "", "ACCEPTED", 300)), layout=layout)
    await scene.look_again(layout)
    assert file.state == "DONE"
    assert {kind for kind, _ in await scene.breaks()} == {"amount_differs"}


async def test_a_fee_that_was_not_agreed_is_told_beside_a_payment_that_was(scene: Scene) -> None:
    """The money is right; what the PSP kept is not."""
    intent = await scene.doubt()
    await scene.take(ipps_file(Line(await scene.reference(intent), fee_minor=700)))
    assert await scene.hear() == 1
    await scene.look_again()
    assert (await scene.saga.state(intent))[0] == "SETTLED"
    assert await scene.breaks() == [("fee_differs", "warning")]
    found = await scene.pool.fetchrow("SELECT delta_minor, currency FROM pm.reconciliation_break")
    assert found is not None
    assert (int(found["delta_minor"]), found["currency"]) == (200, "THB")


async def test_an_amount_that_was_exchanged_agrees_within_its_tolerance(scene: Scene) -> None:
    """The PSP's terms say how far it may be off; what it paid is what is booked."""
    layout = replace(IPPS, tolerances=Tolerances(amount_off_bps=100))
    intent = await scene.doubt()
    await scene.take(ipps_file(Line(await scene.reference(intent), amount_minor=298)), layout=layout)
    assert await scene.hear() == 1
    await scene.look_again(layout)
    assert (await scene.saga.state(intent))[0] == "SETTLED"
    assert (await scene.verdicts(), await scene.breaks()) == (["agrees"], [])


async def test_a_break_ends_when_both_sides_have_come_to_agree(scene: Scene) -> None:
    """A line came before our own intent was written; it is looked at again."""
    await scene.take(ipps_file(Line("LATER")))
    assert await scene.breaks() == [("psp_unknown", "critical")]
    intent = await scene.doubt()
    await scene.pool.execute("UPDATE pm.psp_reference SET reference = 'LATER' WHERE intent_id = $1", intent)
    await scene.look_again()
    assert await scene.hear() == 1
    await scene.look_again()
    assert (await scene.verdicts(), await scene.breaks()) == (["agrees"], [])
    history = await scene.pool.fetch("SELECT to_state FROM pm.reconciliation_break_event ORDER BY seq")
    assert [row["to_state"] for row in history] == ["OPEN", "RESOLVED"]


async def test_lines_that_make_no_sense_are_set_aside_and_the_rest_goes_on(scene: Scene) -> None:
    """Number and reason, and nothing of what stood there."""
    intent = await scene.doubt()
    secret = Line("0066801234567", status="SOMCHAI").text()
    file = await scene.take(ipps_file(secret, Line(await scene.reference(intent)), "rubbish", count=3))
    assert (file.state, file.counted, file.taken, file.refused) == ("DONE", 3, 1, 2)
    rows = await scene.pool.fetch("SELECT line, reason FROM pm.settlement_refusal ORDER BY line")
    assert [tuple(row) for row in rows] == [(2, "unknown_status"), (4, "unknown_mark")]
    assert await scene.hear() == 1
    assert (await scene.breaks(), await scene.sides()) == ([("file_differs", "critical")], [{"refused_lines": 2}])
    for table in ("settlement_line", "settlement_refusal", "reconciliation_break", "settlement_file"):
        kept = await scene.pool.fetchval(f"SELECT json_agg(t)::text FROM pm.{table} AS t")
        assert "SOMCHAI" not in kept
        assert "0066801234567" not in kept


@pytest.mark.parametrize(
    ("content", "sides"),
    [
        (ipps_file(Line("NOBODY"), count=2), {"lines": {"trailer": 2, "read": 1}}),
        (ipps_file(Line("NOBODY"), total=301), {"total_minor": {"trailer": 301, "read": 300}}),
        (ipps_file(Line("NOBODY")).rpartition(b"T0")[0], {"trailers": 0}),
        (ipps_file(Line("NOBODY")) + b"T000000001000000000000000300\n", {"trailers": 2}),
    ],
    ids=["count", "total", "none", "two"],
)
async def test_a_file_that_is_not_what_its_trailer_says_is_told(
    scene: Scene, content: bytes, sides: dict[str, object]
) -> None:
    """Its lines are taken all the same: each says what it says."""
    file = await scene.take(content)
    assert (file.state, file.taken) == ("DONE", 1)
    assert sides in await scene.sides()


async def test_a_file_of_another_layout_is_refused(scene: Scene) -> None:
    """Its first line names other columns."""
    file = await scene.take(b"a,b,c\n1,2,3\n", layout=QP)
    assert (file.state, file.counted) == ("REFUSED", 0)
    assert await scene.breaks() == [("file_differs", "critical")]
    # Taken once more it stays refused.
    assert (await scene.take(b"a,b,c\n1,2,3\n", layout=QP, name=file.name)).state == "REFUSED"


async def test_a_csv_file_is_carried_on_with_in_the_middle(scene: Scene) -> None:
    """The names of its columns stand at its beginning."""
    content = qp_file(*((f"NOBODY{number}", f"P{number}", "DECLINED", 100) for number in range(50)))
    await scene.take(content, layout=QP, name="qp.csv")
    end = content.index(b"\n", 1_000) + 1
    await scene.pool.execute(
        "UPDATE pm.settlement_file SET state = 'READING', finished_at = NULL, read_bytes = $1, read_lines = $2,"
        " counted = $3, total_minor = $4, trailers = '[]'",
        end, content[:end].count(b"\n"), content[:end].count(b"\n") - 2, (content[:end].count(b"\n") - 2) * 100,
    )  # fmt: skip
    await scene.pool.execute("DELETE FROM pm.settlement_line WHERE line > $1", content[:end].count(b"\n"))
    file = await scene.take(content, layout=QP, name="qp.csv")
    assert (file.state, file.counted, len(await scene.verdicts()), await scene.breaks()) == ("DONE", 50, 50, [])


async def test_lines_beyond_the_window_are_pruned_but_none_that_is_looked_at(scene: Scene) -> None:
    """A break keeps its line for as long as it stands."""
    await scene.take(ipps_file(Line("NOBODY", "T1", "REJECTED"), Line("NOBODY", "T2")))
    assert await scene.verdicts() == ["agrees", "breaks"]
    assert await prune_lines(scene.pool, window_days=60) == 0
    await scene.pool.execute("UPDATE pm.settlement_file SET finished_at = now() - interval '61 days'")
    assert await prune_lines(scene.pool, window_days=60) == 1
    assert await scene.verdicts() == ["breaks"]
