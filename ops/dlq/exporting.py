"""Dead letters as JSON lines, for tickets and other tools: described with everything personal covered.

The original bytes come along sealed under the key ring, where there is one, in the same words in which discarded
records are kept. This module must never write an original in plain.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ops.console import plain
from ops.dlq.addresses import Address
from ops.dlq.contents import describe
from ops.dlq.discarding import pack
from ops.dlq.search import Search
from shared.sealing import KeyRing, seal

_FIELD: Final = "record"


@dataclass(frozen=True, slots=True)
class Exported:
    """How many records were written, whether there may be more, and whether their bytes came along."""

    records: int
    cut: bool
    originals: bool


async def export(search: Search, ring: KeyRing | None, write: Callable[[str], object]) -> Exported:
    """Write what the search finds, one JSON document a line, the oldest of each stream first.

    Raises:
        Transient: Redis did not answer; what was written stands.
    """
    async for stream, records in search.pages():
        for record in records:
            line = describe(stream, record)
            target = Address(stream, record.entry_id).target
            line["original_sealed"] = (
                seal(ring, context=target, field=_FIELD, text=pack(record.fields)) if ring is not None else None
            )
            write(json.dumps(line, default=plain, ensure_ascii=False) + "\n")
    return Exported(search.found, search.cut, ring is not None)
