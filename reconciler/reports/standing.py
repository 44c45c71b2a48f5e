"""What was open at a moment: intents by state, breaks by age. Figures only; nobody is named.

It follows the database's clock, and events that were written since are read back. Taken once, when a day is closed, it
is kept with the day: it would cost more with every day that passes, and tell the same.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from reconciler.reports.statements import Connection, statement

INTERNAL: str = ""
"""The PSP of what goes through none."""


@dataclass(frozen=True, slots=True)
class OpenIntents:
    """Intents that were open, of one state and operation; `oldest_at` is when the oldest was accepted."""

    state: str
    operation_type: str
    psp: str
    currency: str
    intents: int
    amount_minor: int
    oldest_at: str


@dataclass(frozen=True, slots=True)
class OpenBreaks:
    """Breaks that were open, of one kind and age: at least `age_days_min` days, and less than the next step.

    `delta_minor` adds up by how much money their sides differ, whichever way; None where that is no number.
    """

    severity: str
    kind: str
    psp: str
    currency: str
    age_days_min: int
    breaks: int
    delta_minor: int | None


AGES_DAYS = (0, 1, 3, 7, 30)
"""Where the steps of age begin."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What was open at a moment."""

    intents: tuple[OpenIntents, ...] = ()
    breaks: tuple[OpenBreaks, ...] = ()


async def look(connection: Connection, at: datetime) -> Standing:
    """Return what was open at a moment that has passed, or stands now."""
    intents = await connection.fetch(statement("standing_intents"), at)
    breaks = await connection.fetch(statement("standing_breaks"), at)
    return Standing(
        tuple(
            OpenIntents(
                row["state"], row["operation_type"], psp_of(row["channel"]), row["currency"], row["intents"],
                int(row["amount_minor"]), written(row["oldest_at"]),
            )
            for row in intents
        ),
        tuple(
            OpenBreaks(
                row["severity"], row["kind"], row["psp"] or INTERNAL, row["currency"] or "", row["age_days_min"],
                row["breaks"], None if row["delta_minor"] is None else int(row["delta_minor"]),
            )
            for row in breaks
        ),
    )  # fmt: skip


def psp_of(channel: str) -> str:
    """Return the PSP behind a channel, which is its id in capitals; `INTERNAL` for channels of the house."""
    return INTERNAL if channel.startswith("INTERNAL_") else channel.lower()


def written(moment: datetime) -> str:
    """Write a moment in UTC, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def write_standing(standing: Standing) -> str:
    """Return it as the JSON text to store."""
    return json.dumps(asdict(standing), separators=(",", ":"))


def read_standing(text: str | None) -> Standing | None:
    """Read what `write_standing` wrote; None where nothing could be told."""
    if text is None:
        return None
    stored: dict[str, Any] = json.loads(text)
    return Standing(
        tuple(OpenIntents(**one) for one in stored["intents"]), tuple(OpenBreaks(**one) for one in stored["breaks"])
    )
