"""The second act of the demo: a sound script, and a judgement that lets nothing pass."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from adapters.ipps.defects import BadQr
from adapters.ipps.emvco import amount_to_pay, decode
from adapters.ipps.proxies import check_national_id
from ops.client import Answer
from ops.demo.play import Stage, Tally
from ops.demo.psp_play import Board, Course, PspStage
from ops.demo.psp_script import FUNDING_SATANG, LIMIT_SATANG, Fate, PspScript, Topup, Way, write_psp_script
from ops.demo.psp_story import compare_books, tell
from ops.demo.psp_view import ways_table


@pytest.fixture(scope="module")
def script() -> PspScript:
    """The act of the demo."""
    return write_psp_script(1, run="")


def test_the_act_shows_every_way_and_every_fate(script: PspScript) -> None:
    """Proxies of four kinds and codes, several users, declines of every kind, lost answers, every fate of a code."""
    paid = {payout.way for payout in script.payouts if payout.paid}
    assert paid == set(Way) - {Way.SBP}
    assert len({payout.step.user for payout in script.payouts if payout.paid}) == 5
    codes = {payout.step.expected.code for payout in script.declines}
    assert {"unknown_proxy", "over_limit", "bad_crc", "truncated", "foreign_currency", "insufficient_funds"} <= codes
    assert {topup.fate for topup in script.topups} == set(Fate)
    assert [payout.unanswered for payout in script.doubts] == [False, True]


def defect(code: str, satang: int) -> str | None:
    """What is wrong with a code for that amount, if anything."""
    try:
        amount_to_pay(decode(code), satang)
    except BadQr as error:
        return error.code
    return None


@pytest.mark.parametrize("seed", range(20))
def test_codes_are_good_or_have_the_very_defect_that_is_expected(seed: int) -> None:
    """Whatever the seed: nothing is declined by accident."""
    for payout in write_psp_script(seed, run="").payouts:
        operation = payout.step.operation
        if payout.way is not Way.QR:
            continue
        assert defect(operation["qr"], operation["amount_minor"]) == payout.step.expected.code


@pytest.mark.parametrize("seed", range(20))
def test_nobody_is_ever_short_and_nothing_over_the_limit_by_accident(seed: int) -> None:
    """In any order; national IDs are such as authorities hand out, but for the one that must not be."""
    script = write_psp_script(seed, run="")
    spent = Counter[str]()
    for payout in script.payouts:
        operation = payout.step.operation
        if payout.paid or payout.step.expected.state == "FAILED":
            spent[operation["from_account"]] += operation["amount_minor"]
        assert payout.paid == (payout.step.expected.code is None and operation["amount_minor"] <= LIMIT_SATANG)
        if payout.paid and operation.get("proxy_type") == "NATIONAL_ID":
            check_national_id(operation["proxy"])
    assert max(spent.values()) < FUNDING_SATANG
    assert sum(script.expected_minor.values()) == (
        len(script.funding) * FUNDING_SATANG - script.paid_out_minor + script.paid_in_minor
    )


def test_the_act_is_nobody_elses_for_another_run() -> None:
    """The same for the same seed; other wallets and other keys for another run over the same stores."""
    assert write_psp_script(3, run="") == write_psp_script(3, run="")
    one, two = write_psp_script(3, run="-a"), write_psp_script(3, run="-b")
    assert not set(one.wallets) & set(two.wallets)
    keys = [
        {step.key for step in (*act.funding, *(p.step for p in act.payouts), *(t.step for t in act.topups))}
        for act in (one, two)
    ]
    assert not keys[0] & keys[1]
    assert len(keys[0]) == len(one.funding) + len(one.payouts) + len(one.topups)


class Told:
    """A sandbox's control that answers what a test says."""

    def __init__(self, *, calls: list[dict[str, Any]] | None = None, **books: Any) -> None:
        self._calls = calls or []
        self._books = books

    async def books(self, _reference: str | None = None) -> dict[str, Any]:
        """The books."""
        return self._books

    async def calls(self, _reference: str | None = None) -> list[dict[str, Any]]:
        """The calls."""
        return self._calls


async def test_wallets_books_and_script_must_be_as_one(script: PspScript) -> None:
    """A satang less in a wallet, or a payment too many in the books, is a fault that names all three."""
    held = dict(script.expected_minor)
    ipps, qp = Told(paidMinor=script.paid_out_minor + 7), Told(paidMinor=script.paid_in_minor)
    before = {"ipps": 7, "qp": 0}

    async def faults() -> list[str]:
        return (await compare_books(ipps=ipps, qp=qp, script=script, held=held, before=before))[1]  # type: ignore[arg-type]

    assert await faults() == []
    held["user:bua:THB"] -= 1
    (fault,) = await faults()
    assert "ipps" in fault
    held["user:bua:THB"] += 1
    before["qp"] = 1
    (fault,) = await faults()
    assert "qp" in fault


class Records:
    """A database that answers what a test says."""

    def __init__(self, *states: str, outcomes: tuple[str, ...] = ("PAID",)) -> None:
        self._states, self._outcomes = states, outcomes

    async def fetch(self, statement: str, _intent: UUID) -> list[dict[str, Any]]:
        """The events, or what was heard."""
        at = datetime.fromtimestamp(0, UTC)
        if "intent_event" in statement:
            return [{"from_state": "CREATED", "to_state": state, "at": at} for state in self._states]
        paid = '"psp_transaction_id":"T","amount_minor":1,"currency":"THB"'
        return [
            {"body": f'{{"psp":"ipps","source":"job","outcome":"{one}","at_ms":1,{paid}}}', "received_at": at}
            for one in self._outcomes
        ]

    async def fetchval(self, _statement: str, _intent: UUID) -> str:
        """The reference."""
        return "R"


def call(operation: str) -> dict[str, Any]:
    """A call that a sandbox served."""
    return {"operation": operation, "atMs": 1, "committed": True, "outcome": "200"}


SENT, ASKED = call("transfer"), call("status")
PATH = ("AUTHORIZED", "IN_DOUBT", "SETTLED")


@pytest.mark.parametrize(
    ("records", "calls", "payouts", "fault"),
    [
        (Records(*PATH), [SENT, ASKED], 1, None),
        (Records(*PATH), [SENT, ASKED], 2, "IPPS paid 2 times"),
        (Records(*PATH), [SENT, ASKED], 0, "IPPS paid 0 times"),
        (Records(*PATH), [SENT, SENT, ASKED], 1, "sent 2 times"),
        (Records(*PATH), [SENT], 1, "asked about 0 times"),
        (Records("AUTHORIZED", "SETTLED"), [SENT, ASKED], 1, "never in doubt"),
        (Records(*PATH, outcomes=("UNKNOWN",)), [SENT, ASKED], 1, "without an answer"),
    ],
)
async def test_a_lost_answer_must_end_in_one_payment_that_was_asked_about(
    script: PspScript, records: Records, calls: list[dict[str, Any]], payouts: int, fault: str | None
) -> None:
    """Paid once, sent once, asked about, in doubt meanwhile, and settled by the answer; anything else is named."""
    payout = script.doubts[1]
    board = Board({payout.step.name: Course(payout.step.name, payout.way, 0.0, id=str(UUID(int=1)))})
    amount = payout.step.operation["amount_minor"]
    sandbox = Told(calls=calls, payouts=payouts, paidMinor=amount * payouts)
    story = await tell(records, sandbox, board, payout)  # type: ignore[arg-type]
    assert bool(story.faults) == (fault is not None)
    assert fault is None or fault in " ".join(story.faults)


class Gateway:
    """A gateway's client whose intents have the children a test says."""

    def __init__(self, *children: dict[str, Any], **operation: Any) -> None:
        self._answers = {child["id"]: Answer(200, {}, {"operation": operation}) for child in children}

    async def intent(self, intent: str) -> Answer:
        """Where an intent stands."""
        return self._answers[intent]


def child(**more: Any) -> dict[str, Any]:
    """A child as its parent lists it."""
    return {"id": "c", "operation_type": "LATE_CREDIT", "state": "SETTLED", **more}


@pytest.mark.parametrize(
    ("fate", "children", "off_by", "fault"),
    [
        (Fate.LATE, [child()], 0, None),
        (Fate.LATE, [child()], 1, "a child"),
        (Fate.LATE, [child(), child(id="d")], 0, "2 late credits instead of 1"),
        (Fate.PAID, [], 0, None),
        (Fate.PAID, [child()], 0, "1 late credits instead of 0"),
        (Fate.TWICE, [child(operation_type="REVERSAL")], 0, "a child"),
    ],
)
async def test_late_credits_are_counted_and_looked_at(
    script: PspScript, fate: Fate, children: list[dict[str, Any]], off_by: int, fault: str | None
) -> None:
    """One too many, one of another amount or of another kind is a fault."""
    topup = next(one for one in script.topups if one.fate is fate)
    operation = topup.step.operation
    client = Gateway(*children, account=operation["to_account"], amount_minor=operation["amount_minor"] + off_by)
    found = await _judged(topup, client, children)
    assert bool(found) == (fault is not None)
    assert fault is None or fault in " ".join(found)


async def _judged(topup: Topup, client: Gateway, children: list[dict[str, Any]]) -> list[str]:
    stage = Stage(client, Tally(), lambda: None)  # type: ignore[arg-type]
    board = Board({topup.step.name: Course(topup.step.name, Way.SBP, 0.0)})
    act = PspStage(stage, Told(), Told(), board, lambda *_: None, lambda _: None)  # type: ignore[arg-type]
    await act._check_children(topup, Answer(200, {}, {"state": "EXPIRED", "children": children}))
    return stage.tally.faults


def test_the_table_counts_intents_by_way_and_state() -> None:
    """With what became intents of their own in a column beside the states."""
    board = Board()
    for number, states in enumerate((["CREATED", "SETTLED"], ["CREATED"], ["CREATED", "HTTP 503"])):
        course = Course(str(number), Way.SBP, 0.0, seen=[(0.0, one) for one in states], late_credits=number)
        board.courses[course.name] = course
    assert board.count() == {Way.SBP: Counter({"SETTLED": 1, "CREATED": 1, "HTTP 503": 1, "LATE_CREDIT": 3})}
    headers = [str(column.header) for column in ways_table(board).columns]
    assert headers[-2:] == ["HTTP 503", "LATE_CREDIT"]
