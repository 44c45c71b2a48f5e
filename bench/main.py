"""`make bench`: the mesh, its bare counterpart, the mesh over HTTP, payments beside a PSP in trouble, keys in a storm.

Every round measures all three, in an order that turns, so that what disturbs a run disturbs all of them alike. After
each section the books are compared with what was accepted: a benchmark that loses a payment exits 1.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench import results
from bench.events import BenchFailed
from bench.machine import commit, machine, versions
from bench.options import Only, Options, quick
from bench.psp import PspRun, Weather, measure_psp
from bench.rates import Beside, RatesRun, measure_rates
from bench.report import print_psp, print_rates, print_report, print_rounds, shown
from bench.sections import Pipeline, SectionResult, Show, measure
from bench.stage import Stage, stage
from bench.summary import Round, summarise, summarise_psp, summarise_rates
from ops.commands.running import run
from ops.console import err, out, print_json
from ops.embedded.stack import LedgerChoice

_ORDER = (Pipeline.BARE, Pipeline.MESH, Pipeline.HTTP)


async def bench(options: Options, console: Console) -> dict[str, Any]:
    """Measure, print and return a run.

    Raises:
        BenchFailed: something could not be measured, or a payment was lost or made twice.
    """
    at = datetime.now(UTC)
    facts: dict[str, Any] = {"commit": commit(), "machine": machine()}
    rounds: list[Round] = []
    psp: PspRun | None = None
    rates: RatesRun | None = None

    def told(line: str) -> None:
        console.print(line, highlight=False)

    async with stage(options, environ=os.environ, say=told) as ready:
        facts["versions"] = await _versions(ready)
        ledger = ready.stores.settings.ledger_kind
        with shown(console, _phases(options)) as show:
            if options.only in ("all", "pipelines"):
                rounds = [await _round(ready, number, show) for number in range(1, options.rounds + 1)]
            if options.only in ("all", "psp"):
                psp = await measure_psp(ready, show, told)
            if options.only in ("all", "rates"):
                rates = await measure_rates(ready, show)
    summary = summarise(rounds, ledger=ledger) if rounds else None
    if summary is not None:
        print_rounds(console, rounds)
        print_report(console, summary, options, ledger, facts)
    if psp is not None:
        print_psp(console, psp, summarise_psp(psp), ledger, facts)
    if rates is not None:
        print_rates(console, rates, summarise_rates(rates), ledger, facts)
    return results.document(
        at=at, options=options, ledger=ledger, facts=facts, rounds=rounds, summary=summary, psp=psp, rates=rates
    )


def _phases(options: Options) -> int:
    """Return how many phases a run has, for the progress bar."""
    lengths = {
        "pipelines": options.rounds * len(_ORDER) * 2,
        "psp": 1 + options.rounds * len(Weather),
        "rates": options.rounds * len(Beside),
    }
    return sum(length for part, length in lengths.items() if options.only in ("all", part))


async def _round(ready: Stage, number: int, show: Show) -> Round:
    found: dict[Pipeline, SectionResult] = {}
    for pipeline in turned(_ORDER, number - 1):
        found[pipeline] = await measure(ready, pipeline, number, show)
    return found


def turned(order: Sequence[Pipeline], by: int) -> list[Pipeline]:
    """Return the order with its first `by` moved to the end, and every second round backwards."""
    shift = by % len(order)
    moved = [*order[shift:], *order[:shift]]
    return moved[::-1] if by % 2 else moved


async def _versions(ready: Stage) -> dict[str, str]:
    said = await ready.stores.redis.info("server")
    postgres = await ready.stores.pool.fetchval("SHOW server_version")
    return versions(ready.environ, valkey=str(said["valkey_version"]), postgres=str(postgres))


def main(
    *,
    seconds: Annotated[float, typer.Option(help="How long each throughput is measured.", min=1)] = 10.0,
    rounds: Annotated[int, typer.Option(help="How often everything is measured.", min=1)] = 3,
    rate: Annotated[int, typer.Option(help="Intents a second while latency is measured.", min=1)] = 500,
    wallets: Annotated[int, typer.Option(help="Wallets that pay each other.", min=2)] = 1000,
    partitions: Annotated[int, typer.Option(help="Intent streams.", min=1, max=256)] = 2,
    orchestrators: Annotated[int, typer.Option(help="Orchestrators, and as many bare ones.", min=1, max=16)] = 1,
    gateways: Annotated[int, typer.Option(help="Gateways on one port.", min=1, max=16)] = 2,
    connections: Annotated[int, typer.Option(help="Connections of the HTTP load.", min=1, max=1024)] = 64,
    ledger: Annotated[LedgerChoice, typer.Option(help="Which ledger; auto takes TigerBeetle where it is.")] = "auto",
    storm: Annotated[float, typer.Option(help="How long a PSP is dead; slow for half of it.", min=1)] = 60.0,
    share: Annotated[
        float, typer.Option(help="Payments beside it, as a share of the throughput.", min=0.01, max=0.9)
    ] = 0.4,
    withdrawals: Annotated[int, typer.Option(help="Withdrawals a second meanwhile.", min=1)] = 50,
    only: Annotated[
        Only, typer.Option(help="The three pipelines, payments beside a PSP in trouble, a key beside a storm.")
    ] = "all",
    seed: Annotated[int, typer.Option(help="Another number, other payments.")] = 1,
    smoke: Annotated[bool, typer.Option("--quick", help="Everything once and briefly; no result is kept.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 when a target is missed.")] = False,
    folder: Annotated[Path | None, typer.Option("--results", help="Where the result is kept.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON; tables to standard error.")
    ] = False,
) -> None:
    """Measure settled intents a second, their latency and their CPU time, beside a bare pipeline."""
    options = Options(
        seconds=seconds, rounds=rounds, rate=rate, wallets=wallets, partitions=partitions,
        orchestrators=orchestrators, gateways=gateways, connections=connections,
        storm_s=storm, share=share, withdrawals=withdrawals, only=only, ledger=ledger, seed=seed,
    )  # fmt: skip
    console = err() if as_json else out()
    try:
        result = run(bench(quick(options) if smoke else options, console))
    except BenchFailed as error:
        err().print(f"the benchmark failed: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    if folder is not None or not smoke:
        path = results.write(folder or results.FOLDER, result)
        console.print(f"written to {os.path.relpath(path)}", highlight=False)
    if as_json:
        print_json(result)
    parts = [result["summary"], *((result[part] or {}).get("summary") for part in ("psp", "rates"))]
    if strict and not all(target["met"] for part in parts if part is not None for target in part["targets"]):
        raise typer.Exit(1)
