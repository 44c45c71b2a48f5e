"""What a failure of PostgreSQL says about the world: nothing happened, or it may have.

A statement that the server refused, or that never reached it, did nothing (`Transient`). A connection lost with a
statement under way may have committed (`OutcomeUnknown`); everything written here has deterministic keys and is
compared before it is set, so that doing it again is the way to ask. Anything else is a fault of ours and passes
through untouched.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from asyncpg import exceptions as pg

from shared.errors import OutcomeUnknown, PaymeshError, Transient

_NOTHING_HAPPENED = (
    pg.CannotConnectNowError,
    pg.TooManyConnectionsError,
    pg.DeadlockDetectedError,
    pg.SerializationError,
    pg.LockNotAvailableError,
    pg.QueryCanceledError,
    pg.ReadOnlySQLTransactionError,  # a standby: the primary has moved and our address has not
    pg.OutOfMemoryError,
    pg.DiskFullError,
    ConnectionRefusedError,
    FileNotFoundError,  # the unix socket is gone while the server restarts
    socket.gaierror,
)
_MAY_HAVE_HAPPENED = (
    pg.PostgresConnectionError,
    pg.AdminShutdownError,  # may strike after the commit, while it waits for the standby
    pg.CrashShutdownError,
    pg.IdleInTransactionSessionTimeoutError,
    pg.TransactionTimeoutError,
    # A server that goes down says so unasked; a statement begun in that moment finds the driver in no state for it.
    pg.InternalClientError,
    ConnectionError,
    TimeoutError,
)
# asyncpg's one class for using a closed handle; its other uses are faults of the caller.
_CLOSED_HANDLE = (
    "connection is closed",
    "connection was closed",
    "connection has been released back to the pool",  # lost while it was held and idle: the pool takes it back itself
    "pool is closed",
    "pool is closing",
)


def transient(error: BaseException) -> bool:
    """Say whether the error proves that nothing happened and the same call may be made again."""
    if _closed_handle(error):
        return not _lost_before(error)
    return isinstance(error, _NOTHING_HAPPENED)


def unknown(error: BaseException) -> bool:
    """Say whether the error leaves open what happened."""
    if _closed_handle(error):
        return _lost_before(error)
    return isinstance(error, _MAY_HAVE_HAPPENED) and not isinstance(error, _NOTHING_HAPPENED)


def _closed_handle(error: BaseException) -> bool:
    return isinstance(error, pg.InterfaceError) and any(words in str(error) for words in _CLOSED_HANDLE)


def _lost_before(error: BaseException) -> bool:
    """Say whether the handle was closed under a statement: the attempt to roll back then hides what closed it."""
    return error.__context__ is not None and (unknown(error.__context__) or _lost_before(error.__context__))


@contextmanager
def database() -> Iterator[None]:
    """Translate failures of PostgreSQL, for the length of a block that calls nothing else.

    Raises:
        Transient: nothing happened.
        OutcomeUnknown: the connection was lost, or time ran out, with a statement under way.
    """
    try:
        yield
    except (pg.PostgresError, pg.InterfaceError, pg.InternalClientError, OSError, TimeoutError) as error:
        translated = _translated(error)
        if translated is None:
            raise
        raise translated from error


def _translated(error: Exception) -> PaymeshError | None:
    name = type(error).__name__
    if transient(error):
        return Transient(f"PostgreSQL did nothing: {name}", code="database_unavailable")
    if unknown(error):
        return OutcomeUnknown(f"PostgreSQL went away with a statement under way: {name}", code="database_lost")
    return None
