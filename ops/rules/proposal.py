"""Proposals: what a document would change in a mesh, looked at first, then carried out as it was shown or not at all.

This module must never carry out what has not been validated, or what was shown on top of a state that is gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.audit import Connection
from ops.refusals import Refused
from ops.rules import change
from ops.rules.change import FOUND_BY, bodies, changed_meanwhile, check_reason, read_live, read_recorded
from ops.rules.difference import Edit, Key, edits_between
from ops.rules.documents import Document, document_of, write_document
from ops.rules.entries import SECTIONS, Body
from ops.rules.facts import Facts, load_facts
from ops.rules.findings import Finding, refuse_faults
from ops.rules.validation import accounts_named, validate
from ops.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool

ROLLED_BACK: tuple[str, ...] = ("business", "fees", "limits", "velocity", "routes")
"""The sections that a rollback speaks of unless it is told others: it must never lift a pause that nobody meant."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a document would change.

    Attributes:
        document: what is to be in force.
        before: what was in force when this was made, of the document's kinds.
        edits: what leads from the one to the other.
        warnings: what is worth a second look.
        undoes: for a rollback, the change after which everything was taken back.
    """

    document: Document
    before: Mapping[Key, Body]
    edits: Sequence[Edit]
    warnings: Sequence[Finding]
    undoes: int | None = None


async def propose(pool: Pool, document: Document, *, file: str | None = None) -> Proposal:
    """Say what a document would change.

    Raises:
        RulesRefused: with everything that is wrong with it.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            known = await _known(connection, document)
    return _proposal(document, known, file=file, undoes=None)


async def propose_rollback(pool: Pool, target: int | None, sections: Sequence[str]) -> Proposal:
    """Say what it would change to go back to the state right after a change, or to undo the last one.

    Raises:
        Refused: there is no such change, or nothing to undo.
        RulesRefused: what was in force then is not allowed any more.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    kinds = [SECTIONS[section][0] for section in sections]
    with database():
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            live = bodies(await read_live(connection, kinds))
            if target is None:
                wanted, undoes = await _before_last(connection, kinds, live)
            else:
                if await connection.fetchval("SELECT 1 FROM pm.rule_change WHERE id = $1", target) is None:
                    raise Refused(f"there is no change {target}; see `paymesh rules history`", code="unknown_change")
                recorded = await read_recorded(connection, kinds, target)
                wanted, undoes = {key: held.body for key, held in recorded.items() if held is not None}, target
            document = document_of(
                {
                    section: [(name, body) for (kind, name), body in sorted(wanted.items()) if kind == of]
                    for section, of in zip(sections, kinds, strict=True)
                }
            )
            known = await _known(connection, document)
    return _proposal(document, known, file=None, undoes=undoes)


async def carry_out(pool: Pool, proposal: Proposal, *, actor: str, reason: str) -> int:
    """Put a proposal into force, in one transaction; return the number of the change.

    Raises:
        Refused: the rules were changed since it was made.
        BadInput: no reason.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    check_reason(reason)
    action = "rules.apply" if proposal.undoes is None else "rules.rollback"
    with database():
        async with pool.acquire() as connection, connection.transaction():
            under_way = await change.begin(connection)
            kinds = _kinds(proposal.document)
            now = {key: body for key, body in bodies(under_way.live).items() if key[0] in kinds}
            if now != proposal.before:
                raise changed_meanwhile()
            return await change.make(
                under_way, proposal.edits, actor=actor, reason=reason, action=action, undoes=proposal.undoes
            )


async def export(pool: Pool, sections: Sequence[str]) -> str:
    """Return what is in force as a document that `propose` takes back without an edit.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    kinds = {section: SECTIONS[section][0] for section in sections}
    with database():
        async with pool.acquire() as connection:
            live = bodies(await read_live(connection, kinds.values()))
    return write_document(
        {section: [(name, body) for (kind, name), body in live.items() if kind == of] for section, of in kinds.items()}
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """What a mesh says of a document: read in one transaction, which is over before anything is tried."""

    facts: Facts
    before: Mapping[Key, Body]


async def _known(connection: Connection, document: Document) -> _Known:
    facts = await load_facts(connection, accounts_named(document))
    return _Known(facts, bodies(await read_live(connection, _kinds(document))))


def _proposal(document: Document, known: _Known, *, file: str | None, undoes: int | None) -> Proposal:
    warnings = refuse_faults(validate(document, known.facts), file)
    # A key is never removed: one that the document does not name stays as it is.
    after = {key: body for key, body in known.before.items() if key[0] == "key"}
    after |= {(placed.kind, placed.name): placed.entry.body() for each in document.sections.values() for placed in each}
    return Proposal(document, known.before, edits_between(known.before, after), warnings, undoes)


async def _before_last(
    connection: Connection, kinds: Sequence[str], live: Mapping[Key, Body]
) -> tuple[dict[Key, Body], int]:
    """Return what is in force, but for what the last change touched: that as it was before."""
    last = await connection.fetchrow(statement("rules/last_change"), kinds, FOUND_BY)
    if last is None:
        raise Refused("there is no change to undo", code="nothing_to_undo")
    touched = await connection.fetch(
        "SELECT kind, name FROM pm.rule_version WHERE change_id = $1 AND kind = ANY ($2)", last["id"], kinds
    )
    recorded = await read_recorded(connection, kinds, last["before"] or 0)
    wanted = dict(live)
    for key in ((row["kind"], row["name"]) for row in touched):
        held = recorded.get(key)
        if held is None:
            wanted.pop(key, None)
        else:
            wanted[key] = held.body
    return wanted, last["before"] or 0


def _kinds(document: Document) -> list[str]:
    return [SECTIONS[section][0] for section in document.sections]
