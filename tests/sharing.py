"""How tests share a machine: which of them one worker runs in a row, in which order, and which go last, by themselves.

`make test` has several workers, each with servers of its own. A group is what one worker runs in a row: as a rule a
module, whose fixtures are then made once. Whole meshes of real processes take two cores each, so there are two groups
of them, begun first; what measures time comes last, in one group, while nobody is left to disturb it. Without workers
this plugin does nothing. It must never make a test depend on another: any group may run alone, and in any order.
"""

import os
import random
import re
from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

SEED: Final = pytest.StashKey[int]()
"""Of the chaos tests."""
FIGURES: Final = "chaos"
"""What a chaos test has been through: the name of a property that travels with its report."""

_MESHES: Final = {
    "tests/matrix/": "meshes",
    "tests/e2e/": "meshes",
    "tests/chaos/": "more meshes",
    "tests/integration/compose/": "more meshes",
    "tests/integration/bench/": "more meshes",
}
_BY_ITSELF: Final = (
    "tests/integration/ops/test_doctor.py::test_a_million_",
    "tests/integration/ops/test_dlq_listing.py::test_a_list_is_quick_",
    "tests/integration/ops/test_top_scale.py::",
)
"""What measures how long something takes, and would measure its neighbours."""
_LEDGER: Final = re.compile(r"tests/(contract/test_ledger|integration/(orchestrator|reconciler)/.*\[tigerbeetle\b)")
_FIRST: Final = ("meshes", "more meshes", "ledgers")
_LAST: Final = "by itself"


class Groups(LoadScopeScheduling):
    """Hands out groups, in the order in which they are met."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """Return the name of the group that a test belongs to."""
    if nodeid.startswith(_BY_ITSELF):
        return _LAST
    if _LEDGER.match(nodeid):
        return "ledgers"  # a TigerBeetle server takes gigabytes: one worker's is enough
    meshes = next((name for folder, name in _MESHES.items() if nodeid.startswith(folder)), None)
    return meshes or nodeid.partition("::")[0]


def _turn(item: pytest.Item) -> int:
    group = group_of(item.nodeid)
    if group == _LAST:
        return len(_FIRST) + 1
    return _FIRST.index(group) if group in _FIRST else len(_FIRST)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of the chaos tests, once for all workers."""
    told = getattr(config, "workerinput", {}).get("chaos_seed")
    chosen = told or os.environ.get("PAYMESH_CHAOS_SEED") or random.SystemRandom().randrange(10**6)
    config.stash[SEED] = int(chosen)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Tell a worker that seed."""
    node.workerinput["chaos_seed"] = node.config.stash[SEED]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Hand out the tests by groups."""
    config.option.loadscopereorder = False
    return Groups(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Bring the groups into their order; within a group the tests keep theirs."""
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the seed, and what each chaos test has been through, whichever worker it was on."""
    reports = [one for kind in terminalreporter.stats.values() for one in kind if isinstance(one, pytest.TestReport)]
    chaos = [report for report in reports if report.when == "call" and report.nodeid.startswith("tests/chaos/")]
    if chaos:
        terminalreporter.section(f"chaos, PAYMESH_CHAOS_SEED={config.stash[SEED]}")
        for line in (line for report in chaos for name, line in report.user_properties if name == FIGURES):
            terminalreporter.line(str(line))
