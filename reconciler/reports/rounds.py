"""The reconciler's rounds for reports: what moved is added up all the time, and reports are made when days end.

This module must never hold up another round: a digest that is far behind goes on with the next one.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge

from reconciler.reports.digest import Digest
from reconciler.reports.keeping import keep_due
from shared.db.pool import Pool
from shared.ledger.port import Ledger


class ReportRounds:
    """The rounds over real stores, and what they count."""

    def __init__(self, *, pool: Pool, ledger: Ledger, registry: CollectorRegistry, share: float = 1.0) -> None:
        self._pool = pool
        self._digest = Digest(pool=pool, ledger=ledger, share=share)
        self._walked = Counter("paymesh_digest_transfers", "Transfers added up for reports.", registry=registry)
        self._lag = Gauge(
            "paymesh_digest_lag_seconds", "Age of the last transfer added up; 0: nothing was left.", registry=registry
        )
        self._kept = Counter("paymesh_reports_kept", "Reports that were made and kept.", registry=registry)

    async def digest(self) -> None:
        """Add up what is new in the ledger."""
        digested = await self._digest.round()
        self._walked.inc(digested.walked)
        self._lag.set(digested.lag_s)

    async def keep(self) -> None:
        """Make the reports of days and weeks that have ended."""
        self._kept.inc(len(await keep_due(self._pool)))
