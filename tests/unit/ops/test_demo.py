"""The demo's script and its judgement: sound in any order, and hard on every difference."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from ops.client import Answer
from ops.demo.play import Stage, Tally, faults
from ops.demo.script import ALONE, FUNDING_MINOR, Expected, Kind, Script, Step, expected_balances, write_script

SETTLED = Expected(state="SETTLED")


def answer(status: int = 200, *, replayed: bool = False, **document: Any) -> Answer:
    """What a gateway said."""
    return Answer(status, {"Idempotent-Replayed": "true"} if replayed else {}, document)


def step(expected: Expected) -> Step:
    """A step of which that is expected."""
    return Step("step", Kind.TRANSFER, {}, expected)


@pytest.fixture(scope="module")
def script() -> Script:
    """The script of the demo."""
    return write_script(1, run="")


def test_the_script_is_large_enough(script: Script) -> None:
    """At least 200 payments among 20 wallets, funded by adjustments, and what must be refused."""
    assert len(script.transfers) >= 200
    assert len(script.funding) == 20
    assert {one.operation["operation_type"] for one in script.funding} == {"ADJUSTMENT"}
    payers = {one.operation["from_account"] for one in script.transfers}
    assert len(payers) == 20
    codes = {one.expected.code for one in script.refusals}
    assert {"insufficient_funds", "unknown_account", "bad_signature", "idempotency_key_reused"} <= codes


def test_nobody_is_ever_short_in_any_order(script: Script) -> None:
    """What a wallet pays in all is less than it was funded with, without what it is paid."""
    paid = Counter[str]()
    for one in (*script.transfers, *script.alone, script.crowd):
        paid[one.operation["from_account"]] += one.operation["amount_minor"]
    assert max(paid.values()) < FUNDING_MINOR


def test_expected_balances_neither_make_nor_lose_money(script: Script) -> None:
    """All that was funded is in the wallets."""
    assert sum(script.expected_minor.values()) == 20 * FUNDING_MINOR
    assert set(script.expected_minor) == set(script.wallets)


def test_expected_balances_count_what_settles_once() -> None:
    """Refusals and repetitions move nothing."""
    pay = {"operation_type": "P2P_TRANSFER", "from_account": "a", "to_account": "b", "amount_minor": 3}
    fund = {"operation_type": "ADJUSTMENT", "account": "a", "amount_minor": 10}
    steps = (
        Step("fund", Kind.FUNDING, fund, SETTLED),
        Step("pay", Kind.TRANSFER, pay, SETTLED),
        Step("again", Kind.REPEATED, pay, Expected(state="SETTLED", same_as="pay"), key_of="pay"),
        Step("no", Kind.REFUSED, pay, Expected(state="REJECTED", code="insufficient_funds")),
        Step("bad", Kind.REFUSED, pay, Expected((401,), code="bad_signature")),
    )
    assert expected_balances(["a", "b", "c"], steps) == {"a": 7, "b": 3, "c": 0}


def test_every_step_has_a_key_of_its_own_unless_it_means_to_reuse_one(script: Script) -> None:
    """And no key has characters that no gateway takes."""
    keys = Counter(one.key for one in script.steps)
    reused = {one.key for one in script.steps if one.key_of}
    assert {key for key, count in keys.items() if count > 1} == reused
    assert all(key.isascii() and " " not in key for key in keys)


def test_a_script_is_the_same_for_the_same_seed_and_nobody_elses_for_another_run() -> None:
    """Reproducible, and repeatable over stores that keep their data."""
    assert write_script(7, run="") == write_script(7, run="")
    assert write_script(7, run="") != write_script(8, run="")
    one, two = write_script(7, run="-a"), write_script(7, run="-b")
    assert not set(one.wallets) & set(two.wallets)
    assert not {s.key for s in one.steps} & {s.key for s in two.steps}
    assert len(one.alone) == ALONE


@pytest.mark.parametrize(
    ("expected", "first", "final", "fault"),
    [
        (SETTLED, answer(202), answer(state="SETTLED"), None),
        (SETTLED, answer(202), answer(state="REJECTED", error={"code": "x"}), "REJECTED (x) instead of SETTLED"),
        (SETTLED, answer(500), answer(500), "HTTP 500 (None) instead of 200 or 202"),
        (Expected((401,), code="bad_signature"), answer(401, code="bad_signature"), None, None),
        (Expected((401,), code="bad_signature"), answer(202, id="i"), answer(state="SETTLED"), "HTTP 202"),
        (Expected((401,), code="bad_signature"), answer(401, code="unknown_key"), None, "unknown_key instead of"),
        (Expected(state="REJECTED", code="a"), answer(), answer(state="REJECTED", error={"code": "b"}), "b instead"),
        (Expected(state="SETTLED", same_as="one"), answer(id="i", replayed=True), answer(state="SETTLED"), None),
        (Expected(state="SETTLED", same_as="one"), answer(id="j", replayed=True), answer(state="SETTLED"), "another"),
        (Expected(state="SETTLED", same_as="one"), answer(id="i"), answer(state="SETTLED"), "not marked"),
    ],
)
def test_every_difference_from_what_is_expected_is_a_fault(
    expected: Expected, first: Answer, final: Answer | None, fault: str | None
) -> None:
    """Status, state, code, identity, replay."""
    found = faults(step(expected), first, final or first, {"one": "i"})
    assert (found == []) if fault is None else any(fault in words for words in found)


class Crowded:
    """A gateway that answers a crowd with what the test says."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers = answers

    async def send_until_answered(self, *_: object, **__: object) -> Answer:
        """The next answer."""
        await asyncio.sleep(0)
        return self.answers.pop()


@pytest.mark.parametrize(
    ("answers", "right"),
    [
        ([answer(id="i", state="SETTLED")] + [answer(id="i", state="SETTLED", replayed=True)] * 49, True),
        ([answer(id="i", state="SETTLED")] * 50, False),
        ([answer(id="i", state="SETTLED", replayed=True)] * 50, False),
        (
            [answer(id="i", state="SETTLED"), answer(id="j", state="SETTLED", replayed=True)]
            + [answer(id="i", state="SETTLED", replayed=True)] * 48,
            False,
        ),
    ],
    ids=["one movement", "two movements", "none", "two intents"],
)
async def test_a_crowd_under_one_key_must_be_one_intent(answers: list[Answer], *, right: bool) -> None:
    """Equal answers, and exactly one that is not a replay."""
    tally = Tally()
    await Stage(Crowded(answers), tally, lambda: None).crowd(step(SETTLED))  # type: ignore[arg-type]
    assert (tally.faults == []) is right
