"""The clock on the wall, and the ids that are made of it: for composition roots, which hand them on as arguments."""

import secrets
import time
from typing import Final

from shared.ids import IntentId, intent_id

_ENTROPY_BITS: Final = 38


def wall_ms() -> int:
    """Return unix ms."""
    return time.time_ns() // 1_000_000


def new_intent_id(partition: int) -> IntentId:
    """Return a fresh intent id from this machine's clock and randomness."""
    return intent_id(time.time_ns() // 1000, partition, secrets.randbits(_ENTROPY_BITS))
