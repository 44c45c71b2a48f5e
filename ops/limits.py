"""Limits as operators see them: what a holder may still move, by every rule that is in force.

This module must never decide what is left: that is the ledger's, as its read model tells it.
"""

from typing import Any

from gateway.reads import Reads
from gateway.rule_views import limits_document
from shared.accounts import parse_account
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import BadInput
from shared.rules.limits import allowances
from shared.rules.load import load_book


async def limits_of(pool: Pool, holder: str, *, at_ms: int) -> list[dict[str, Any]]:
    """Return the limits of a holder, such as ``user:alice``, one document for each currency that has any.

    Raises:
        BadInput: no holder has such a name.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        async with pool.acquire() as connection:
            book = await load_book(connection)
    documents = []
    for code in sorted({rule.scope.currency for rule in book.limits}):
        name = f"{holder}:{code}"
        if not parse_account(name).is_customer:
            raise BadInput("a holder is a user or a merchant, such as user:alice", code="bad_holder")
        rules = [(rule, allowances(rule, holder, at_ms, book.calendar)) for rule in book.limits_of(code)]
        used = await Reads(pool).usages([use.account for _, uses in rules for use in uses])
        documents.append(limits_document(rules, name=name, currency=code, used=used))
    return documents
