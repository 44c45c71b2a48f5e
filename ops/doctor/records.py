"""What stands in the database: partitions ahead of time, PSPs that can be reached, alerts and breaks that are open."""

from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from ops.doctor.findings import Finding, critical, note, warning
from ops.statements import statement
from shared import intake
from shared.db.failures import database
from shared.db.pool import Pool
from shared.psp import BadManifest, read_manifest
from shared.streams.control import NEW_WORK, WHOLE_PSP

_PSQL: Final = 'psql "$DATABASE_URL" -c'
_TABLES: Final = ("intent", "intent_attempt", "intent_event", "tx_history")
_ENSURE: Final = f"{_PSQL} 'SELECT pm.ensure_partitions(now(), 4)'"


async def look_at_records(pool: Pool) -> list[Finding]:
    """Look at partitions, PSPs, alerts, breaks and whether the door is open.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    try:
        with database():
            return [
                *await _partitions(pool),
                *await _psps(pool),
                *await _alerts(pool),
                *await _breaks(pool),
                *(_closed(each) for each in await intake.closures(pool)),
            ]
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return []  # The migrations are pending, which is a finding of its own.


async def _partitions(pool: Pool) -> list[Finding]:
    found = []
    for row in await pool.fetch(statement("doctor/partitions")):
        if row["missing"]:
            detail = f"no partition for {', '.join(row['missing'])}: its rows fall into the default one"
            found.append(critical("postgres.partitions", f"pm.{row['parent']}", detail, _ENSURE))
    for table in _TABLES:
        if await pool.fetchval(f"SELECT EXISTS (SELECT FROM pm.{table}_default)"):  # noqa: S608 - names of ours
            detail = "holds rows that no month has taken: a partition was missing when they came"
            found.append(warning("postgres.default_partition", f"pm.{table}_default", detail, _ENSURE))
    return found


async def _psps(pool: Pool) -> list[Finding]:
    found: list[Finding] = []
    for row in await pool.fetch(statement("doctor/psps")):
        found += _psp_faults(row["psp"], row["manifest"], row["routes"], row["active"], row["paused"])
    return found


def _psp_faults(psp: str, text: str, routes: int, active: int, paused: Sequence[str]) -> list[Finding]:
    found: list[Finding] = []
    try:
        manifest = read_manifest(text)
    except BadManifest as error:
        return [critical("psps.manifest", psp, f"its manifest cannot be read: {error}", f"paymesh psp register {psp}")]
    if not routes:
        detail = f"no operation is routed to its channel {manifest.channel}"
        found.append(warning("psps.route", psp, detail, f"paymesh psp register {psp}"))
    elif not active:
        # To be read and typed by people.
        switch_on = f"UPDATE pm.payment_route SET active = true WHERE channel = '{manifest.channel}'"  # noqa: S608
        switch_on = f'{_PSQL} "{switch_on}"'
        found.append(warning("psps.route", psp, f"every route to {manifest.channel} is switched off", switch_on))
    for each in paused:
        operation = each.split(" ", 1)[0]
        mend = f"paymesh psp resume {psp} --reason …"
        if operation == NEW_WORK:
            mend = f"paymesh drain {psp} --reopen --confirm --reason …"
        elif operation != WHOLE_PSP:
            mend = f"{mend} --operation {operation}"
        found.append(note("psps.paused", psp, f"paused, {each}", mend))
    return found


async def _alerts(pool: Pool) -> list[Finding]:
    rows: list[Any] = await pool.fetch(statement("doctor/open_alerts"))
    return [
        critical(
            "alerts.open",
            row["kind"],
            f"{row['open']} critical alerts are open since {row['since']:%Y-%m-%d %H:%M}, such as {row['example']}",
            f"paymesh alerts list --kind {row['kind']}",
        )
        for row in rows
    ]


async def _breaks(pool: Pool) -> list[Finding]:
    rows: list[Any] = await pool.fetch(statement("doctor/open_breaks"))
    return [
        (warning if row["severity"] == "warning" else critical)(
            "recon.breaks",
            row["kind"],
            f"{row['open']} open since {row['since']:%Y-%m-%d %H:%M}, such as {row['example']}",
            f"paymesh recon breaks --kind {row['kind']}",
        )
        for row in rows
    ]


def _closed(closure: intake.Closure) -> Finding:
    detail = f"nothing new is accepted since {closure.since:%Y-%m-%d %H:%M}, by {closure.by}: {closure.reason}"
    if closure.why is intake.Why.RECOVER:
        return warning("mesh.intake", "recover", detail, "paymesh recover --watch")
    return warning("mesh.intake", "drain", detail, "paymesh drain --reopen --confirm --reason …")
