"""A fresh PostgreSQL database per test, cloned from a template that has been migrated once.

One thread with an event loop of its own holds the administrator's connection, so that a test's loop, which ends with
the test, never touches it. The next clone is made while the present test runs.
"""

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import asyncpg

from shared.db.migrations import migrate

T = TypeVar("T")

_TEMPLATE = "paymesh_template"
_TIMEOUT_S = 60.0


class Databases:
    """Clones of the migrated template; `url_of` turns a database's name into its URL."""

    def __init__(self, url_of: Callable[[str], str]) -> None:
        self._url_of = url_of
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-databases", daemon=True)
        self._thread.start()
        self._admin = self._wait(self._open())
        self._next = self._submit(self._clone())

    def fresh(self) -> str:
        """Return the URL of a database nobody has used."""
        name = self._next.result(_TIMEOUT_S)
        self._next = self._submit(self._clone())
        return self._url_of(name)

    def drop(self, url: str) -> None:
        """Drop a database in the background, whoever is still connected to it."""
        name = url.rpartition("/paymesh_test_")[2].partition("?")[0]
        self._submit(self._admin_execute(f"DROP DATABASE IF EXISTS paymesh_test_{name} WITH (FORCE)"))

    def close(self) -> None:
        """End the thread and its connection."""
        self._next.result(_TIMEOUT_S)
        self._wait(self._admin.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> "asyncpg.Connection[asyncpg.Record]":
        self._turn = asyncio.Lock()
        admin = await asyncpg.connect(self._url_of("postgres"))
        await admin.execute(f"CREATE DATABASE {_TEMPLATE}")
        await migrate(self._url_of(_TEMPLATE))
        return admin

    async def _clone(self) -> str:
        name = f"paymesh_test_{next(self._numbers)}"
        await self._admin_execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY FILE_COPY")
        return name

    async def _admin_execute(self, sql: str) -> None:
        async with self._turn:
            await self._admin.execute(sql)

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._submit(work).result(_TIMEOUT_S)
