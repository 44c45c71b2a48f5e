"""Who is to be struck next, and when: from a shuffled deck, so that even a short run strikes everybody."""

from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Final

from tests.chaos.clock import lapse
from tests.chaos.mesh import GATEWAYS, ORCHESTRATORS, Mesh
from tests.chaos.processes import family, kill

BACKEND: Final = "postgres-backend"
"""Not a child of ours but of PostgreSQL's: when one is killed, the server ends all others and recovers."""


def victims(mesh: Mesh) -> list[str]:
    """Return everybody whose sudden end must lose nothing."""
    ledger = ["tigerbeetle"] if mesh.kind == "tigerbeetle" else []
    return ["valkey", "postgres", BACKEND, *ledger, *ORCHESTRATORS, *GATEWAYS]


def strike(mesh: Mesh, victim: str, rng: Random) -> None:
    """Kill the victim."""
    if victim != BACKEND:
        mesh.kill(victim)
        return
    backends = family(mesh.child("postgres"))[1:]
    if backends and kill(rng.choice(backends).pid):
        mesh.kills[BACKEND] += 1


async def moments(deck: Sequence[str], rng: Random, *, shortest_s: float, longest_s: float) -> AsyncIterator[str]:
    """Give the cards of the deck in random order, each after a random while."""
    for card in rng.sample(deck, len(deck)):
        await lapse(rng.uniform(shortest_s, longest_s))
        yield card
