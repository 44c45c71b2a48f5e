"""The SQL of operations, kept in `ops/sql` and read when it is first used."""

from functools import cache
from pathlib import Path


@cache
def statement(name: str) -> str:
    """Return the text of ``ops/sql/<name>.sql``."""
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_text()
