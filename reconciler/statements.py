"""The SQL of the reconciler, kept in `reconciler/sql` and read when it is first used."""

from functools import cache
from importlib.resources import files


@cache
def statement(name: str) -> str:
    """Return the text of ``reconciler/sql/<name>.sql``."""
    return files("reconciler").joinpath(f"sql/{name}.sql").read_text()
