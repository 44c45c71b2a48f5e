"""Lines are weighed: with what is known of their payments they are judged, and breaks are opened and closed by it.

All of it happens in the caller's transaction: a line has its verdict if and only if its break is noted. This module
must never say anything to the orchestrator, and never change what is not about lines.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg

from reconciler.breaks import Break, Closing, Connection, close_breaks, open_breaks
from reconciler.kinds import BreakKind
from reconciler.settlement.judge import Judged, Seen, Verdict, judge
from reconciler.statements import statement
from shared.settlement.layout import Layout, Means
from shared.states import IntentState

AGAIN_S: Final = 3_600
"""How long after a word was said it is said again, if nothing has come of it."""
LINE_KINDS: Final = (
    BreakKind.PSP_UNKNOWN,
    BreakKind.AMOUNT_DIFFERS,
    BreakKind.FEE_DIFFERS,
    BreakKind.CURRENCY_DIFFERS,
    BreakKind.CONTRADICTS_TERMINAL,
)
_DIRECTIONS: Final = {"hold": "out", "credit": "in"}

Address = tuple[int, int]
"""A line: the file's number and its own."""


def subject_of(psp: str, line_key: str) -> str:
    """Name what a line is about: the same in whichever file it stands."""
    return f"{psp}:{line_key}"


async def weigh(connection: Connection, layout: Layout, lines: Sequence[Address]) -> Counter[Verdict]:
    """Judge lines and keep what became of them; return how many of each verdict there are."""
    if not lines:
        return Counter()
    files, numbers = zip(*sorted(lines), strict=True)
    rows = await connection.fetch(
        statement("settlement/read_context"), layout.psp, files, numbers, float(layout.deadlines.near_s)
    )
    judged = [(row, judge(_seen(row), layout.tolerances)) for row in rows]
    await connection.execute(
        statement("settlement/keep_verdicts"),
        [row["file_id"] for row, _ in judged],
        [row["line"] for row, _ in judged],
        [str(one.verdict) for _, one in judged],
        [_kept(row) for row, _ in judged],
        [row["by_what"] for row, _ in judged],
        float(AGAIN_S),
    )
    await open_breaks(connection, [_break(layout, row, one) for row, one in judged if one.kind is not None])
    await close_breaks(connection, [closing for row, one in judged for closing in _closings(layout, row, one)])
    return Counter(one.verdict for _, one in judged)


def evidence_of(row: Mapping[str, Any] | asyncpg.Record) -> dict[str, object]:
    """Return where a line stands: what everybody who doubts it may look up."""
    return {"file": row["file_name"], "line": row["line"], "sha256": row["sha256"]}


def _kept(row: asyncpg.Record) -> UUID | None:
    """Return the intent to keep with the line; one that only amount and time suggest is no match."""
    return None if row["by_what"] == "amount_time" else row["intent"]


def _seen(row: asyncpg.Record) -> Seen:
    return Seen(
        means=Means(row["means"]),
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        fee_minor=row["fee_minor"],
        transaction=row["psp_transaction_id"],
        matched_by=row["by_what"],
        is_whole=row["batch"] is not None and row["reference"] is None and row["psp_transaction_id"] is None,
        complete=row["complete"],
        whole=row["whole"],
        state=None if row["state"] is None or row["plan_kind"] is None else IntentState(row["state"]),
        direction=_DIRECTIONS.get(row["plan_kind"]),  # type: ignore[arg-type]  # one of two words
        current=row["current"],
        planned_minor=row["planned_minor"],
        planned_currency=row["planned_currency"],
        owner=row["owner"],
        intent=row["intent"],
        known_minor=row["known_minor"],
        known_currency=row["known_currency"],
        settled_by=row["settled_by"],
        reversed=row["reversed"],
        reversed_minor=None if row["reversed_minor"] is None else int(row["reversed_minor"]),
        lines_before=row["lines_before"],
        lines_paid=row["lines_paid"],
        lines_minor=int(row["lines_minor"]),
        members=row["members"],
        members_minor=int(row["members_minor"]),
        members_open=row["members_open"],
    )


def _break(layout: Layout, row: asyncpg.Record, one: Judged) -> Break:
    kind = one.kind or BreakKind.PSP_UNKNOWN
    return Break(
        kind=kind,
        subject=subject_of(layout.psp, row["line_key"]),
        sides=one.sides or {},
        psp=layout.psp,
        intent_id=row["intent"],
        delta_minor=one.delta_minor,
        currency=row["currency"],
        evidence=evidence_of(row) | {"reference": row["reference"], "psp_transaction_id": row["psp_transaction_id"]},
    )


def _closings(layout: Layout, row: asyncpg.Record, one: Judged) -> list[Closing]:
    """Return what ends of an earlier judgement: what differed then does so no more, or otherwise."""
    if row["verdict"] != Verdict.BREAKS:
        return []
    subject = subject_of(layout.psp, row["line_key"])
    reason = f"the line {'differs otherwise' if one.kind else f'{one.verdict} by now'}"
    kinds = [kind for kind in LINE_KINDS if kind is not one.kind]
    return [Closing(kind, subject, reason, evidence=evidence_of(row)) for kind in kinds]
