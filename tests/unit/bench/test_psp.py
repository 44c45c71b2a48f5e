"""Payments beside a PSP in trouble: how they are compared, and what of the PSP's books is named."""

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from bench.psp import PspMeasured, PspRound, PspRun, Weather, turned
from bench.psp_stage import paid_faults
from bench.report import print_psp
from bench.sections import Measured
from bench.summary import summarise_psp

_CALM = Measured(
    seconds=20.0, settled=20_000, p50_ms=5.0, p99_ms=20.0, cpu_us={"orchestrator": 100.0}, others_cores=0.1, busy=0
)
_MACHINE = {"cores": 2, "cpu": "a processor", "memory_gib": 4, "kernel": "Linux 6", "python": "CPython 3.11"}


def _round(*, calm_ms: float = 20.0, slow_ms: float = 30.0, dead_ms: float = 30.0, others: float = 0.1) -> PspRound:
    p99_ms = {Weather.CALM: calm_ms, Weather.SLOW: slow_ms, Weather.DEAD: dead_ms}
    return {
        weather: PspMeasured(replace(_CALM, p99_ms=value, others_cores=others), {"SETTLED": 10})
        for weather, value in p99_ms.items()
    }


def test_a_storm_is_compared_with_the_calm_of_its_own_round() -> None:
    """A round that somebody else disturbed is disturbed in both of its halves."""
    quiet, noisy = _round(), _round(calm_ms=200.0, slow_ms=300.0, dead_ms=300.0)

    summary = summarise_psp(PspRun(1000.0, 400, [quiet, noisy]))

    assert summary.p99_ratio[Weather.SLOW].low == summary.p99_ratio[Weather.SLOW].high == 1.5
    assert all(target.met for target in summary.targets)


@pytest.mark.parametrize(
    ("one", "missed"),
    [(_round(slow_ms=40.1), "p99 beside a slow PSP"), (_round(dead_ms=40.1), "p99 beside a dead PSP")],
    ids=["slow", "dead"],
)
def test_each_storm_has_a_target_of_its_own(one: PspRound, missed: str) -> None:
    """More than twice the calm is too much."""
    found = summarise_psp(PspRun(1000.0, 400, [one]))

    assert [target.name for target in found.targets if not target.met] == [missed]


def test_every_weather_gets_every_place_of_a_round() -> None:
    """Whoever always came last would always have the fullest tables."""
    orders = [turned(number) for number in (1, 2, 3)]

    for place in range(3):
        assert {order[place] for order in orders} == set(Weather)


def test_the_report_shows_every_weather_and_who_disturbed_it() -> None:
    """Latency, its ratio, the targets, and a word about foreign work."""
    run = PspRun(1000.0, 400, [_round(dead_ms=50.0, others=1.4)])
    console = Console(file=io.StringIO(), width=100)

    print_psp(console, run, summarise_psp(run), "tigerbeetle", {"commit": "abc", "machine": _MACHINE})

    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert all(words in text for words in ("calm", "slow", "dead", "400/s of 1,000/s", "2.50", "missed", "1.4 cores"))


def _moved(kind: str, reference: str, amount_satang: int) -> dict[str, Any]:
    return {"kind": kind, "partnerTxnUid": reference, "amountSatang": amount_satang}


@pytest.mark.parametrize(
    ("due", "movements", "named"),
    [
        ({"A": 100}, [_moved("PAYOUT", "A", 100)], []),
        ({"A": 100}, [], ["A: settled 100, paid None"]),
        ({}, [_moved("PAYOUT", "A", 100)], ["A: settled None, paid [100]"]),
        ({"A": 100}, [_moved("PAYOUT", "A", 100)] * 2, ["A: settled 100, paid [100, 100]"]),
        ({"A": 100}, [_moved("PAYOUT", "A", 99)], ["A: settled 100, paid [99]"]),
    ],
    ids=["right", "settled_and_unpaid", "paid_and_not_settled", "paid_twice", "another_amount"],
)
def test_a_withdrawal_that_was_not_paid_as_settled_is_named(
    due: Mapping[str, int], movements: list[dict[str, Any]], named: list[str]
) -> None:
    """Once, with its amount, and only if it settled."""
    assert paid_faults(due, movements) == named
