"""The words of lines: what a line says of an open intent goes to the orchestrator, as a word of the PSP like any other.

Before it is said, the job is barred from ever being submitted: the PSP has told the end of it. A line that says
"failed" waits until whoever has the permit cannot be sending any more. Saying a word twice changes nothing, since an
attempt has one resolution; so the word is written down as said only after the stream has it. This module must never
decide what a word means for the money.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import asyncpg
import structlog
from redis.asyncio import Redis

from reconciler.statements import statement
from shared.contracts import Action, Outcome, ResultMessage, Source, result_envelope
from shared.db.failures import database
from shared.db.pool import Pool
from shared.settlement.layout import Means
from shared.states import TERMINAL, IntentState
from shared.streams import keys, permits
from shared.streams.append import append_entry
from shared.streams.permits import ALONE, PermitFor, PermitState, Replicas, Seen

CODE: Final = "settlement_failed"
"""Our code for what a settlement file calls failed, for whatever reason."""
PAGE: Final = 500
REST_MS: Final = 600_000
"""How long a permit has been TAKEN before "failed" may be said: whoever has it may be sending."""
QUIET_MS: Final = 60_000
"""How long nobody else has touched a permit by then: an adapter holds no entry for longer."""
_SAID: Final = "UPDATE pm.settlement_line SET said_at = now() WHERE file_id = $1 AND line = $2"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Said:
    """How many words were said, and how many wait for a permit to come to rest."""

    said: int = 0
    resting: int = 0


async def say_words(
    pool: Pool, redis: Redis, psp: str, *, now_ms: Callable[[], int], replicas: Replicas = ALONE
) -> Said:
    """Say every word that is still to be said.

    Raises:
        Transient, OutcomeUnknown: a store is out of reach; the next round goes on, and may repeat the last word.
    """
    said = resting = 0
    after = (0, 0)
    while True:
        with database():
            rows = await pool.fetch(statement("settlement/unsaid"), psp, *after, PAGE)
        for row in rows:
            if not await _say(redis, psp, row, now_ms(), replicas):
                resting += 1
                continue
            with database():
                await pool.execute(_SAID, row["file_id"], row["line"])
            said += 1
        if len(rows) < PAGE:
            break
        after = (rows[-1]["file_id"], rows[-1]["line"])
    if said or resting:
        _log.info("settlement_words_said", psp=psp, said=said, resting=resting)
    return Said(said, resting)


async def _say(redis: Redis, psp: str, row: asyncpg.Record, at_ms: int, replicas: Replicas) -> bool:
    """Say one word; False where it is too early."""
    is_open = IntentState(row["state"]) not in TERMINAL
    if is_open and row["plan_kind"] == "hold":
        permit = PermitFor(keys.permit(psp, str(row["intent_id"]), row["attempt"], row["operation"]), 0, "")
        token = f"settlement.{row['file_id']}.{row['line']}"
        before = await permits.bar(redis, permit=permit, token=token, replicas=replicas)
        if row["means"] == Means.FAILED and _may_be_sending(before):
            return False
    await append_entry(redis, keys.results(psp), result_envelope(_word(psp, row, at_ms)), replicas=replicas)
    return True


def _may_be_sending(before: Seen) -> bool:
    """Say whether whoever has the permit could still be sending, or asking by submitting again."""
    if before.state is not PermitState.TAKEN or before.won_ms is None:
        return False
    fresh = before.now_ms - before.won_ms < REST_MS
    busy = before.written_ms is not None and before.now_ms - before.written_ms < min(QUIET_MS, REST_MS)
    return fresh or busy


def _word(psp: str, row: asyncpg.Record, at_ms: int) -> ResultMessage:
    paid = row["means"] == Means.PAID
    return ResultMessage(
        psp=psp,
        intent_id=str(row["intent_id"]),
        attempt=row["attempt"],
        operation=row["operation"],
        action=Action.SUBMIT,
        source=Source.SETTLEMENT,
        outcome=Outcome.PAID if paid else Outcome.DECLINED,
        reference=row["reference"],
        psp_transaction_id=row["psp_transaction_id"],
        amount_minor=row["amount_minor"] if paid else None,
        currency=row["currency"] if paid else None,
        code=None if paid else CODE,
        detail=f"line {row['line']} of settlement file {row['file_name']}",
        final=True,
        at_ms=at_ms,
        summary={"file": row["file_name"], "line": str(row["line"]), "sha256": row["sha256"]},
    )
