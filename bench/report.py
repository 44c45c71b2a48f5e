"""What people get to see: a progress bar while it runs, tables when it is done."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.figures import Spread
from bench.options import Options
from bench.psp import PspRun, Weather
from bench.rates import Beside, RatesRun
from bench.sections import Show
from bench.summary import (
    DISTURBED_CORES,
    PipelineSummary,
    PspSummary,
    RatesSummary,
    Round,
    Summary,
    Target,
)

_ROLES = {
    "gateway": "gateway",
    "orchestrator": "orchestr.",
    "valkey": "valkey",
    "postgres": "postgres",
    "tigerbeetle": "tigerb.",
    "load": "load",
}
"""The roles in the order in which an intent meets them, as wide as a terminal allows."""


@contextmanager
def shown(console: Console, phases: int) -> Iterator[Show]:
    """Show how far the run is, for the length of the block; on a terminal only."""
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, refresh_per_second=2, disable=not console.is_terminal) as progress:
        whole = progress.add_task("all", total=phases, rate="")
        task = progress.add_task("setting up", total=None, rate="")

        def begin(title: str, seconds: float) -> None:
            progress.advance(whole)
            progress.reset(task, description=title, total=seconds, rate="")

        def tick(seconds: float, per_s: float) -> None:
            progress.update(task, completed=seconds, rate=f"{per_s:>7,.0f}/s")

        yield Show(begin, tick)


def print_report(console: Console, summary: Summary, options: Options, ledger: str, facts: Mapping[str, Any]) -> None:
    """Print what the three pipelines came to."""
    _print_facts(console, ledger, facts)
    console.print(_throughput_table(summary, options, ledger))
    console.print(_cpu_table(summary))
    console.print(_targets_table(summary.targets))
    _print_disturbance(console, summary.others_cores)


def print_psp(console: Console, run: PspRun, summary: PspSummary, ledger: str, facts: Mapping[str, Any]) -> None:
    """Print what payments felt of the PSP."""
    _print_facts(console, ledger, facts)
    console.print(_psp_table(run, summary))
    console.print(_targets_table(summary.targets))
    _print_disturbance(console, max(others.high for others in summary.others_cores.values()))


def print_rates(console: Console, run: RatesRun, summary: RatesSummary, ledger: str, facts: Mapping[str, Any]) -> None:
    """Print what a key felt of another one's storm."""
    _print_facts(console, ledger, facts)
    console.print(_rates_table(run, summary))
    console.print(_targets_table(summary.targets))
    _print_disturbance(console, max(others.high for others in summary.others_cores.values()))


def _rates_table(run: RatesRun, summary: RatesSummary) -> Table:
    table = Table(
        title=f"a key that posts {run.bystander_per_s}/s, alone and beside one that may {run.limit_per_s}/s "
        f"and sends that, or {run.storm_per_s}/s",
        caption="from due to answered; storm: its p99 to this one's, in the same round; "
        f"{summary.refused_per_s.median:,.0f}/s of the storm were refused; others: cores busy with something else",
        title_justify="left",
        title_style="bold",
        caption_justify="left",
    )
    table.add_column("beside", no_wrap=True)
    for column in ("p50 ms", "p99 ms", "p99 min-max", "storm", "gateways' cores", "others"):
        table.add_column(column, justify="right", no_wrap=True)
    for beside in Beside:
        p99, ratio, others = summary.p99_ms[beside], summary.p99_ratio.get(beside), summary.others_cores[beside]
        table.add_row(
            beside,
            f"{summary.p50_ms[beside].median:.1f}",
            f"{p99.median:.1f}",
            f"{p99.low:.1f}-{p99.high:.1f}",
            "-" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})",
            f"{summary.gateway_cores[beside].median:.2f}",
            f"{others.low:.1f}-{others.high:.1f}",
        )
    return table


def _print_facts(console: Console, ledger: str, facts: Mapping[str, Any]) -> None:
    machine = facts["machine"]
    console.print(
        f"\n{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, {machine['kernel']}, "
        f"{machine['python']}; commit {facts['commit']}",
        soft_wrap=True,
    )
    if ledger != "tigerbeetle":
        console.print("[bold yellow]The ledger is in PostgreSQL:[/] no TigerBeetle server was used.")


def _print_disturbance(console: Console, others_cores: float) -> None:
    if others_cores > DISTURBED_CORES:
        console.print(
            f"[yellow]Up to {others_cores:.1f} cores were busy with something else[/]: "
            "trust ratios, not absolute figures.",
            soft_wrap=True,
        )


def _psp_table(run: PspRun, summary: PspSummary) -> Table:
    table = Table(
        title=f"P2P payments beside withdrawals, {run.rate}/s of {run.capacity:,.0f}/s",
        caption="from due to settled; ratio: to the calm of the same round; others: cores busy with something else",
        title_justify="left",
        title_style="bold",
        caption_justify="left",
    )
    table.add_column("PSP", no_wrap=True)
    for column in ("p50 ms", "p99 ms", "p99 min-max", "p99 ratio", "others"):
        table.add_column(column, justify="right", no_wrap=True)
    for weather in Weather:
        p99, ratio, others = summary.p99_ms[weather], summary.p99_ratio.get(weather), summary.others_cores[weather]
        table.add_row(
            weather,
            f"{summary.p50_ms[weather].median:.1f}",
            f"{p99.median:.1f}",
            f"{p99.low:.1f}-{p99.high:.1f}",
            "-" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})",
            f"{others.low:.1f}-{others.high:.1f}",
        )
    return table


def print_rounds(console: Console, rounds: Sequence[Round]) -> None:
    """Print every round's throughput, in the order in which it was measured."""
    for number, one in enumerate(rounds, start=1):
        parts = [f"{pipeline} {result.throughput.per_s:,.0f}/s" for pipeline, result in one.items()]
        console.print(f"round {number}: {', '.join(parts)}", highlight=False)


def _throughput_table(summary: Summary, options: Options, ledger: str) -> Table:
    table = Table(
        title=f"settled P2P intents, ledger: {ledger}",
        caption=f"latency: mesh and bare at {options.rate}/s from due to settled; http by one client, Prefer: wait",
        title_justify="left",
        title_style="bold",
        caption_justify="left",
    )
    table.add_column("pipeline", no_wrap=True)
    for column in ("settled/s", "min-max", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right", no_wrap=True)
    for pipeline, found in summary.pipelines.items():
        table.add_row(
            pipeline,
            f"{found.per_s.median:,.0f}",
            f"{found.per_s.low:,.0f}-{found.per_s.high:,.0f}",
            f"{found.p50_ms.median:.1f}",
            f"{found.p99_ms.median:.1f}",
        )
    table.add_section()
    for name, ratio in (("mesh / bare", summary.mesh_to_bare), ("the same by CPU time", summary.mesh_to_bare_by_cpu)):
        table.add_row(name, f"{ratio.median:.2f}", f"{ratio.low:.2f}-{ratio.high:.2f}", "", "")
    return table


def _cpu_table(summary: Summary) -> Table:
    table = Table(title="CPU per settled intent, µs, at full load", title_justify="left", title_style="bold")
    table.add_column("pipeline", no_wrap=True)
    roles = [role for role in _ROLES if any(role in found.cpu_us for found in summary.pipelines.values())]
    for role in roles:
        table.add_column(_ROLES[role], justify="right", no_wrap=True)
    table.add_column("all", justify="right")
    for pipeline, found in summary.pipelines.items():
        cells = [_cpu_cell(found, role) for role in roles]
        table.add_row(pipeline, *cells, f"{found.cpu_total_us.median:.0f}")
    return table


def _cpu_cell(found: PipelineSummary, role: str) -> str:
    spent: Spread | None = found.cpu_us.get(role)
    return "-" if spent is None else f"{spent.median:.0f}"


def _targets_table(targets: Sequence[Target]) -> Table:
    table = Table(title="targets", title_justify="left", title_style="bold")
    for column in ("", "wanted", "found", ""):
        table.add_column(column)
    for target in targets:
        mark = "[green]met[/]" if target.met else "[red]missed[/]"
        table.add_row(target.name, target.wanted, target.found, mark)
    return table
