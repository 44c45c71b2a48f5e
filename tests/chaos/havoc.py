"""Who is to be struck next, and when: from a shuffled deck, so that even a short run strikes everybody."""

from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Final

from tests.chaos.clock import lapse
from tests.chaos.mesh import GATEWAYS, ORCHESTRATORS, Mesh
from tests.chaos.processes import family, kill
from tests.waiting import until

BACKEND: Final = "postgres-backend"
"""Not a child of ours but of PostgreSQL's: when one is killed, the server ends all others and recovers."""


def victims(mesh: Mesh) -> list[str]:
    """Return everybody whose sudden end must lose nothing."""
    ledger = ["tigerbeetle"] if mesh.kind == "tigerbeetle" else []
    return ["valkey", "postgres", BACKEND, *ledger, *ORCHESTRATORS, *GATEWAYS]


async def strike(mesh: Mesh, victim: str, rng: Random) -> None:
    """Kill the victim, as soon as it is there: it may be down because of the one before."""
    if victim == BACKEND:
        await until(lambda: strike_backend(mesh, rng), "a process of PostgreSQL to kill", timeout_s=30)
        return
    await until(lambda: mesh.child(victim).running, f"{victim} to be there to be killed", timeout_s=30)
    mesh.kill(victim)


def strike_backend(mesh: Mesh, rng: Random) -> bool:
    """Kill one of PostgreSQL's children; say whether there was one."""
    backends = family(mesh.child("postgres"))[1:]
    struck = bool(backends) and kill(rng.choice(backends).pid)
    mesh.kills[BACKEND] += struck
    return struck


async def moments(deck: Sequence[str], rng: Random, *, shortest_s: float, longest_s: float) -> AsyncIterator[str]:
    """Give the cards of the deck in random order, each after a random while."""
    for card in rng.sample(deck, len(deck)):
        await lapse(rng.uniform(shortest_s, longest_s))
        yield card
