"""How tests look at the invariants: everything, at once, and what does not hold."""

from ops.invariants.findings import Check, Report
from ops.invariants.run import check_invariants
from tests.integration.ops.conftest import Mesh


async def look(mesh: Mesh, *, nothing_open: bool = False, allow_alerts: bool = False) -> Report:
    """Check everything."""
    return await check_invariants(
        ledger=mesh.ledger,
        pool=mesh.pool,
        redis=mesh.redis,
        begin=lambda _title, _total: lambda _count: None,
        nothing_open=nothing_open,
        allow_alerts=allow_alerts,
    )


def broken(report: Report) -> dict[str, Check]:
    """The checks that do not hold."""
    return {check.name: check for check in report.checks if not check.holds}


def details(report: Report, name: str) -> list[str]:
    """What one check complains of."""
    return [violation.detail for check in report.checks if check.name == name for violation in check.violations]
