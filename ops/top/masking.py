"""What may be shown of an entry's body: the fields that are known to be no person's words, nothing else.

A list of what is personal would show whatever it forgot. What is not on the list stands there as covered, and what
is not JSON as a number of bytes.
"""

import json
from typing import Any, Final

from shared.sealing import is_sealed

COVERED: Final = "(covered)"
SEALED: Final = "(sealed)"
DEPTH_MAX: Final = 8
_SHOWN: Final = frozenset(
    {
        # intents
        "service_key", "user_id", "operation", "operation_type", "waiter", "from_account", "to_account", "account",
        "amount_minor", "currency", "direction", "approved_by", "requires_monitoring", "proxy_type", "bank_code",
        "ttl_s", "static", "name", "reason",
        # jobs and results
        "psp", "intent_id", "attempt", "action", "reference", "created_ms", "epoch", "inquire_first", "destination",
        "psp_ids", "test_scenario", "source", "outcome", "psp_transaction_id", "code", "detail", "final", "fenced",
        "at_ms", "next_action", "kind", "expires_ms", "retry_after_s", "callback_id",
    }
)  # fmt: skip
_OPEN: Final = frozenset({"psp_ids"})
"""Whose names are the PSP's, and whose values are its ids."""


def cover(body: bytes) -> Any:
    """Return a body with everything covered that is not known to be harmless."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return f"({len(body)} bytes that are no JSON)"
    except RecursionError:
        return f"({len(body)} bytes, too deep to be one of ours)"
    return _cover(parsed, DEPTH_MAX) if isinstance(parsed, dict) else COVERED


def _cover(value: Any, depth: int, *, everything: bool = False) -> Any:
    if isinstance(value, str) and is_sealed(value):
        return SEALED
    if not isinstance(value, dict):
        return value if isinstance(value, str | int | float | None) else COVERED
    if depth == 0:
        return COVERED
    return {
        name: _cover(inner, depth - 1, everything=name in _OPEN) if everything or name in _SHOWN else _hidden(inner)
        for name, inner in value.items()
    }


def _hidden(value: Any) -> Any:
    if value is None or value in ({}, []):
        return value
    return SEALED if isinstance(value, str) and is_sealed(value) else COVERED
