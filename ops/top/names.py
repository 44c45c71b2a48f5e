"""How people write a stream's name: ``intents.0``, ``intents.i0``, ``jobs.ipps``, or the key itself."""

import re
from typing import Final

from shared.errors import BadInput
from shared.ids import PARTITIONS_MAX
from shared.streams import keys

_WRITTEN: Final = re.compile(r"(intents|jobs|results)\.(\{?)([a-z0-9]{1,16})(\}?)")
_PARTITION: Final = re.compile(r"i?(\d{1,3})")
_ENTRY_ID: Final = re.compile(r"\d{1,20}-\d{1,20}")


def stream_of(text: str) -> tuple[str, str]:
    """Return the work stream that a person means, and the group that reads it.

    Raises:
        BadInput: there are no streams of such a name.
    """
    match = _WRITTEN.fullmatch(text)
    if match is None or bool(match[2]) != bool(match[4]):
        raise BadInput("a stream is intents.<n>, jobs.<psp> or results.<psp>", code="bad_stream")
    kind, slot = match[1], match[3]
    if kind == "jobs":
        return keys.jobs(slot), keys.ADAPTER_GROUP
    if kind == "results":
        return keys.results(slot), keys.ORCHESTRATOR_GROUP
    number = _PARTITION.fullmatch(slot)
    if number is None or int(number[1]) >= PARTITIONS_MAX:
        raise BadInput(f"partitions have numbers from 0 to {PARTITIONS_MAX - 1}", code="bad_stream")
    return keys.intents(int(number[1])), keys.ORCHESTRATOR_GROUP


def entry_id_of(text: str) -> bytes:
    """Return an entry id as it was typed.

    Raises:
        BadInput: it is none.
    """
    if _ENTRY_ID.fullmatch(text) is None:
        raise BadInput("an entry id reads 1795200000000-0", code="bad_entry_id")
    return text.encode()
