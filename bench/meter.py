"""CPU by role: how much time the processes of each role have spent, from the operating system's own books.

A role is a set of processes with all their descendants. Children that have ended are in their parent's account once
it has waited for them, so that a PostgreSQL backend that ends within the measured time is not lost.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psutil

LOAD: Final = "load"
OTHERS: Final = "others"


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU seconds so far: by role, and of the whole machine."""

    by_role: Mapping[str, float]
    machine_s: float

    def since(self, earlier: "Reading") -> dict[str, float]:
        """Return the CPU seconds of each role since an earlier reading, and ``others``: of everything else."""
        spent = {role: now_s - earlier.by_role.get(role, 0.0) for role, now_s in self.by_role.items()}
        spent[OTHERS] = max(0.0, self.machine_s - earlier.machine_s - sum(spent.values()))
        return spent


class Meter:
    """Reads the CPU time of roles, and of its own process as the role ``load``."""

    def __init__(self, roles: Mapping[str, Sequence[int]]) -> None:
        self._roles = {role: [psutil.Process(pid) for pid in pids] for role, pids in roles.items()}
        self._itself = psutil.Process()

    def read(self) -> Reading:
        """Read everybody's CPU time."""
        by_role = {role: sum(map(_tree_s, roots)) for role, roots in self._roles.items()}
        return Reading(by_role | {LOAD: _spent_s([self._itself])}, _machine_s())


def _tree_s(root: psutil.Process) -> float:
    return _spent_s([root, *root.children(recursive=True)])


def _spent_s(processes: Iterable[psutil.Process]) -> float:
    spent_s = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:  # it ended while we were reading; its parent has its time by now
            continue
        spent_s += times.user + times.system + times.children_user + times.children_system
    return spent_s


def _machine_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))
