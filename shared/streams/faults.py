"""What a handler's exception means for the entries it had: an outage, or the entry's own fault.

An outage says nothing about the entries and counts nothing against them. This module must never let a field's value
into a dead letter: text of our own errors is written by us, of all others only class and place are kept.
"""

import traceback
from typing import Final

from shared.errors import OutcomeUnknown, PaymeshError, Transient
from shared.streams.client import no_group, refused, unreachable
from shared.streams.dead_letters import ERROR_BYTES_MAX

_OUTAGES: Final = (Transient, OutcomeUnknown)


def outage(error: BaseException) -> bool:
    """Say whether a dependency, rather than the entry, is at fault."""
    return isinstance(error, _OUTAGES) or unreachable(error) or refused(error) or no_group(error)


def redacted(error: BaseException) -> str:
    """Describe an error for a dead letter without any value it may quote."""
    if isinstance(error, PaymeshError):
        text = f"{error.code}: {error}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "nowhere"
        text = f"{type(error).__module__}.{type(error).__qualname__} in {place}"
    return text.encode()[:ERROR_BYTES_MAX].decode(errors="ignore")
