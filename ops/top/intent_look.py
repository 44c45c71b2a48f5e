"""Where intents stand, by the indexes there are: what is undecided, and which states were entered lately."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ops.statements import statement
from ops.top.psp_look import COUNT_MAX
from shared.db.pool import Pool
from shared.psp_health import entry_id_of

WINDOW_S: Final = 10
REACH_S_MAX: Final = 60.0
"""How far back steps are followed when streams are behind: older intents count once a PSP has spoken of them."""
_STEPS_MAX: Final = 500_000


@dataclass(frozen=True, slots=True)
class Undecided:
    """How many intents are not decided, by channel and state; `at_least` where counting ended at its bound."""

    counts: Mapping[str, Mapping[str, int]]
    at_least: bool

    @property
    def by_state(self) -> dict[str, int]:
        """All channels together."""
        totals: dict[str, int] = {}
        for states in self.counts.values():
            for state, count in states.items():
                totals[state] = totals.get(state, 0) + count
        return totals


async def undecided(pool: Pool) -> Undecided:
    """Count the intents that are VALIDATED, AUTHORIZED or IN_DOUBT."""
    counts: dict[str, dict[str, int]] = {}
    for row in await pool.fetch(statement("top/open_intents"), COUNT_MAX):
        counts.setdefault(row["channel"] or "", {})[row["state"]] = row["n"]
    return Undecided(counts, sum(sum(states.values()) for states in counts.values()) >= COUNT_MAX)


async def steps_per_s(pool: Pool, psps: Sequence[str], *, now_ms: int, behind_s: float) -> dict[str, float]:
    """Return how many intents entered each state per second of the last `WINDOW_S`.

    Args:
        pool: the database.
        psps: whose words are looked at for intents of long ago.
        now_ms: unix ms.
        behind_s: how old what the streams hand out is; so much older are the intents that are followed.
    """
    reach_s = WINDOW_S + min(max(behind_s, 0.0), REACH_S_MAX - WINDOW_S)
    accepted_since = UUID(int=(now_ms - round(reach_s * 1000)) << 80)
    spoken_since = entry_id_of(now_ms - WINDOW_S * 1000)
    rows = await pool.fetch(
        statement("top/recent_steps"), WINDOW_S, accepted_since, list(psps), spoken_since, _STEPS_MAX
    )
    return {row["state"]: row["n"] / WINDOW_S for row in sorted(rows, key=lambda row: str(row["state"]))}
