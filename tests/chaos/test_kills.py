"""Processes and servers are ended with SIGKILL at random moments under load: whatever was accepted ends once."""

from collections.abc import Callable
from random import Random

import pytest

from tests.chaos.havoc import moments, strike, victims
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.mesh import Mesh
from tests.chaos.reckoning import reckon

pytestmark = pytest.mark.asyncio(loop_scope="package")

ACCEPTED_MIN = 500
"""How many intents each round must have accepted for its kills to mean anything."""


async def test_accepted_intents_end_exactly_once_whoever_is_killed(
    mesh: Mesh, load: Load, journal: Journal, rng: Random, rounds: int, tell: Callable[[object], None]
) -> None:
    """Stores, orchestrators and gateways are killed again and again, sometimes several at once."""
    everybody = victims(mesh)
    async with load.running():
        for _ in range(rounds):
            async for victim in moments(2 * everybody, rng, shortest_s=0.1, longest_s=1.2):
                await strike(mesh, victim, rng)
    reckoning = await reckon(mesh, journal, accepted_min=ACCEPTED_MIN * rounds, killed=everybody)
    tell(f"killed {dict(mesh.kills)}; {reckoning}")
