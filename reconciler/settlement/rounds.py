"""The reconciler's rounds over settlement files: files taken in, words said, lines looked at again, what is due missed.

Several reconcilers may go round at once: a file is read by one, a line looked at by one, and a word said twice changes
nothing. A PSP whose layout makes no sense, or a place that does not answer, keeps nobody from the others.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from redis.asyncio import Redis

from reconciler.settlement.delivery import FolderSource, SftpSource, Unreachable
from reconciler.settlement.expecting import expect
from reconciler.settlement.intake import Intake
from reconciler.settlement.reading import File
from reconciler.settlement.sweeping import look_again
from reconciler.settlement.words import say_words
from shared.db.failures import database
from shared.db.pool import Pool
from shared.settlement.layout import BadLayout, Layout, read_layout
from shared.streams.permits import ALONE, Replicas

_LAYOUTS = "SELECT psp, settlement FROM pm.psp WHERE settlement IS NOT NULL ORDER BY psp"
_OPEN = "SELECT count(*) FROM pm.settlement_line WHERE psp = $1 AND verdict IN ('new', 'waits', 'says', 'breaks')"
_log = structlog.get_logger(__name__)


class SettlementRounds:
    """The rounds, and what they count."""

    def __init__(
        self,
        *,
        pool: Pool,
        redis: Redis,
        sources: Sequence[FolderSource | SftpSource],
        spool: Path,
        now_ms: Callable[[], int],
        registry: CollectorRegistry,
        replicas: Replicas = ALONE,
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._sources = sources
        self._intake = Intake(pool=pool, spool=spool)
        self._now_ms = now_ms
        self._replicas = replicas
        self._lines = Counter(
            "paymesh_settlement_lines", "Lines of settlement files read.", ["psp", "fate"], registry=registry
        )
        self._files = Counter(
            "paymesh_settlement_files", "Settlement files done with.", ["psp", "state"], registry=registry
        )
        self._said = Counter("paymesh_settlement_words", "Words of lines said.", ["psp"], registry=registry)
        self._open = Gauge(
            "paymesh_settlement_lines_open", "Lines that are not agreed with.", ["psp"], registry=registry
        )

    async def files(self) -> None:
        """Take in what was delivered since the last round."""
        if not self._sources:
            return
        for layout in await read_layouts(self._pool):
            own = [source for source in self._sources if source.psp == layout.psp]
            try:
                self._count(await self._intake.carry_on(layout) if own else ())
                for source in own:
                    await self._take_from(source, layout)
            except OSError as error:
                # Failures of the database have other names by now: this is the spool, full or gone.
                _log.error("spool_out_of_order", psp=layout.psp, error=type(error).__name__)

    async def _take_from(self, source: FolderSource | SftpSource, layout: Layout) -> None:
        try:
            async with source.open() as place:
                self._count(await self._intake.take_from(place, layout))
        except Unreachable as error:
            _log.warning("delivery_unreachable", psp=layout.psp, kind=source.kind, error=str(error))

    async def words(self) -> None:
        """Look at open lines again, and say what is to be said."""
        for layout in await read_layouts(self._pool):
            await look_again(self._pool, layout)
            said = await say_words(self._pool, self._redis, layout.psp, now_ms=self._now_ms, replicas=self._replicas)
            self._said.labels(layout.psp).inc(said.said)
            with database():
                self._open.labels(layout.psp).set(await self._pool.fetchval(_OPEN, layout.psp))

    async def due(self) -> None:
        """Miss what is due."""
        for layout in await read_layouts(self._pool):
            await expect(self._pool, layout)

    def _count(self, files: Sequence[File]) -> None:
        for file in files:
            self._files.labels(file.psp, file.state).inc()
            self._lines.labels(file.psp, "taken").inc(file.taken)
            self._lines.labels(file.psp, "refused").inc(file.refused)


async def read_layouts(pool: Pool) -> list[Layout]:
    """Return how the files of all PSPs are laid out that send any.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        rows = await pool.fetch(_LAYOUTS)
    layouts: list[Layout] = []
    for row in rows:
        try:
            layouts.append(read_layout(row["settlement"]))
        except BadLayout as error:
            _log.error("bad_layout", psp=row["psp"], error=str(error))
    return layouts
