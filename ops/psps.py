"""PSPs as operators handle them: registered with what their adapters promise, paused, resumed, listed.

The database holds every decision; Redis is told at once, and by the orchestrators should it not have heard. This
module must never lift a pause that nobody asked to lift, and never mark a slot whose mark was lost.
"""

import importlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from redis.asyncio import Redis

from ops.audit import audit
from ops.refusals import Refused
from ops.rules.change import recorded
from ops.rules.difference import Edit
from ops.statements import statement
from ops.stores import OpenStores
from orchestrator.accounts import OpenAccounts, open_accounts
from shared.accounts import parse_account
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import BadInput, OutcomeUnknown, Transient
from shared.ledger.mesh_mark import TickingLedger
from shared.mesh import psp_marked, verify
from shared.psp import BadManifest, Manifest, agreement, check_manifest, read_manifest, write_manifest
from shared.settlement.layout import Layout, check_layout, write_layout
from shared.streams import control
from shared.streams.breaker import BreakerState, read_breaker
from shared.streams.client import server
from shared.streams.control import WHOLE_PSP

_OPENED_BY: Final = "paymesh"


@dataclass(frozen=True, slots=True)
class Registered:
    """What a registration did."""

    psp: str
    version: int
    changed: bool
    """The manifest is new, or says something else than before."""
    routes: tuple[str, ...]
    """Operation types that had no route to the channel, and have one now."""
    accounts: tuple[str, ...]
    """The house's accounts that its money needs; open now, if they were not."""


@dataclass(frozen=True, slots=True)
class PspRow:
    """A PSP as operators see it."""

    psp: str
    version: int
    channel: str
    operations: dict[str, str]
    """Operation type → ``out THB``; empty where the stored manifest makes no sense."""
    submit_fence: str
    paused: list[dict[str, Any]]
    breaker: BreakerState | None
    """None: Redis did not say."""
    unsent: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Switched:
    """What became of a pause, or of its end."""

    psp: str
    operation: str
    changed: bool
    """It was not so before."""
    told: bool
    """Redis has it; otherwise the orchestrators tell it as soon as it answers."""


def find_manifest(name: str) -> Manifest:
    """Return the manifest of an adapter, by the name of its folder or of a module that holds a MANIFEST.

    A name with a number behind it, such as ``ipps2``, is another agreement with the same PSP.

    Raises:
        BadInput: there is no such module, or it promises too little.
    """
    folder = name.rstrip("0123456789")
    module = name if "." in name else f"adapters.{folder}.manifest"
    if not all(part.isidentifier() for part in module.split(".")):
        raise BadInput(f"{name} is no adapter's name", code="unknown_adapter")
    try:
        found = importlib.import_module(module).MANIFEST
    except ModuleNotFoundError as error:
        raise BadInput(f"there is no module {error.name}", code="unknown_adapter") from None
    except AttributeError:
        raise BadInput(f"{module} holds no MANIFEST", code="unknown_adapter") from None
    if not isinstance(found, Manifest):
        raise BadInput(f"{module}.MANIFEST is no manifest", code="unknown_adapter")
    return check_manifest(found if "." in name else agreement(found, name))


def find_layout(name: str) -> Layout | None:
    """Return how the settlement files of an adapter's PSP are laid out; None where it has no `settlement_file`.

    Another agreement with the same PSP, such as ``ipps2``, has files of its own, laid out alike.

    Raises:
        BadInput: the layout is another PSP's or none, or it contradicts itself.
    """
    folder = name.rstrip("0123456789")
    package = name.rpartition(".")[0] if "." in name else f"adapters.{folder}"
    module = f"{package}.settlement_file"
    try:
        found = getattr(importlib.import_module(module), "SETTLEMENT", None)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        return None
    if not isinstance(found, Layout):
        raise BadInput(f"{module} holds no SETTLEMENT that is a layout", code="bad_layout")
    return check_layout(found if "." in name or name == found.psp else replace(found, psp=name))


async def register(
    stores: OpenStores, manifest: Manifest, *, actor: str, settlement: Layout | None = None
) -> Registered:
    """Register a PSP, or what it promises by now; safe to repeat and to interrupt.

    Raises:
        BadManifest: it promises too little.
        BadInput: the settlement files are another PSP's.
        StoreMismatch: the stores do not belong together, or Redis has lost the mark of the PSP's slot.
        Transient, OutcomeUnknown: a store is out of reach; register again.
    """
    check_manifest(manifest)
    if settlement is not None and check_layout(settlement).psp != manifest.psp:
        raise BadInput(f"{manifest.psp} does not settle by files of {settlement.psp}", code="bad_layout")
    ledger, pool = stores.ledger(), stores.pool
    mark = TickingLedger(ledger)
    await verify(pool=pool, redis=stores.redis, ledger=mark, ledger_kind=stores.settings.ledger_kind)
    accounts = [parse_account(name) for name in accounts_of(manifest)]
    known = OpenAccounts(pool=pool)
    await open_accounts(ledger, pool, known, [(account, _OPENED_BY) for account in accounts])
    # Last, in one transaction: whoever sees the PSP finds its mark, its accounts and its routes.
    text, rules = write_manifest(manifest), manifest.operations
    async with psp_marked(pool=pool, redis=stores.redis, psp=manifest.psp) as connection:
        layout = None if settlement is None else write_layout(settlement)
        version = await connection.fetchval(statement("upsert_psp"), manifest.psp, text, layout)
        currencies = [each.currency for each in rules.values()]
        added = await connection.fetch(statement("add_routes"), list(rules), currencies, manifest.channel)
        routes = tuple(sorted(row["operation_type"] for row in added))
        if version is not None or routes:
            detail = {"version": version, "routes": routes}
            await audit(connection, actor=actor, action="psp.register", target=manifest.psp, detail=detail)
        stands = await connection.fetchval("SELECT version FROM pm.psp WHERE psp = $1", manifest.psp)
    return Registered(manifest.psp, stands, version is not None, routes, tuple(account.name for account in accounts))


def accounts_of(manifest: Manifest) -> list[str]:
    """Name the house's accounts that a PSP's money needs; the transit accounts open along with them."""
    currencies = sorted({rules.currency for rules in manifest.operations.values()})
    return [f"{kind}:{manifest.psp}:{code}" for code in currencies for kind in ("psp", "suspense")]


async def pause(pool: Pool, redis: Redis, *, psp: str, operation: str, reason: str, actor: str) -> Switched:
    """Pause an operation of a PSP, or `WHOLE_PSP`; effective within a second.

    Raises:
        BadInput: no such PSP, or no such operation of it; no reason.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    _check_reason(reason)
    with database():
        async with (
            pool.acquire() as connection,
            connection.transaction(),
            recorded(connection, "switch", f"{psp}:{operation}", actor=actor, reason=reason) as under_way,
        ):
            before = under_way.live.get(("switch", f"{psp}:{operation}"))
            made = await connection.fetchrow(statement("pause_psp"), psp, operation, reason, actor)
            if made is None:
                raise Refused(_unknown(psp, operation), code="unknown_psp")
            await audit(connection, actor=actor, action="psp.pause", target=f"{psp} {operation}", reason=reason)
    try:
        with server():
            who = "_".join(made["paused_by"].split())
            await control.pause(redis, psp, operation, who=who, at_ms=made["paused_ms"])
    except (Transient, OutcomeUnknown):
        return Switched(psp, operation, before is None, told=False)
    return Switched(psp, operation, before is None, told=True)


async def resume(pool: Pool, redis: Redis, *, psp: str, operation: str, reason: str, actor: str) -> Switched:
    """Take one pause back; others of the same PSP stay.

    Raises:
        BadInput: no such PSP; no reason.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    _check_reason(reason)
    with database():
        async with (
            pool.acquire() as connection,
            connection.transaction(),
            recorded(connection, "switch", f"{psp}:{operation}", actor=actor, reason=reason),
        ):
            if await connection.fetchval("SELECT 1 FROM pm.psp WHERE psp = $1", psp) is None:
                raise Refused(_unknown(psp, WHOLE_PSP), code="unknown_psp")
            ended = await connection.fetchval(
                "DELETE FROM pm.psp_control WHERE psp = $1 AND operation = $2 RETURNING 1", psp, operation
            )
            if ended is not None:
                await audit(connection, actor=actor, action="psp.resume", target=f"{psp} {operation}", reason=reason)
    try:
        with server():
            await control.resume(redis, psp, operation)
    except (Transient, OutcomeUnknown):
        return Switched(psp, operation, ended is not None, told=False)
    return Switched(psp, operation, ended is not None, told=True)


async def tell_switches(pool: Pool, redis: Redis, edits: Iterable[Edit]) -> bool:
    """Tell Redis at once of the switches among edits that are in force; say whether it has heard."""
    switches = [edit for edit in edits if edit.kind == "switch"]
    try:
        for edit in switches:
            psp, _, operation = edit.name.partition(":")
            with database():
                row = await pool.fetchrow(statement("read_pause"), psp, operation)
            with server():
                if row is None:
                    await control.resume(redis, psp, operation)
                else:
                    who = "_".join(row["paused_by"].split())
                    await control.pause(redis, psp, operation, who=who, at_ms=row["paused_ms"])
    except (Transient, OutcomeUnknown):
        return False
    return True


async def list_psps(pool: Pool, redis: Redis) -> list[PspRow]:
    """Return the registered PSPs, what they offer, and how they are just now, as far as Redis says.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        rows = await pool.fetch(statement("list_psps"))
    breakers: list[BreakerState | None]
    try:
        with server():
            breakers = [(await read_breaker(redis, row["psp"])).state for row in rows]
    except (Transient, OutcomeUnknown):
        breakers = [None] * len(rows)
    return [_row(row, breaker) for row, breaker in zip(rows, breakers, strict=True)]


def _row(row: Any, breaker: BreakerState | None) -> PspRow:
    paused: Sequence[dict[str, Any]] = json.loads(row["paused"])
    channel, fence, operations = "?", "?", {}
    try:
        manifest = read_manifest(row["manifest"])
    except BadManifest as error:
        fence = str(error)
    else:
        channel, fence = manifest.channel, str(manifest.submit_fence.kind)
        operations = {name: f"{rules.direction} {rules.currency}" for name, rules in manifest.operations.items()}
    return PspRow(
        psp=row["psp"],
        version=row["version"],
        channel=channel,
        operations=operations,
        submit_fence=fence,
        paused=list(paused),
        breaker=breaker,
        unsent=row["unsent"],
        updated_at=row["updated_at"],
    )


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise BadInput("say why: --reason", code="no_reason")


def _unknown(psp: str, operation: str) -> str:
    what = "" if operation == WHOLE_PSP else f", or it offers no {operation}"
    return f"{psp} is not registered{what}; see `paymesh psp list`"
