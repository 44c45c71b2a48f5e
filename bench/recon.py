"""`make bench-recon`: what a reconciler at work costs payments between wallets: their p99 beside it, and without it.

Both are measured in every round, in an order that turns, on the same mesh; the reconciler hardly waits for things to
settle, so that it walks what is being paid. A break that is opened meanwhile is a false alarm, and fails the run.
"""

import json
import os
import statistics
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated, Final

import typer
from rich.console import Console

from bench.events import BenchFailed
from bench.machine import commit, machine
from bench.options import Options
from bench.report import shown
from bench.sections import Measured, Pipeline, measure
from bench.stage import Stage, stage
from ops.commands.running import run
from ops.console import err, out, table

RATIO_MAX: Final = 1.2
_WALKED: Final = "SELECT coalesce(sum(walked), 0) FROM pm.reconciliation_cursor WHERE name = 'ledger'"


@dataclass(frozen=True, slots=True)
class Pair:
    """One round: without a reconciler and beside one, which compared so many transfers meanwhile."""

    alone: Measured
    beside: Measured
    walked: int

    @property
    def ratio(self) -> float:
        """The p99 beside it to the one without."""
        return self.beside.p99_ms / self.alone.p99_ms


async def bench(options: Options, console: Console) -> list[Pair]:
    """Measure, round by round.

    Raises:
        BenchFailed: it could not be measured, a payment was lost, or a break was opened.
    """
    pairs = []
    async with stage(options, environ=os.environ, say=lambda line: console.print(line, highlight=False)) as ready:
        with shown(console, options.rounds * 4) as show:
            for number in range(1, options.rounds + 1):
                found: dict[bool, Measured] = {}
                walked = 0
                for turn, beside in enumerate((number % 2 == 0, number % 2 == 1)):
                    before = await ready.stores.pool.fetchval(_WALKED)
                    async with AsyncExitStack() as running:
                        if beside:
                            await running.enter_async_context(ready.services("reconciler", 1))
                        section = await measure(ready, Pipeline.MESH, 2 * number + turn, show)
                        found[beside] = section.latency
                    walked += int(await ready.stores.pool.fetchval(_WALKED) - before)
                await _no_alarm(ready)
                pairs.append(Pair(found[False], found[True], walked))
    return pairs


async def _no_alarm(ready: Stage) -> None:
    kinds = await ready.stores.pool.fetch("SELECT DISTINCT kind FROM pm.reconciliation_break")
    if kinds:
        raise BenchFailed(f"breaks of a mesh that did nothing wrong: {[row['kind'] for row in kinds]}")


def main(
    *,
    rounds: Annotated[int, typer.Option(help="How often both are measured.", min=1)] = 5,
    rate: Annotated[int, typer.Option(help="Payments a second.", min=1)] = 300,
    seconds: Annotated[float, typer.Option(help="Twice as long as a latency is measured.", min=1)] = 8.0,
) -> None:
    """Measure payments beside a reconciler and without one; exit 1 where the target is missed."""
    console = out()
    try:
        pairs = run(bench(Options(rounds=rounds, rate=rate, seconds=seconds), console))
    except BenchFailed as error:
        err().print(f"the benchmark failed: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    columns = ["round>", "p50 ms>", "p99 ms>", "p50 beside>", "p99 beside>", "ratio>", "others, cores>", "compared>"]
    rows = [
        [
            number, f"{pair.alone.p50_ms:.1f}", f"{pair.alone.p99_ms:.1f}", f"{pair.beside.p50_ms:.1f}",
            f"{pair.beside.p99_ms:.1f}", f"{pair.ratio:.2f}",
            f"{pair.alone.others_cores:.1f} / {pair.beside.others_cores:.1f}", f"{pair.walked:,}",
        ]
        for number, pair in enumerate(pairs, start=1)
    ]  # fmt: skip
    console.print(table(f"payments between wallets at {rate}/s, without and beside a reconciler", columns, rows))
    median = statistics.median(pair.ratio for pair in pairs)
    console.print(json.dumps({"commit": commit(), "machine": machine()}, default=str), highlight=False)
    met = median <= RATIO_MAX
    console.print(f"median ratio {median:.2f}, target {RATIO_MAX}: {'met' if met else 'missed'}", highlight=False)
    if not met:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
