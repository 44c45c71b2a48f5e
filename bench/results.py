"""Results as files: one JSON document per run, named by its day and commit, to be compared later.

They are committed with the project, so this module must never write a host's name, a user's or a path.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from bench.options import Options
from bench.psp import PspRun
from bench.rates import RatesRun
from bench.summary import Round, Summary, summarise_psp, summarise_rates

VERSION: Final = 1
FOLDER: Final = Path(__file__).resolve().parent / "results"


def document(
    *,
    at: datetime,
    options: Options,
    ledger: str,
    facts: Mapping[str, Any],
    rounds: Sequence[Round] = (),
    summary: Summary | None = None,
    psp: PspRun | None = None,
    rates: RatesRun | None = None,
) -> dict[str, Any]:
    """Return a run as plain data; what was not measured is null."""
    return {
        "v": VERSION,
        "at": at.isoformat(timespec="seconds"),
        **facts,
        "ledger": ledger,
        "options": asdict(options),
        "summary": None if summary is None else asdict(summary),
        "psp": None if psp is None else {"summary": asdict(summarise_psp(psp)), **asdict(psp)},
        "rates": None if rates is None else {"summary": asdict(summarise_rates(rates)), **asdict(rates)},
        "rounds": [{pipeline: asdict(result) for pipeline, result in one.items()} for one in rounds],
    }


def write(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write a result beside earlier ones; a second one of the same day, commit and part takes the first one's place."""
    folder.mkdir(parents=True, exist_ok=True)
    day = str(result["at"])[:10]
    measured = [part for part in ("psp", "rates") if result[part] is not None]
    part = f"-{measured[0]}" if result["summary"] is None else ""
    path = folder / f"{day}-{result['commit']}{part}.json"
    path.write_text(json.dumps(_rounded(result), indent=1, ensure_ascii=False) + "\n")
    return path


def _rounded(value: Any) -> Any:
    """Return the value with figures rounded to what was measured."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, Mapping):
        return {str(key): _rounded(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(held) for held in value]
    return value
