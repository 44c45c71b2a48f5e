"""A report as JSON and as CSV: the same bytes for the same report. Pure.

JSON is what is kept and hashed. CSV is one table of everything for spreadsheets: a line's `section` says which columns
it fills, by the names that JSON has for them; amounts are minor units, `exponent` says where their point goes.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from reconciler.reports.contents import (
    FORMAT,
    Balance,
    Check,
    FeeTotal,
    OperationTotal,
    Period,
    PspTotal,
    Report,
    Trend,
)
from reconciler.reports.standing import OpenBreaks, OpenIntents

_SECTIONS: Final[dict[str, Any]] = {
    "period": Period,
    "balances": Balance,
    "operations": OperationTotal,
    "psps": PspTotal,
    "fees": FeeTotal,
    "trend": Trend,
    "open_intents": OpenIntents,
    "open_breaks": OpenBreaks,
    "checks": Check,
}
"""The sections, in the order of the table, and what a line of each is."""
COLUMNS: Final = (
    "section",
    *dict.fromkeys(name for line in _SECTIONS.values() for name in line.__dataclass_fields__),
    "exponent",
)


def write_json(report: Report) -> str:
    """Return the report as JSON."""
    return json.dumps({"format": FORMAT, **asdict(report)}, indent=1, ensure_ascii=False) + "\n"


def sha256(body: str) -> str:
    """Return the SHA-256 of a report's JSON, in hex."""
    return hashlib.sha256(body.encode()).hexdigest()


def write_csv(report: Report) -> str:
    """Return the report as CSV by RFC 4180; a figure that nobody noted is left out, with its section."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for section, line in _lines(report):
        exponent = report.exponents.get(line.get("currency", ""), "")
        writer.writerow({"section": section, **{name: _cell(value) for name, value in line.items()},
                         "exponent": exponent})  # fmt: skip
    return out.getvalue()


def _lines(report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for section, value in asdict(report).items():
        if section in _SECTIONS and value is not None:
            for line in [value] if section == "period" else value:
                yield section, line


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value
