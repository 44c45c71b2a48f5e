"""Velocity checks: how often, and how much, one user moved or one destination got within a window.

Every intent that a rule counts is counted once, when it is first planned and whatever becomes of it then: attempts
are what gives a fraud away. Counting is serialised by rule and subject, so that two orchestrators never both find room
for the last one. It is no limit of money (those are in the ledger, see `shared.ledger.limits`): what is planned already
stays as it was planned. This module must never refuse anything by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from orchestrator.records import Connection, statement
from shared.db.failures import database
from shared.db.pool import Pool
from shared.ids import IntentId
from shared.rules.book import RuleBook
from shared.rules.model import Per, RuleFault, Subject, VelocityAction, VelocityRule


@dataclass(frozen=True, slots=True)
class Watch:
    """What velocity rules say of an intent.

    Attributes:
        fault: the rule that could not be asked: the intent is refused by its name.
        refused_by: the rule that refuses it.
        monitored_by: the rules, each with its version, that want it watched.
    """

    fault: RuleFault | None = None
    refused_by: VelocityRule | None = None
    monitored_by: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class _Count:
    rule: VelocityRule
    subject: str
    intent: IntentId
    at: datetime
    amount_minor: int


UNWATCHED: Final = Watch()


async def watch(pool: Pool, book: RuleBook, subjects: Mapping[IntentId, Subject]) -> dict[IntentId, Watch]:
    """Count intents and say what the rules make of them; those that no rule counts are left out.

    Raises:
        Transient, OutcomeUnknown: the database was out of reach; watching again counts nothing twice.
    """
    found: dict[IntentId, Watch] = {}
    counts: list[_Count] = []
    for intent, subject in subjects.items():
        rules = book.velocity_of(subject)
        if isinstance(rules, RuleFault):
            found[intent] = Watch(fault=rules)
            continue
        counts += [
            _Count(rule, of, intent, datetime.fromtimestamp(subject.at_ms / 1000, UTC), subject.amount_minor)
            for rule in rules
            if (of := subject.holder if rule.per is Per.USER else subject.destination) is not None
        ]
    if counts:
        with database():
            async with pool.acquire() as connection, connection.transaction():
                exceeded = await _exceeded(connection, counts)
        for one in exceeded:
            found[one.intent] = _with(found.get(one.intent, UNWATCHED), one.rule)
    return found


def _with(before: Watch, rule: VelocityRule) -> Watch:
    if rule.action is VelocityAction.REJECT:
        return Watch(before.fault, before.refused_by or rule, before.monitored_by)
    return Watch(before.fault, before.refused_by, (*before.monitored_by, (rule.name, rule.version)))


async def _exceeded(connection: Connection, counts: list[_Count]) -> list[_Count]:
    """Count, and return those for which there is too much with them."""
    ordered = sorted(counts, key=lambda one: (one.rule.name, one.subject, one.intent.int))
    locks = sorted({_lock(one) for one in ordered})
    await connection.execute("SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key", locks)
    columns = (
        [one.rule.name for one in ordered],
        [one.subject for one in ordered],
        [one.intent for one in ordered],
        [one.at for one in ordered],
        [one.amount_minor for one in ordered],
    )
    await connection.execute(statement("count_velocity"), *columns)
    rows = await connection.fetch(
        statement("sum_velocity"),
        *columns[:3],
        [one.at for one in ordered],
        [timedelta(seconds=one.rule.window_s) for one in ordered],
    )
    sums = {(row["rule"], row["intent_id"]): (row["n"], int(row["total"])) for row in rows}
    return [one for one in ordered if _is_too_much(one.rule, *sums[one.rule.name, one.intent])]


def _is_too_much(rule: VelocityRule, n: int, total: int) -> bool:
    return (rule.max_count is not None and n > rule.max_count) or (
        rule.max_sum_minor is not None and total > rule.max_sum_minor
    )


def _lock(one: _Count) -> int:
    digest = sha256(f"velocity\0{one.rule.name}\0{one.subject}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
