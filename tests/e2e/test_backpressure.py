"""With the adapter away, jobs pile up to a bound and no further, and none is lost: all settle once it is back.

`make test` posts 3,000 withdrawals, `make backpressure` 50,000 on servers that are durable.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from ops.embedded.stack import LedgerChoice
from tests.e2e.pressure import SCALE_VARIABLE, Bounds, Mesh, Watch, funded_minor, jobs_under_way, pressed_mesh
from tests.e2e.withdrawals import Posted, amount_of, post_all
from tests.waiting import until

_OPEN = ("VALIDATED", "AUTHORIZED", "IN_DOUBT")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is posted, and what may pile up."""

    withdrawals: int
    clients: int
    per_s: int
    """Posted a second; what is looked at twice a second is exceeded by as much as arrives between two looks."""
    bounds: Bounds
    ledger: LedgerChoice
    durable: bool
    settle_s: float
    """How long anything may take."""


_AGAIN = 20
_BRIEF = Scale(3_000, 16, 600, Bounds(500, 1_000, 1_500), "postgres", durable=False, settle_s=60)
_WHOLE = Scale(50_000, 64, 2_000, Bounds(10_000, 25_000, 30_000), "auto", durable=True, settle_s=2_400)
_SCALE = _WHOLE if os.environ.get(SCALE_VARIABLE) == "whole" else _BRIEF


@pytest.mark.slow
async def test_jobs_pile_up_to_their_bound_and_every_one_settles_when_the_adapter_is_back() -> None:
    """What is over the bounds is refused at the door before its key is bound; nothing is trimmed or paid twice."""
    figures: dict[str, object] = {"posted": _SCALE.withdrawals}
    watch, stop = Watch(), asyncio.Event()
    async with pressed_mesh(_SCALE.bounds, ledger=_SCALE.ledger, durable=_SCALE.durable) as mesh:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch.run(mesh.stores, _SCALE.bounds, (*mesh.stack.servers, *mesh.stack.services), stop))
            try:
                posted = await _pile_up(mesh, watch, figures)
                await _settle(mesh, figures)
            finally:
                stop.set()
        figures |= {"looks": watch.looks, "most in stream": watch.submissions, "with questions": watch.jobs}
        figures |= {"most in outbox": watch.unsent, "questions": await mesh.questions(), "memory MiB": watch.memory_mib}
        sys.stdout.write(json.dumps(figures, indent=1) + "\n")
        assert watch.submissions == _SCALE.bounds.jobs_max
        await _agree(mesh, posted)
        await _refused_keys_are_free(mesh, posted)


async def _pile_up(mesh: Mesh, watch: Watch, figures: dict[str, object]) -> Posted:
    """Post everything; the stream ends up full, the outbox takes the rest, and the door is shut."""
    began = time.monotonic()
    posted = await post_all(mesh.door, range(_SCALE.withdrawals), clients=_SCALE.clients, per_s=_SCALE.per_s)
    figures["posting s"] = round(time.monotonic() - began, 1)
    await until(mesh.accepted_are_planned, "an end of the intents streams", timeout_s=_SCALE.settle_s)
    states, bounds = await mesh.states(), _SCALE.bounds
    rejected = states.pop("REJECTED psp_unavailable", 0)
    assert set(states) == {"AUTHORIZED"}
    await until(lambda: _jobs_are(mesh, bounds.jobs_max), "a full stream")
    unsent = await mesh.unsent()
    figures |= {"in stream": bounds.jobs_max, "in outbox": unsent, "rejected": rejected}
    figures |= {"refused with 503": len(posted.refused), "busy": posted.busy}
    assert posted.refused
    assert len(posted.accepted) + len(posted.refused) == _SCALE.withdrawals
    assert states["AUTHORIZED"] + rejected == len(posted.accepted)
    assert bounds.jobs_max + unsent == states["AUTHORIZED"]
    assert unsent > bounds.door_max
    assert watch.jobs == bounds.jobs_max
    return posted


async def _jobs_are(mesh: Mesh, count: int) -> bool:
    return await jobs_under_way(mesh.stores.redis) == count


async def _settle(mesh: Mesh, figures: dict[str, object]) -> None:
    began = time.monotonic()
    mesh.adapter.start()
    await until(lambda: _all_decided(mesh), "the end of every withdrawal", timeout_s=_SCALE.settle_s)
    figures["settling s"] = round(time.monotonic() - began, 1)


async def _all_decided(mesh: Mesh) -> bool:
    return not any(state.startswith(_OPEN) for state in await mesh.states())


async def _agree(mesh: Mesh, posted: Posted) -> None:
    """Hold what was accepted against the database, the PSP's books and the ledger."""
    rows = await mesh.stores.pool.fetch(
        "SELECT id::text AS id, state, error_code FROM pm.intent WHERE operation_type = 'IPPS_WITHDRAWAL'"
    )
    found = {row["id"]: (row["state"], row["error_code"]) for row in rows}
    assert found.keys() == set(posted.accepted.values())
    assert set(found.values()) <= {("SETTLED", None), ("REJECTED", "psp_unavailable")}
    due = Counter(amount_of(number) for number, intent in posted.accepted.items() if found[intent][0] == "SETTLED")
    assert Counter(await mesh.paid()) == due, "each withdrawal in the PSP's books, once"
    assert await mesh.paid_by_ledger() == sum(due.elements())
    assert await mesh.left_in_wallets() == funded_minor() - sum(due.elements())
    await until(lambda: _jobs_are(mesh, 0), "the last answer to a question", timeout_s=_SCALE.settle_s)
    assert await mesh.dead_letters() == 0
    report = await mesh.report()
    assert report.ok, report


async def _refused_keys_are_free(mesh: Mesh, posted: Posted) -> None:
    """Post other withdrawals under keys that were refused: a key that had been bound would refuse them for ever."""
    again = await post_all(mesh.door, posted.refused[:_AGAIN], clients=4, per_s=_SCALE.per_s, more_minor=1_000_000)
    assert len(again.accepted) == _AGAIN
    await until(lambda: _all_decided(mesh), "the end of those posted again", timeout_s=30)
    assert set(await mesh.states()) <= {"SETTLED", "REJECTED psp_unavailable"}
