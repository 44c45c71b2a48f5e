"""Which ledger a process gets: TigerBeetle where its addresses are given, PostgreSQL otherwise.

This module must never fall back from one to the other: a mesh's ledger kind is part of its identity.
"""

from shared.db.pool import Pool
from shared.ledger.batcher import TigerBeetleLedger
from shared.ledger.port import Ledger
from shared.ledger.postgres import PostgresLedger


def open_ledger(
    *, pool: Pool, tigerbeetle_addresses: str | None, tigerbeetle_cluster_id: int = 0, timeout_s: float = 30.0
) -> Ledger:
    """Open the ledger; inside a running event loop, closed by the caller.

    Args:
        pool: connections to the database that holds the ledger unless TigerBeetle does; not closed with it.
        tigerbeetle_addresses: ``ip:port,…`` of the replicas; None or empty for the ledger in PostgreSQL.
        tigerbeetle_cluster_id: which cluster the replicas must belong to.
        timeout_s: how long a call waits for an answer before its outcome is unknown.

    Raises:
        BadInput: the addresses cannot be used.
    """
    if tigerbeetle_addresses:
        return TigerBeetleLedger(tigerbeetle_addresses, cluster_id=tigerbeetle_cluster_id, timeout_s=timeout_s)
    return PostgresLedger(pool, timeout_s=timeout_s)
