"""The one way in which rules, routes, keys and switches change: locked, versioned, recorded, audited, or not at all.

Whoever changes something begins a `Change`, which locks out every other one until the transaction ends and first
records what was changed behind its back (by a registration, a migration, a hand), so that the record always tells the
whole story. Versions count on for ever, over removals too: a version names one text and no other. This module must
never write anything but what it was given; whether that makes sense has been decided before.
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from ops.audit import Connection, audit
from ops.key_changes import KeyChange, change_key
from ops.refusals import Refused
from ops.rules.difference import Edit, Held, Key, State, edits_between, text_of
from ops.rules.entries import SECTIONS, Body
from ops.statements import statement
from shared.errors import BadInput

KINDS: Final = tuple(kind for kind, _ in SECTIONS.values())
FOUND_BY: Final = "paymesh"
"""The actor of what was found: no person, whose name reads user@host."""
_FOUND: Final = "as found: changed by a registration, a migration or by hand"
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('pm.rule_change'))"
_TABLES: Final[Mapping[str, tuple[str, str]]] = {
    "fee": ("write_fees", "DELETE FROM pm.fee_rule WHERE name = ANY ($1)"),
    "limit": ("write_limits", "DELETE FROM pm.limit_rule WHERE name = ANY ($1)"),
    "velocity": ("write_velocity", "DELETE FROM pm.velocity_rule WHERE name = ANY ($1)"),
    "route": ("write_routes", "DELETE FROM pm.payment_route WHERE name = ANY ($1)"),
    "switch": ("write_switches", "DELETE FROM pm.psp_control WHERE psp || ':' || operation = ANY ($1)"),
    "business": ("write_business", ""),
}


@dataclass(frozen=True, slots=True)
class Change:
    """A change under way, in its transaction: what is in force, and the latest version of every name ever used."""

    connection: Connection
    live: State
    versions: Mapping[Key, int]


async def read_live(connection: Connection, kinds: Iterable[str] = KINDS) -> State:
    """Return what is in force."""
    rows = await connection.fetch(statement("rules/read_live"), list(kinds))
    return {(row["kind"], row["name"]): Held(_ordered(json.loads(row["body"])), row["version"]) for row in rows}


async def read_recorded(connection: Connection, kinds: Iterable[str], change_id: int) -> dict[Key, Held | None]:
    """Return what the record says of every entry right after a change; None for what was removed by then."""
    rows = await connection.fetch(statement("rules/read_recorded"), list(kinds), change_id)
    return {
        (row["kind"], row["name"]): None if row["body"] is None else Held(json.loads(row["body"]), row["version"])
        for row in rows
    }


async def begin(connection: Connection) -> Change:
    """Lock out every other change, and record what was changed without one."""
    await connection.execute(_LOCK)
    live = await read_live(connection)
    rows = await connection.fetch(statement("rules/read_recorded"), list(KINDS), (1 << 63) - 1)
    recorded = {
        (row["kind"], row["name"]): json.loads(row["body"]) for row in rows if row["body"] is not None
    }  # fmt: skip
    versions = {(row["kind"], row["name"]): row["version"] for row in rows}
    change = Change(connection, live, versions)
    drifted = edits_between(recorded, bodies(live))
    if not drifted:
        return change
    # What nobody has recorded yet keeps the version that it is known by; plans may have pinned it.
    numbers = {
        (edit.kind, edit.name): max(versions.get((edit.kind, edit.name), 0) + 1, _version(live, edit))
        for edit in drifted
    }
    await _record(change, drifted, numbers, actor=FOUND_BY, reason=_FOUND, undoes=None)
    stale = [
        edit
        for edit in drifted
        if edit.after is not None and _version(live, edit) not in {0, numbers[edit.kind, edit.name]}
    ]
    await _write(change, stale, numbers, actor=FOUND_BY)
    return Change(connection, live, {**versions, **numbers})


async def make(
    change: Change, edits: Sequence[Edit], *, actor: str, reason: str, action: str, undoes: int | None = None
) -> int:
    """Put edits into force, record and audit them; return the number of the change."""
    numbers = _next(change, edits)
    await _write(change, edits, numbers, actor=actor)
    for edit in edits:
        if edit.kind == "key" and edit.after is not None:
            wanted = KeyChange(**{part: edit.after[part] for part in ("owner", "permissions", "disabled")})
            await change_key(change.connection, key=edit.name, change=wanted, actor=actor, reason=reason)
    number = await _record(change, edits, numbers, actor=actor, reason=reason, undoes=undoes)
    detail: dict[str, object] = {"entries": [f"{edit.sign} {edit.kind} {edit.name}" for edit in edits]}
    if undoes is not None:
        detail["undoes"] = undoes
    await audit(change.connection, actor=actor, action=action, target=f"change {number}", reason=reason, detail=detail)
    return number


@asynccontextmanager
async def recorded(connection: Connection, kind: str, name: str, *, actor: str, reason: str) -> AsyncIterator[Change]:
    """Record what the block does to an entry, and audits by itself; nothing, where nothing is different afterwards."""
    change = await begin(connection)
    yield change
    before, after = change.live.get((kind, name)), (await read_live(connection, [kind])).get((kind, name))
    edit = Edit(kind, name, before.body if before else None, after.body if after else None)
    if edit.before != edit.after:
        await _record(change, [edit], _next(change, [edit]), actor=actor, reason=reason, undoes=None)


def bodies(state: State) -> dict[Key, Body]:
    """Return what the entries of a state say."""
    return {key: held.body for key, held in state.items()}


def check_reason(reason: str) -> None:
    """Refuse a change that nobody gives a reason for.

    Raises:
        BadInput: there is none.
    """
    if not reason.strip():
        raise BadInput("say why: --reason", code="no_reason")


def changed_meanwhile() -> Refused:
    """Return the refusal of a change that was looked at before another one came first."""
    return Refused(
        "the rules were changed since this change was shown; look at it again", code="rules_changed_meanwhile"
    )


async def _record(
    change: Change,
    edits: Sequence[Edit],
    numbers: Mapping[Key, int],
    *,
    actor: str,
    reason: str,
    undoes: int | None,
) -> int:
    number: int = await change.connection.fetchval(
        "INSERT INTO pm.rule_change (actor, reason, undoes, diff) VALUES ($1, $2, $3, $4) RETURNING id",
        actor,
        reason,
        undoes,
        text_of(edits),
    )
    await change.connection.execute(
        statement("rules/insert_versions"),
        [edit.kind for edit in edits],
        [edit.name for edit in edits],
        [numbers[edit.kind, edit.name] for edit in edits],
        [None if edit.after is None else json.dumps(edit.after) for edit in edits],
        number,
    )
    return number


async def _write(change: Change, edits: Sequence[Edit], numbers: Mapping[Key, int], *, actor: str) -> None:
    for kind, (write, delete) in _TABLES.items():
        removed = sorted(edit.name for edit in edits if edit.kind == kind and edit.after is None)
        if removed and delete:
            await change.connection.execute(delete, removed)
        rows: list[dict[str, Any]] = [
            {**edit.after, "name": edit.name, "version": numbers[edit.kind, edit.name], "actor": actor}
            for edit in edits
            if edit.kind == kind and edit.after is not None
        ]
        if rows:
            await change.connection.execute(statement(f"rules/{write}"), json.dumps(rows))


def _next(change: Change, edits: Iterable[Edit]) -> dict[Key, int]:
    return {
        (edit.kind, edit.name): max(change.versions.get((edit.kind, edit.name), 0), _version(change.live, edit)) + 1
        for edit in edits
    }


def _version(state: State, edit: Edit) -> int:
    held = state.get((edit.kind, edit.name))
    return 0 if held is None or held.version is None else held.version


def _ordered(body: Body) -> Body:
    """Return a body with its sets in the order in which entries keep them."""
    return {
        name: sorted(value) if name in {"operations", "tags"} and isinstance(value, list) else value
        for name, value in body.items()
    }
