"""Every scenario, undisturbed and under kills and pauses, for a PSP of each fence."""

from pathlib import Path

import pytest

from shared.psp import FenceKind
from tests.databases import Databases
from tests.matrix.run import play
from tests.matrix.scenarios import PAYOUTS, TOPUPS
from tests.matrix.stack import Strike, running_stack


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("fence", list(FenceKind))
async def test_every_scenario_ends_where_it_should_if_nobody_is_disturbed(
    databases: Databases, valkey_server: str, tmp_path: Path, fence: FenceKind
) -> None:
    """The sandboxes' books, the ledger and the database agree."""
    await judge(databases, valkey_server, tmp_path, fence, None)


async def judge(
    databases: Databases, valkey_server: str, folder: Path, fence: FenceKind, strike: Strike | None
) -> None:
    """Play one run on a stack of its own, print its table, and fail unless all books agree."""
    database = databases.fresh()
    redis_url = valkey_server.removesuffix("/0") + "/1"
    async with running_stack(folder, database_url=database, redis_url=redis_url, fence=fence) as stack:
        verdict = await play(stack, PAYOUTS, TOPUPS, strike)
    print(f"{fence}, {strike or 'undisturbed'}\n{verdict.table()}")  # noqa: T201 - what a failing run has to say
    assert not verdict.all_faults


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("fence", list(FenceKind))
@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("step", ["permit_taken", "before_send", "request_sent", "answer_received", "before_append"])
async def test_struck(
    databases: Databases, valkey_server: str, tmp_path: Path, fence: FenceKind, how: str, step: str
) -> None:
    """Struck."""
    await judge(databases, valkey_server, tmp_path, fence, Strike(step, how))
