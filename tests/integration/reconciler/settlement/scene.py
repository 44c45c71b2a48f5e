"""A scene for settlement files: intents at PSPs, files about them, and what becomes of both."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from redis.asyncio import Redis

from adapters.ipps.settlement_file import SETTLEMENT as IPPS
from adapters.qp.settlement_file import SETTLEMENT as QP
from reconciler.settlement.reading import File, note_file, read_file
from reconciler.settlement.sweeping import look_again
from reconciler.settlement.words import Said, say_words
from shared.clock import wall_ms
from shared.contracts import Outcome
from shared.db.pool import Pool
from shared.ids import IntentId
from shared.settlement.layout import Layout
from shared.streams import keys
from shared.streams.verdicts import Entry
from tests.integration.orchestrator.saga import Saga

AT = "20261120101112"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of IPPS's file."""

    reference: str
    transaction: str = "T1"
    status: str = "SETTLED"
    amount_minor: int = 300
    currency: str = "THB"
    fee_minor: int = 500
    at: str = AT

    def text(self) -> str:
        """The line as IPPS writes it."""
        return (
            f"D{self.reference:<15}{self.transaction:<20}{self.status:<10}{'':<20}{self.amount_minor:015d}"
            f"{self.currency}{self.fee_minor:011d}{self.at}"
        )


def ipps_file(*lines: Line | str, count: int | None = None, total: int | None = None) -> bytes:
    """A file of IPPS; what its trailer says is true unless told otherwise."""
    texts = [line.text() if isinstance(line, Line) else line for line in lines]
    summed = sum(line.amount_minor for line in lines if isinstance(line, Line))
    trailer = f"T{len(lines) if count is None else count:09d}{summed if total is None else total:018d}"
    return "\n".join(["HIPPS20261120", *texts, trailer, ""]).encode()


@dataclass(slots=True)
class Scene:
    """Intents at PSPs, and what is said about them."""

    saga: Saga
    redis: Redis
    folder: Path
    names: int = 0

    @property
    def pool(self) -> Pool:
        """The database."""
        return self.saga.world.pool

    @property
    def payer(self) -> str:
        """A wallet with money."""
        return self.saga.world.wallet("payer")

    async def doubt(self, amount_minor: int = 300) -> IntentId:
        """A withdrawal of which nobody knows what became of it."""
        intent = await self.saga.withdraw(self.payer, amount_minor)
        await self.saga.hear(self.saga.said(intent, Outcome.UNKNOWN))
        assert (await self.saga.state(intent))[0] == "IN_DOUBT"
        return intent

    async def reference(self, intent: UUID) -> str:
        """Our reference at its PSP."""
        found = await self.pool.fetchval("SELECT reference FROM pm.psp_reference WHERE intent_id = $1", intent)
        assert isinstance(found, str)
        return found

    async def take(self, content: bytes, *, layout: Layout = IPPS, name: str | None = None) -> File:
        """Let a file be read."""
        self.names += 1
        name = name or f"file-{self.names}"
        path = self.folder / name
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        file = await note_file(self.pool, psp=layout.psp, name=name, sha256=digest, size=len(content))
        return await read_file(self.pool, layout, file, path)

    async def say(self, psp: str = "ipps") -> Said:
        """Let the words of lines be said."""
        return await say_words(self.pool, self.redis, psp, now_ms=wall_ms)

    async def words(self, psp: str = "ipps") -> list[Entry]:
        """Take the words that stand in the stream."""
        stream = keys.results(psp)
        entries: list[tuple[bytes, dict[bytes, bytes]]] = await self.redis.execute_command("XRANGE", stream, "-", "+")
        await self.redis.delete(stream)
        return [Entry(stream, entry_id, fields, 1) for entry_id, fields in entries]

    async def hear(self, psp: str = "ipps") -> int:
        """Say what is to be said, and let an orchestrator hear it; return how many words there were."""
        await self.say(psp)
        words = await self.words(psp)
        if words:
            await self.saga.hear(*words)
        return len(words)

    async def look_again(self, layout: Layout = IPPS) -> None:
        """Look at every open line once more."""
        await look_again(self.pool, layout, soon_s=0, later_s=0)

    async def verdicts(self) -> list[str]:
        """The verdict of every line, in the order of files and lines."""
        rows = await self.pool.fetch("SELECT verdict FROM pm.settlement_line ORDER BY file_id, line")
        return [row["verdict"] for row in rows]

    async def breaks(self, state: str = "OPEN") -> list[tuple[str, str]]:
        """Kind and severity of breaks."""
        rows = await self.pool.fetch(
            "SELECT kind, severity FROM pm.reconciliation_break WHERE state = $1 ORDER BY id", state
        )
        return [(row["kind"], row["severity"]) for row in rows]

    async def sides(self) -> list[dict[str, Any]]:
        """What the sides of open breaks say."""
        rows = await self.pool.fetch("SELECT sides FROM pm.reconciliation_break WHERE state = 'OPEN' ORDER BY id")
        return [json.loads(row["sides"]) for row in rows]


def qp_file(*lines: Sequence[object]) -> bytes:
    """A file of QP: order, payment, status, amount."""
    rows = [
        f"{order},{payment},PAYMENT,{status},{amount},RUB,"
        f"{(int(str(amount)) * 70 + 5000) // 10000 if status == 'ACCEPTED' else 0},2026-11-20T09:15:00.000Z"
        for order, payment, status, amount in lines
    ]
    head = ["#QP-SETTLEMENT,1,2026-11-20", "order,paymentId,kind,status,amount,currency,fee,occurredAt"]
    total = sum(int(str(line[3])) for line in lines)
    return "\n".join([*head, *rows, f"#TOTAL,{len(rows)},{total}", ""]).encode()


__all__ = ["IPPS", "QP", "Line", "Scene", "ipps_file", "qp_file"]
