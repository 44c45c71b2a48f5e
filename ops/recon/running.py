"""Runs of reconciliation from the command line: what is new, all there is, and the read model made anew.

This module must never move money; it opens and closes breaks, and writes the read model where it is told to.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

from ops.audit import audit
from ops.recon.breaks import Found, list_breaks
from ops.stores import OpenStores
from reconciler.full import run_to_the_end, walk_everything
from reconciler.rebuild import Rebuilt, rebuild
from reconciler.reconcile import Pace, Reconciliation
from reconciler.status import Status, read_status
from shared.db.failures import database
from shared.errors import Transient

PAGES_MAX: Final = 1000

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run came to, and which breaks are open after it."""

    walked: dict[str, int]
    looked_again: int
    opened: int
    closed: int
    still_suspect: int
    open_total: int
    open_breaks: list[Found]


def pace_of(*, settle_s: float, grace_s: float) -> Pace:
    """Return the pace of a person who waits: all of the time, everything open looked at again."""
    return Pace(settle_s=settle_s, grace_s=grace_s, pages_max=PAGES_MAX, share=1.0, stale_s=0.0)


async def run_now(stores: OpenStores, pace: Pace, *, full: bool, progress: Progress) -> Ran:
    """Compare what is new, or everything, and wait for what differed to be looked at again.

    Raises:
        Transient: another reconciler has been at it all the time.
        OutcomeUnknown: a store was out of reach; run again.
    """
    ledger, pool = stores.ledger(), stores.pool
    reconciler = Reconciliation(ledger=ledger, pool=pool, pace=pace)
    walked: dict[str, int] = {}
    if full:
        walked = await walk_everything(reconciler, ledger=ledger, pool=pool, grace_s=pace.grace_s, progress=progress)
    found = await run_to_the_end(reconciler, pool, progress=progress)
    if found is None:
        raise Transient("another reconciler is at work all the time; see `paymesh recon status`", code="not_alone")
    status = await read_status(pool, reconciler.walks)
    return Ran(
        walked=found.walked | walked,
        looked_again=found.suspects,
        opened=found.opened,
        closed=found.closed,
        still_suspect=status.suspects,
        open_total=status.open_total,
        open_breaks=await list_breaks(pool),
    )


async def status_now(stores: OpenStores) -> Status:
    """Look how reconciliation stands.

    Raises:
        Transient, OutcomeUnknown: a store is out of reach.
    """
    reconciler = Reconciliation(ledger=stores.ledger(), pool=stores.pool, pace=Pace())
    return await read_status(stores.pool, reconciler.walks)


async def rebuild_now(stores: OpenStores, *, mend: bool, actor: str, reason: str, progress: Progress) -> Rebuilt:
    """Compare the read model with what it should be; with `mend`, make it so, on record, and prove it.

    Raises:
        Transient, OutcomeUnknown: a store was out of reach; begin again.
    """
    done = await rebuild(stores.ledger(), stores.pool, mend=mend, progress=progress)
    if mend:
        with database():
            async with stores.pool.acquire() as connection, connection.transaction():
                await audit(
                    connection, actor=actor, action="recon.rebuild", target="read model", reason=reason,
                    detail=asdict(done),
                )  # fmt: skip
    return done
