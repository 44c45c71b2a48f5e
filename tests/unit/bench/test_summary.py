"""The outcome of a run, and what is kept of it."""

import getpass
import io
import json
import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from bench.events import BenchFailed
from bench.machine import commit, cpu_model, machine
from bench.main import turned
from bench.options import Options, quick
from bench.rates import Beside, RatesMeasured, RatesRun
from bench.rates import turned as beside_turned
from bench.report import print_rates, print_report
from bench.results import document, write
from bench.sections import Measured, Pipeline, SectionResult, read_measured
from bench.summary import Round, Summary, summarise, summarise_rates
from shared.errors import BadInput

_QUIET = Measured(
    seconds=10.0, settled=40_000, p50_ms=5.0, p99_ms=9.0, cpu_us={"orchestrator": 100.0, "load": 30.0},
    others_cores=0.1, busy=0,
)  # fmt: skip


def _round(*, mesh: int, bare: int, others: float = 0.1, wait_ms: float = 8.0) -> Round:
    def result(pipeline: Pipeline, settled: int) -> SectionResult:
        latency = replace(_QUIET, p50_ms=wait_ms)
        return SectionResult(pipeline, settled, latency, replace(_QUIET, settled=settled, others_cores=others))

    return {
        Pipeline.MESH: result(Pipeline.MESH, mesh),
        Pipeline.BARE: result(Pipeline.BARE, bare),
        Pipeline.HTTP: result(Pipeline.HTTP, mesh),
    }


def _missed(summary: Summary) -> set[str]:
    return {target.name for target in summary.targets if not target.met}


def test_the_ratio_is_taken_round_by_round() -> None:
    """One disturbed round halves both; the ratio does not notice."""
    summary = summarise([_round(mesh=40_000, bare=60_000), _round(mesh=20_000, bare=30_000)], ledger="tigerbeetle")

    assert summary.mesh_to_bare.low == summary.mesh_to_bare.high == pytest.approx(2 / 3)
    assert summary.pipelines[Pipeline.MESH].per_s.median == 3000
    assert summary.pipelines[Pipeline.MESH].cpu_total_us.median == 130
    assert _missed(summary) == set()


def test_the_ratio_by_cpu_is_of_what_each_spent() -> None:
    """Twice the CPU time is half the throughput, whatever else the machine was doing."""
    one = _round(mesh=40_000, bare=40_000)
    mesh = replace(one[Pipeline.MESH].throughput, cpu_us={"orchestrator": 220.0, "load": 40.0})

    summary = summarise([{**one, Pipeline.MESH: replace(one[Pipeline.MESH], throughput=mesh)}], ledger="tigerbeetle")

    assert summary.mesh_to_bare_by_cpu.median == 0.5


@pytest.mark.parametrize(
    ("one", "missed"),
    [
        (_round(mesh=29_999, bare=40_000), {"settled a second"}),
        (_round(mesh=40_000, bare=80_001), {"mesh / bare"}),
        (_round(mesh=40_000, bare=60_000, wait_ms=15.0), {"Prefer: wait, median"}),
    ],
    ids=["throughput", "ratio", "latency"],
)
def test_a_missed_target_is_named(one: Round, missed: set[str]) -> None:
    """Each target by itself."""
    assert _missed(summarise([one], ledger="tigerbeetle")) == missed


def test_throughput_has_no_target_on_the_ledger_in_postgresql() -> None:
    """It is for development; nobody promised how fast it is."""
    summary = summarise([_round(mesh=100, bare=150)], ledger="postgres")

    assert _missed(summary) == set()
    assert {target.name for target in summary.targets} == {"mesh / bare", "Prefer: wait, median"}


def test_foreign_work_is_told_at_its_worst() -> None:
    """One disturbed section makes the run a disturbed one."""
    rounds = [_round(mesh=1000, bare=1000), _round(mesh=1000, bare=1000, others=1.4)]

    assert summarise(rounds, ledger="tigerbeetle").others_cores == 1.4


def test_cpu_time_is_shared_out_among_the_settled() -> None:
    """µs per intent, foreign work kept apart."""
    cpu_s = {"orchestrator": 0.5, "load": 0.25, "others": 3.0}
    event = {"phase": "throughput", "settled": 1000, "seconds": 2.0, "p50_ms": 1.0, "p99_ms": 2.0, "busy": 3}

    measured = read_measured({**event, "cpu_s": cpu_s})

    assert measured.cpu_us == {"orchestrator": 500.0, "load": 250.0}
    assert (measured.per_s, measured.others_cores, measured.busy) == (500.0, 1.5, 3)


def test_nothing_settled_is_a_failure() -> None:
    """Not a figure of zero."""
    with pytest.raises(BenchFailed):
        read_measured({"phase": "throughput", "settled": 0, "seconds": 2.0, "cpu_s": {"others": 0.0}})


def test_every_pipeline_gets_every_place_of_a_round() -> None:
    """Whoever always came first would always have the emptiest tables."""
    orders = [turned(tuple(Pipeline), number) for number in range(6)]

    for place in range(3):
        assert {order[place] for order in orders} == set(Pipeline)
    assert all(set(order) == set(Pipeline) for order in orders)


def test_results_name_no_host_no_user_and_no_path(tmp_path: Path) -> None:
    """They are committed, hence public."""
    rounds = [_round(mesh=40_000, bare=60_000)]
    facts = {"commit": commit(), "machine": machine()}
    result = document(
        at=datetime(2026, 1, 31, 12, tzinfo=UTC),
        options=Options(),
        ledger="tigerbeetle",
        facts=facts,
        rounds=rounds,
        summary=summarise(rounds, ledger="tigerbeetle"),
    )

    path = write(tmp_path, result)

    text = path.read_text()
    assert path.name == f"2026-01-31-{facts['commit']}.json"
    values = {value for value in _strings(json.loads(text)) if len(value) > 1}
    assert not any("/" in value and value.startswith(("/", "~", ".")) for value in values)
    assert socket.gethostname() not in values
    assert getpass.getuser() not in values
    assert json.loads(text)["rounds"][0]["mesh"]["throughput"]["settled"] == 40_000


def _strings(value: object) -> set[str]:
    if isinstance(value, dict):
        return {text for held in value.values() for text in _strings(held)}
    if isinstance(value, list):
        return {text for held in value for text in _strings(held)}
    return {value} if isinstance(value, str) else set()


def test_the_processor_is_named_as_the_kernel_names_it() -> None:
    """The first processor's model; whatever the platform says where there is none."""
    assert cpu_model("processor\t: 0\nmodel name\t: Some CPU 3000\n\nmodel name\t: Other\n") == "Some CPU 3000"
    assert cpu_model("")


def test_the_quick_version_measures_everything_once() -> None:
    """Short, but nothing left out."""
    short = quick(Options(rounds=5, partitions=4))

    assert (short.rounds, short.partitions, short.quick) == (1, 4, True)
    assert short.warm_s + short.seconds + short.latency_s < 5


def test_a_payment_takes_two_wallets() -> None:
    """One wallet has nobody to pay."""
    with pytest.raises(BadInput):
        Options(wallets=1)


@pytest.mark.parametrize(("ledger", "named"), [("tigerbeetle", False), ("postgres", True)])
def test_the_tables_show_every_pipeline_role_and_target(ledger: str, named: bool) -> None:  # noqa: FBT001 - a parameter
    """In eighty columns nothing is cut off; the ledger in PostgreSQL is never passed over in silence."""
    summary = summarise([_round(mesh=40_000, bare=60_000, others=1.5)], ledger=ledger)
    console = Console(width=80, record=True, file=io.StringIO())

    print_report(console, summary, Options(), ledger, {"commit": "abc", "machine": machine()})

    text = console.export_text()
    for word in ("mesh", "bare", "http", "4,000", "orchestr.", "0.67", "met"):
        assert word in text
    assert "…" not in text
    assert ("The ledger is in PostgreSQL" in text) == named
    assert "1.5 cores were busy with something else" in text


def _beside(p99_ms: float, other: dict[str, int]) -> RatesMeasured:
    return RatesMeasured(
        seconds=10.0, accepted=1000, p50_ms=2.0, p99_ms=p99_ms, cpu_s={"gateway": 2.5}, others_cores=0.1,
        other=other, other_seconds=12.5 if other else 0.0,
    )  # fmt: skip


def test_a_storm_is_held_against_the_same_round_without_it() -> None:
    """The ratios of each round, their medians against the target; what was refused, by the second."""
    rounds = [
        {
            Beside.NOBODY: _beside(alone, {}),
            Beside.LIMIT: _beside(limit, {"202": 1250}),
            Beside.STORM: _beside(storm, {"202": 1250, "429": 11_250}),
        }
        for alone, limit, storm in ((10.0, 12.0, 12.0), (40.0, 40.0, 44.0), (10.0, 15.0, 30.0))
    ]
    run = RatesRun(bystander_per_s=100, limit_per_s=100, storm_per_s=1000, rounds=rounds)
    summary = summarise_rates(run)
    alone, limit = summary.p99_ratio[Beside.NOBODY], summary.p99_ratio[Beside.LIMIT]
    assert (alone.low, alone.median, alone.high) == pytest.approx((1.1, 1.2, 3.0))
    assert (limit.low, limit.median, limit.high) == pytest.approx((1.0, 1.1, 2.0))
    assert summary.refused_per_s.median == 900
    assert [target.met for target in summary.targets] == [True, True]
    worse = replace(run, rounds=rounds[2:])
    assert [target.met for target in summarise_rates(worse).targets] == [False, False]
    printed = io.StringIO()
    facts = {"machine": machine(), "commit": commit()}
    print_rates(Console(file=printed, width=160), run, summary, "tigerbeetle", facts)
    assert "1.20 (1.10-3.00)" in printed.getvalue()
    assert "900/s" in printed.getvalue()


def test_the_cases_of_a_round_take_turns() -> None:
    """Each comes first, and each comes before each other one."""
    orders = [beside_turned(number) for number in range(1, 7)]
    assert all(set(order) == set(Beside) for order in orders)
    assert {order[0] for order in orders} == set(Beside)
    assert sum(order.index(Beside.STORM) < order.index(Beside.NOBODY) for order in orders) == 3
