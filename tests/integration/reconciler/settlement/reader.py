"""A process that reads one settlement file and is done: what a test may kill, and measure.

``python -m tests.integration.reconciler.settlement.reader DATABASE_URL FILE SHA256`` prints what it took, as JSON.
"""

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

import reconciler.main  # noqa: F401 - the whole reconciler's memory counts
from adapters.ipps.settlement_file import SETTLEMENT
from reconciler.settlement.reading import note_file, read_file
from shared.db.pool import open_pool


def peak_mib() -> int:
    """The most memory that this process has had; `ru_maxrss` would count that of whoever started it, too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


async def read(url: str, path: Path, sha256: str, size: int) -> dict[str, object]:
    """Read the file, or carry on with it."""
    async with await open_pool(url, max_size=2) as pool:
        begin = time.monotonic()
        file = await note_file(pool, psp="ipps", name=path.name, sha256=sha256, size=size)
        done = await read_file(pool, SETTLEMENT, file, path)
        took_s = time.monotonic() - begin
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = round(used.ru_utime + used.ru_stime, 2)
    return {"s": round(took_s, 2), "cpu_s": cpu_s, "rss_mib": peak_mib(), "state": done.state}


if __name__ == "__main__":
    file = Path(sys.argv[2])
    sys.stdout.write(json.dumps(asyncio.run(read(sys.argv[1], file, sys.argv[3], file.stat().st_size))) + "\n")
