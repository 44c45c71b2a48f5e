"""The outcome of a run: medians and extremes over its rounds, ratios within each, and the targets. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.figures import Spread, ratios, spread
from bench.psp import PspRun, Weather
from bench.rates import Beside, RatesRun
from bench.sections import Measured, Pipeline, SectionResult
from bench.steady_feed import TOO_MANY

PER_S_MIN: Final = 3000.0
"""Settled intents a second that the mesh is to reach on two cores, with TigerBeetle."""
RATIO_MIN: Final = 0.5
"""The share of the bare pipeline's throughput that the mesh is to reach."""
WAIT_MS_MAX: Final = 15.0
"""Median latency over HTTP that an idle mesh is to keep, from request to SETTLED."""
DISTURBED_CORES: Final = 0.25
"""Beyond this much foreign work, absolute figures say little."""

PSP_RATIO_MAX: Final = 2.0
"""How much longer the slowest payments may take beside a PSP that is slow or dead."""

RATES_RATIO_MAX: Final = 1.5
"""How much longer a key's slowest requests may take beside another one that sends ten times what it may."""

_CALM: Final = {Beside.NOBODY: "alone", Beside.LIMIT: "beside that key within its limit"}

Round = Mapping[Pipeline, SectionResult]


@dataclass(frozen=True, slots=True)
class PipelineSummary:
    """One pipeline over all rounds."""

    per_s: Spread
    p50_ms: Spread
    p99_ms: Spread
    cpu_us: Mapping[str, Spread]
    cpu_total_us: Spread
    """Of everybody together."""
    busy: int


@dataclass(frozen=True, slots=True)
class Target:
    """What was aimed at, what came out."""

    name: str
    wanted: str
    found: str
    met: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole run."""

    pipelines: Mapping[Pipeline, PipelineSummary]
    mesh_to_bare: Spread
    """Their throughputs' ratio."""
    mesh_to_bare_by_cpu: Spread
    """What their throughputs' ratio would be if CPU time were all that mattered; disturbances move it less."""
    others_cores: float
    """How many cores were busy with something else, at worst."""
    targets: Sequence[Target]


@dataclass(frozen=True, slots=True)
class PspSummary:
    """Payments beside a PSP, over all rounds.

    Attributes:
        p50_ms: median latency in each weather.
        p99_ms: the slowest hundredth.
        p99_ratio: of a storm to the calm of the same round.
        others_cores: how many cores were busy with something else; where that differs, the ratio says little.
    """

    p50_ms: Mapping[Weather, Spread]
    p99_ms: Mapping[Weather, Spread]
    p99_ratio: Mapping[Weather, Spread]
    others_cores: Mapping[Weather, Spread]
    targets: Sequence[Target]


@dataclass(frozen=True, slots=True)
class RatesSummary:
    """A key alone and beside another one, over all rounds.

    Attributes:
        p99_ratio: of a storm to what stands there, within each round.
        refused_per_s: of the storm.
        gateway_cores: how many cores the gateways kept busy.
    """

    p50_ms: Mapping[Beside, Spread]
    p99_ms: Mapping[Beside, Spread]
    p99_ratio: Mapping[Beside, Spread]
    others_cores: Mapping[Beside, Spread]
    refused_per_s: Spread
    gateway_cores: Mapping[Beside, Spread]
    targets: Sequence[Target]


def summarise_rates(run: RatesRun) -> RatesSummary:
    """Sum the section about rates up."""
    found = {beside: [one[beside] for one in run.rounds] for beside in Beside}
    p99 = {beside: [one.p99_ms for one in rounds] for beside, rounds in found.items()}
    ratio = {calm: spread(ratios(p99[Beside.STORM], p99[calm])) for calm in (Beside.NOBODY, Beside.LIMIT)}
    return RatesSummary(
        p50_ms={beside: spread([one.p50_ms for one in rounds]) for beside, rounds in found.items()},
        p99_ms={beside: spread(values) for beside, values in p99.items()},
        p99_ratio=ratio,
        others_cores={beside: spread([one.others_cores for one in rounds]) for beside, rounds in found.items()},
        refused_per_s=spread([one.other[str(TOO_MANY)] / one.other_seconds for one in found[Beside.STORM]]),
        gateway_cores={
            beside: spread([one.cpu_s["gateway"] / one.seconds for one in rounds]) for beside, rounds in found.items()
        },
        targets=[
            Target(
                f"p99 beside a storm, to {_CALM[calm]}",
                f"≤ {RATES_RATIO_MAX}x",
                f"{found_ratio.median:.2f}x",
                found_ratio.median <= RATES_RATIO_MAX,
            )
            for calm, found_ratio in ratio.items()
        ],
    )


def summarise_psp(run: PspRun) -> PspSummary:
    """Sum the section about PSPs up."""
    p50 = {weather: [one[weather].payments.p50_ms for one in run.rounds] for weather in Weather}
    p99 = {weather: [one[weather].payments.p99_ms for one in run.rounds] for weather in Weather}
    storms = (Weather.SLOW, Weather.DEAD)
    p99_ratio = {weather: spread(ratios(p99[weather], p99[Weather.CALM])) for weather in storms}
    return PspSummary(
        p50_ms={weather: spread(values) for weather, values in p50.items()},
        p99_ms={weather: spread(values) for weather, values in p99.items()},
        p99_ratio=p99_ratio,
        others_cores={
            weather: spread([one[weather].payments.others_cores for one in run.rounds]) for weather in Weather
        },
        targets=[
            Target(
                f"p99 beside a {weather} PSP",
                f"≤ {PSP_RATIO_MAX:.0f}x",
                f"{ratio.median:.2f}x",
                ratio.median <= PSP_RATIO_MAX,
            )
            for weather, ratio in p99_ratio.items()
        ],
    )


def summarise(rounds: Sequence[Round], *, ledger: str) -> Summary:
    """Sum a run up; throughput has a target on TigerBeetle only."""
    pipelines = {pipeline: _pipeline([one[pipeline] for one in rounds]) for pipeline in Pipeline}
    mesh, bare = ([one[pipeline].throughput for one in rounds] for pipeline in (Pipeline.MESH, Pipeline.BARE))
    ratio = spread(ratios([load.per_s for load in mesh], [load.per_s for load in bare]))
    return Summary(
        pipelines=pipelines,
        mesh_to_bare=ratio,
        mesh_to_bare_by_cpu=spread(ratios([load.cpu_total_us for load in bare], [load.cpu_total_us for load in mesh])),
        others_cores=max(
            measured.others_cores for one in rounds for result in one.values() for measured in _both(result)
        ),
        targets=_targets(pipelines, ratio, ledger),
    )


def _both(result: SectionResult) -> tuple[Measured, Measured]:
    return result.latency, result.throughput


def _pipeline(results: Sequence[SectionResult]) -> PipelineSummary:
    loads = [result.throughput for result in results]
    return PipelineSummary(
        per_s=spread([load.per_s for load in loads]),
        p50_ms=spread([result.latency.p50_ms for result in results]),
        p99_ms=spread([result.latency.p99_ms for result in results]),
        cpu_us={role: spread([load.cpu_us[role] for load in loads]) for role in loads[0].cpu_us},
        cpu_total_us=spread([load.cpu_total_us for load in loads]),
        busy=sum(load.busy for load in loads),
    )


def _targets(pipelines: Mapping[Pipeline, PipelineSummary], ratio: Spread, ledger: str) -> list[Target]:
    per_s = pipelines[Pipeline.MESH].per_s.median
    wait_ms = pipelines[Pipeline.HTTP].p50_ms.median
    targets = [
        Target("mesh / bare", f"≥ {RATIO_MIN}", f"{ratio.median:.2f}", ratio.median >= RATIO_MIN),
        Target("Prefer: wait, median", f"< {WAIT_MS_MAX:.0f} ms", f"{wait_ms:.1f} ms", wait_ms < WAIT_MS_MAX),
    ]
    if ledger == "tigerbeetle":
        targets.append(Target("settled a second", f"≥ {PER_S_MIN:,.0f}", f"{per_s:,.0f}", per_s >= PER_S_MIN))
    return targets
