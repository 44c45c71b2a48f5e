"""The SQL of reports, kept in `reconciler/reports/sql` and read when it is first used."""

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from shared.db.pool import Pool

if TYPE_CHECKING:
    Connection = PoolConnectionProxy[asyncpg.Record] | Pool
else:
    Connection = PoolConnectionProxy


@cache
def statement(name: str) -> str:
    """Return the text of ``reconciler/reports/sql/<name>.sql``."""
    return files("reconciler.reports").joinpath(f"sql/{name}.sql").read_text()
