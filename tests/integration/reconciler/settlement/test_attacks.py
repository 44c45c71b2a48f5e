"""Lines of settlement files against the ways by which money would move twice or vanish."""

from typing import Any

import pytest

from reconciler.breaks import BreakState, Closing, close_breaks
from reconciler.kinds import BreakKind
from reconciler.settlement.reading import REFUSED_MAX
from shared.contracts import Action, Outcome
from tests.integration.reconciler.settlement.scene import QP, Line, Scene, ipps_file, qp_file

_P1: dict[str, Any] = {"psp_transaction_id": "P1", "amount_minor": 500, "currency": "RUB"}
_BACK: dict[str, Any] = {"psp_transaction_id": "T1", "amount_minor": 300, "currency": "THB"}
EMERGENCY = ("contradicts_terminal", "emergency")


async def test_a_paid_line_settles_a_payment_in_doubt_once(scene: Scene) -> None:
    """What was held is posted, the line is agreed with, and nobody has to be told."""
    intent = await scene.doubt()
    file = await scene.take(ipps_file(Line(await scene.reference(intent))))
    assert (file.state, file.counted, file.taken, await scene.verdicts()) == ("DONE", 1, 1, ["says"])
    assert await scene.hear() == 1
    assert await scene.saga.state(intent) == ("SETTLED", "moved", None)
    assert (await scene.saga.booked(scene.payer)) == (700, 0)
    assert await scene.hear() == 0
    await scene.look_again()
    assert (await scene.verdicts(), await scene.breaks()) == (["agrees"], [])


async def test_a_failed_line_gives_back_what_was_held(scene: Scene) -> None:
    """An explicit word of the PSP, where its silence would prove nothing."""
    intent = await scene.doubt()
    await scene.take(ipps_file(Line(await scene.reference(intent), status="REJECTED")))
    await scene.look_again()
    assert await scene.hear() == 1
    assert await scene.saga.state(intent) == ("FAILED", "none", "settlement_failed")
    assert (await scene.saga.booked(scene.payer)) == (1000, 0)
    await scene.look_again()
    assert (await scene.verdicts(), await scene.breaks()) == (["agrees"], [])


async def test_the_absence_of_a_line_closes_nothing(scene: Scene) -> None:
    """A whole file that does not name a payment leaves it in doubt, its funds held (C2)."""
    intent = await scene.doubt()
    other = await scene.doubt(200)
    await scene.take(ipps_file(Line(await scene.reference(other), amount_minor=200)))
    await scene.hear()
    await scene.look_again()
    assert await scene.hear() == 0
    assert (await scene.saga.state(intent))[:2] == ("IN_DOUBT", "held")
    assert (await scene.saga.state(other))[0] == "SETTLED"


@pytest.mark.parametrize("line_first", [True, False], ids=["line first", "inquiry first"])
async def test_a_line_and_an_inquiry_that_race_settle_it_once(scene: Scene, *, line_first: bool) -> None:
    """Both say that it was paid: one payment, whoever comes first."""
    intent = await scene.doubt()
    await scene.take(ipps_file(Line(await scene.reference(intent))))
    await scene.say()
    words = await scene.words()
    inquiry = scene.saga.entry(scene.saga.said(intent, Outcome.PAID, psp_transaction_id="T1", action=Action.INQUIRE))
    await scene.saga.hear(*([*words, inquiry] if line_first else [inquiry, *words]))
    await scene.look_again()
    assert (await scene.saga.state(intent))[0] == "SETTLED"
    assert (await scene.saga.booked(scene.payer)) == (700, 0)
    assert (await scene.verdicts(), await scene.breaks(), await scene.saga.alerts()) == (["agrees"], [], set())


async def test_a_failed_line_that_loses_to_an_inquiry_changes_nothing_and_is_shouted(scene: Scene) -> None:
    """The word was on its way when the PSP said that it paid: the payment stands (H7)."""
    intent = await scene.doubt()
    await scene.take(ipps_file(Line(await scene.reference(intent), status="REJECTED")))
    await scene.look_again()
    await scene.say()
    words = await scene.words()
    await scene.saga.hear(scene.saga.said(intent, Outcome.PAID, psp_transaction_id="T1"))
    await scene.saga.hear(*words)
    await scene.look_again()
    assert (await scene.saga.state(intent))[0] == "SETTLED"
    assert (await scene.saga.booked(scene.payer)) == (700, 0)
    assert await scene.breaks() == [EMERGENCY]


async def test_a_line_that_stands_twice_settles_once_and_is_told(scene: Scene) -> None:
    """In one file it is a fault of the PSP's; in another file it is no news."""
    intent = await scene.doubt()
    line = Line(await scene.reference(intent))
    file = await scene.take(ipps_file(line, line))
    assert (file.counted, file.taken) == (2, 1)
    assert await scene.hear() == 1
    again = await scene.take(ipps_file(line))
    assert (again.counted, again.taken) == (1, 0)
    assert await scene.hear() == 0
    assert (await scene.saga.booked(scene.payer)) == (700, 0)
    assert await scene.breaks() == [("duplicate_line", "warning")]


async def test_a_line_for_a_payment_that_settled_another_intent_settles_nothing(scene: Scene) -> None:
    """One payment settles one intent (C4); that it is named once more, for another, is shouted."""
    paid, doubtful = await scene.doubt(), await scene.doubt()
    await scene.take(ipps_file(Line(await scene.reference(paid))))
    await scene.hear()
    await scene.take(ipps_file(Line(await scene.reference(doubtful), transaction="T1")))
    await scene.look_again()
    assert await scene.hear() == 0
    assert (await scene.saga.state(doubtful))[:2] == ("IN_DOUBT", "held")
    assert await scene.breaks() == [EMERGENCY]


async def test_a_line_that_comes_again_with_another_amount_is_told(scene: Scene) -> None:
    """What it said first stands."""
    intent = await scene.doubt()
    reference = await scene.reference(intent)
    await scene.take(ipps_file(Line(reference)))
    await scene.hear()
    await scene.take(ipps_file(Line(reference, amount_minor=299)))
    await scene.look_again()
    assert (await scene.saga.booked(scene.payer)) == (700, 0)
    assert await scene.breaks() == [("amount_differs", "critical")]


async def test_a_payment_that_the_psp_named_for_another_intent_settles_nothing(scene: Scene) -> None:
    """The owner was told by an answer, the other intent by a line (C4)."""
    paid, doubtful = await scene.doubt(), await scene.doubt()
    await scene.saga.hear(scene.saga.said(paid, Outcome.PAID, psp_transaction_id="T1"))
    await scene.take(ipps_file(Line(await scene.reference(doubtful), transaction="T1")))
    assert await scene.hear() == 0
    assert (await scene.saga.state(doubtful))[:2] == ("IN_DOUBT", "held")
    assert await scene.breaks() == [EMERGENCY]


async def test_a_failed_line_for_a_settled_intent_changes_nothing_and_is_shouted(scene: Scene) -> None:
    """Terminal means terminal (H7)."""
    intent = await scene.doubt()
    await scene.saga.hear(scene.saga.said(intent, Outcome.PAID, psp_transaction_id="T1"))
    before = await scene.saga.booked(scene.payer)
    await scene.take(ipps_file(Line(await scene.reference(intent), status="REJECTED")))
    await scene.look_again()
    assert await scene.hear() == 0
    assert (await scene.saga.state(intent))[0] == "SETTLED"
    assert await scene.saga.booked(scene.payer) == before
    assert await scene.breaks() == [EMERGENCY]


async def test_a_paid_line_for_a_failed_intent_changes_nothing_and_is_shouted(scene: Scene) -> None:
    """The customer has the money back, the PSP paid all the same: people decide (H7)."""
    intent = await scene.doubt()
    await scene.saga.hear(scene.saga.said(intent, Outcome.DECLINED, code="declined", final=True))
    assert (await scene.saga.state(intent))[0] == "FAILED"
    await scene.take(ipps_file(Line(await scene.reference(intent))))
    await scene.look_again()
    assert await scene.hear() == 0
    assert (await scene.saga.state(intent))[0] == "FAILED"
    assert (await scene.saga.booked(scene.payer)) == (1000, 0)
    assert await scene.breaks() == [EMERGENCY]
    assert (await scene.sides())[0]["database"] == "FAILED"


async def test_a_second_payment_of_a_settled_withdrawal_is_shouted(scene: Scene) -> None:
    """A reference that the PSP paid twice: the second payment moves nothing here."""
    intent = await scene.doubt()
    reference = await scene.reference(intent)
    await scene.take(ipps_file(Line(reference), Line(reference, transaction="T2")))
    await scene.hear()
    await scene.look_again()
    await scene.look_again()
    assert await scene.hear() == 0
    assert (await scene.saga.booked(scene.payer)) == (700, 0)
    assert await scene.breaks() == [EMERGENCY]


@pytest.mark.parametrize("amount_minor", [299, 301])
async def test_a_line_with_another_amount_settles_nothing(scene: Scene, amount_minor: int) -> None:
    """Which of the two is right is for people to say."""
    intent = await scene.doubt()
    await scene.take(ipps_file(Line(await scene.reference(intent), amount_minor=amount_minor)))
    await scene.look_again()
    assert await scene.hear() == 0
    assert (await scene.saga.state(intent))[:2] == ("IN_DOUBT", "held")
    assert await scene.breaks() == [("amount_differs", "critical")]


async def test_a_line_in_another_currency_settles_nothing(scene: Scene) -> None:
    """Three hundred of something else are not three hundred."""
    intent = await scene.doubt()
    await scene.take(ipps_file(Line(await scene.reference(intent), currency="RUB")))
    assert await scene.hear() == 0
    assert (await scene.saga.state(intent))[0] == "IN_DOUBT"
    assert await scene.breaks() == [("currency_differs", "critical")]


async def test_a_reference_that_failed_and_was_paid_in_one_file_is_paid(scene: Scene) -> None:
    """A try that failed is no end where another one paid; the failed line stands first."""
    intent = await scene.doubt()
    reference = await scene.reference(intent)
    await scene.take(ipps_file(Line(reference, status="REJECTED"), Line(reference, transaction="T2")))
    await scene.hear()
    await scene.look_again()
    assert await scene.hear() == 0
    assert (await scene.saga.state(intent))[0] == "SETTLED"
    assert (await scene.saga.booked(scene.payer)) == (700, 0)
    assert (await scene.verdicts(), await scene.breaks()) == (["agrees", "agrees"], [])


async def test_a_top_up_that_nobody_told_us_of_is_credited_by_its_line(scene: Scene) -> None:
    """Callback and answers were lost; a declined try beside it ends nothing."""
    payee = f"user:payee-{scene.saga.world.tag}:RUB"
    await scene.saga.world.fund({payee: 0})
    intent = await scene.saga.top_up(payee)
    reference = await scene.reference(intent)
    await scene.take(qp_file((reference, "P0", "DECLINED", 500), (reference, "P1", "ACCEPTED", 500)), layout=QP)
    assert await scene.hear("qp") == 1
    assert (await scene.saga.state(intent))[0] == "SETTLED"
    assert (await scene.saga.booked(payee))[0] == 500
    # Paid once more: a payment of its own, credited once.
    await scene.take(qp_file((reference, "P2", "ACCEPTED", 500)), layout=QP)
    assert await scene.hear("qp") == 1
    await scene.look_again(QP)
    assert await scene.hear("qp") == 0
    assert (await scene.saga.booked(payee))[0] == 1000
    assert await scene.breaks() == []


async def test_a_late_payment_of_an_expired_code_is_for_people(scene: Scene) -> None:
    """The line contradicts an end: it changes nothing."""
    payee = f"user:payee-{scene.saga.world.tag}:RUB"
    await scene.saga.world.fund({payee: 0})
    intent = await scene.saga.top_up(payee)
    await scene.saga.hear(scene.saga.said(intent, Outcome.EXPIRED, psp="qp", final=True))
    assert (await scene.saga.state(intent))[0] == "EXPIRED"
    await scene.take(qp_file((await scene.reference(intent), "P1", "ACCEPTED", 500)), layout=QP)
    await scene.look_again(QP)
    assert await scene.hear("qp") == 0
    assert (await scene.saga.booked(payee))[0] == 0
    assert await scene.breaks() == [EMERGENCY]


async def test_a_paid_line_without_a_name_of_the_psps_is_the_payment_that_settled(scene: Scene) -> None:
    """It is no second payment: nothing is said, and nobody is left waiting behind a word that cannot be."""
    payee = f"user:payee-{scene.saga.world.tag}:RUB"
    await scene.saga.world.fund({payee: 0})
    intent = await scene.saga.top_up(payee)
    await scene.saga.hear(scene.saga.said(intent, Outcome.PAID, psp="qp", **_P1))
    await scene.take(qp_file((await scene.reference(intent), "", "ACCEPTED", 500)), layout=QP)
    await scene.look_again(QP)
    assert await scene.hear("qp") == 0
    assert (await scene.saga.booked(payee))[0] == 500
    assert (await scene.verdicts(), await scene.breaks()) == (["agrees"], [])


async def test_a_late_credit_that_the_psp_takes_back_in_its_file_is_shouted(scene: Scene) -> None:
    """The customer has the money of a payment that came after its code had expired, and the PSP has it again."""
    payee = f"user:payee-{scene.saga.world.tag}:RUB"
    await scene.saga.world.fund({payee: 0})
    intent = await scene.saga.top_up(payee)
    await scene.saga.hear(scene.saga.said(intent, Outcome.EXPIRED, psp="qp", final=True))
    await scene.saga.hear(scene.saga.said(intent, Outcome.PAID, psp="qp", **_P1))
    assert (await scene.saga.booked(payee))[0] == 500
    reference = await scene.reference(intent)
    await scene.take(qp_file((reference, "P1", "ACCEPTED", 500), (reference, "P1", "REVERSED", 500)), layout=QP)
    await scene.look_again(QP)
    assert (await scene.verdicts(), await scene.breaks()) == (["agrees", "breaks"], [EMERGENCY])


async def test_a_late_payment_of_another_amount_than_its_line_is_told(scene: Scene) -> None:
    """What was booked to suspense is what the PSP said then; its file says more."""
    intent = await scene.doubt()
    await scene.saga.hear(scene.saga.said(intent, Outcome.DECLINED, code="refused", final=True))
    await scene.saga.hear(scene.saga.said(intent, Outcome.PAID, psp_transaction_id="T1"))
    await scene.take(ipps_file(Line(await scene.reference(intent), amount_minor=900)))
    assert await scene.breaks() == [("amount_differs", "critical")]


@pytest.mark.parametrize("fault", ["trailer", "cut off", "refused line", "another layout"])
async def test_a_failed_line_of_a_file_that_is_not_whole_waits_for_people(scene: Scene, fault: str) -> None:
    """What says that the reference was paid in another try may be what is missing: no hold is given back upon it."""
    intent = await scene.doubt()
    failed = Line(await scene.reference(intent), transaction="T0", status="REJECTED")
    content = {
        "trailer": ipps_file(failed, count=2),
        "cut off": ipps_file(failed).rpartition(b"T0")[0],
        "refused line": ipps_file(failed, "rubbish"),
        "another layout": ipps_file(failed, *["rubbish"] * (REFUSED_MAX + 1)),
    }[fault]
    await scene.take(content)
    await scene.look_again()
    assert await scene.hear() == 0
    assert (await scene.saga.state(intent))[:2] == ("IN_DOUBT", "held")
    assert await scene.breaks() == [("file_differs", "critical")]
    # Somebody has looked at the file: its lines stand.
    subject = await scene.pool.fetchval("SELECT subject FROM pm.reconciliation_break")
    await close_breaks(
        scene.pool, [Closing(BreakKind.FILE_DIFFERS, subject, "nothing was missing", BreakState.EXPLAINED)]
    )
    await scene.look_again()
    assert await scene.hear() == 1
    assert (await scene.saga.state(intent))[0] == "FAILED"


async def test_a_part_that_failed_gives_nothing_back(scene: Scene) -> None:
    """The PSP has split the payment; what became of the other parts stands in another file."""
    intent = await scene.doubt()
    await scene.take(ipps_file(Line(await scene.reference(intent), "T1A", "REJECTED", amount_minor=100)))
    await scene.look_again()
    assert await scene.hear() == 0
    assert (await scene.saga.state(intent))[:2] == ("IN_DOUBT", "held")
    assert await scene.breaks() == [("amount_differs", "critical")]


@pytest.mark.parametrize(("amount_minor", "found"), [(300, []), (100, [("amount_differs", "critical")])])
async def test_what_was_taken_back_is_held_against_its_line(
    scene: Scene, amount_minor: int, found: list[tuple[str, str]]
) -> None:
    """We gave back all of it; the PSP's file says how much it gave back."""
    intent = await scene.doubt()
    await scene.saga.hear(scene.saga.said(intent, Outcome.PAID, psp_transaction_id="T1"))
    await scene.saga.hear(scene.saga.said(intent, Outcome.REVERSED, **_BACK))
    reference = await scene.reference(intent)
    await scene.take(ipps_file(Line(reference), Line(reference, status="REVERSED", amount_minor=amount_minor)))
    assert await scene.breaks() == found
