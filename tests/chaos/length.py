"""How long the chaos tests go on: once by default, or PAYMESH_CHAOS_ROUNDS times on every ledger.

Whatever has to do with the ledger runs on both kinds in any case; the rest of the short version runs on the one that
needs no server of its own.
"""

import os
from typing import Any

import pytest

from tests.chaos.mesh import LedgerKind


def rounds() -> int:
    """Return how often each test repeats its faults."""
    return int(os.environ.get("PAYMESH_CHAOS_ROUNDS") or 1)


def is_long() -> bool:
    """Say whether this is the long version."""
    return rounds() > 1


def on(kind: LedgerKind, *rest: Any) -> Any:
    """Return one set of parameters, the ledger kind first, marked with what it needs."""
    marks = [pytest.mark.tigerbeetle] if kind == "tigerbeetle" else []
    return pytest.param(kind, *rest, marks=marks) if rest else pytest.param(kind, marks=marks)


def kinds() -> list[Any]:
    """Return the ledger kinds for tests that have little to do with the ledger."""
    return [on("postgres"), on("tigerbeetle")] if is_long() else [on("postgres")]
