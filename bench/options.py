"""What a run of the benchmark may be told, and what the quick one changes."""

from dataclasses import dataclass, replace
from typing import Final, Literal

from ops.embedded.stack import LedgerChoice
from shared.errors import BadInput

WALLETS_MIN: Final = 2

Only = Literal["all", "pipelines", "psp", "rates"]


@dataclass(frozen=True, slots=True)
class Options:
    """One run.

    Attributes:
        seconds: how long a throughput is measured, once warm; a latency takes half of it.
        rounds: how often everything is measured.
        rate: intents a second offered while latency is measured.
        wallets: how many wallets pay each other.
        partitions: intent streams of the mesh.
        orchestrators: orchestrator processes, and as many bare ones.
        gateways: gateway processes, on one port.
        connections: keep-alive connections of the HTTP load.
        window: intents accepted and unsettled that the load keeps up, over all partitions.
        ledger: which ledger; ``auto`` takes TigerBeetle where its server is found.
        share: of what the mesh sustains, how much is offered while latency beside a PSP is measured.
        storm_s: how long a PSP is dead; slow for half of it.
        withdrawals: offered a second while it is.
        only: the three pipelines, payments beside a PSP, or a key beside a storm of another; or all of it.
        seed: another number, other payments.
        quick: whether this is the smoke version, whose figures mean nothing.
    """

    seconds: float = 10.0
    rounds: int = 3
    rate: int = 500
    wallets: int = 1000
    partitions: int = 2
    orchestrators: int = 1
    gateways: int = 2
    connections: int = 64
    window: int = 4096
    ledger: LedgerChoice = "auto"
    share: float = 0.4
    storm_s: float = 60.0
    withdrawals: int = 50
    only: Only = "all"
    seed: int = 1
    quick: bool = False

    def __post_init__(self) -> None:
        if self.wallets < WALLETS_MIN:
            raise BadInput("a payment takes two wallets")

    @property
    def warm_s(self) -> float:
        """How long a load runs before it is measured: connections, statements and caches are filled by then."""
        return min(2.0, self.seconds / 4)

    @property
    def latency_s(self) -> float:
        """How long a latency is measured."""
        return self.seconds / 2


def quick(options: Options) -> Options:
    """Return the smoke version of a run: everything once, just long enough to fail if something is broken."""
    return replace(options, seconds=2.0, rounds=1, rate=200, wallets=100, storm_s=3.0, quick=True)
