"""Asking a PSP to give up a payment request that waits for its payer.

The one thing that the gateway writes into the database, and it is only a request: a row of the outbox, which the
relay sends like any job. The intent changes when the PSP has confirmed, and not before; it may be paid in the same
moment, and then it is paid. This module must never touch an intent.
"""

from functools import cache
from importlib.resources import files

from gateway.operations import OPERATIONS
from shared.db.failures import database
from shared.db.pool import Pool
from shared.ids import IntentId


@cache
def _cancel_intent() -> str:
    return files("gateway").joinpath("sql/cancel_intent.sql").read_text("utf-8")


class Cancellations:
    """Writes cancellations into the outbox."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._operations = [name for name, kind in OPERATIONS.items() if kind.cancellable]

    async def ask(self, intent: IntentId) -> bool:
        """Ask for an intent to be given up; say whether it can be.

        Asking again changes nothing, unless the cancellation has come to nothing meanwhile: then it is sent again.

        Raises:
            Transient, OutcomeUnknown: the database is out of reach; ask again.
        """
        with database():
            asked: bool = await self._pool.fetchval(_cancel_intent(), intent, self._operations)
        return asked
