"""Large files: in constant memory, quickly, and the same whether the reader was killed in the middle or not.

`make settlement-file` reads a million lines; the ordinary suite some thousands.
"""

import asyncio
import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from shared.db.pool import Pool
from tests.integration.reconciler.settlement.volume import ODD_EVERY, load, write
from tests.waiting import until

LINES = int(os.environ.get("SETTLEMENT_LINES", "20000"))
RSS_MIB_MAX = 200
PER_S_MIN = 20_000 if LINES >= 1_000_000 else 1
"""A short file says nothing about speed, and the suite shares its machine."""
_MODULE = "tests.integration.reconciler.settlement.reader"
_LEFT = """
SELECT (SELECT json_agg(json_build_array(verdict, n) ORDER BY verdict)::text
        FROM (SELECT verdict, count(*) AS n FROM pm.settlement_line GROUP BY verdict) AS v) AS verdicts,
       (SELECT count(*) FROM pm.reconciliation_break) AS breaks,
       (SELECT json_build_array(state, counted, taken, refused, total_minor, read_lines)::text
        FROM pm.settlement_file) AS file
"""


async def start(url: str, path: Path) -> asyncio.subprocess.Process:
    """Start a reader."""
    digest = await asyncio.to_thread(lambda: hashlib.sha256(path.read_bytes()).hexdigest())
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", _MODULE, url, os.fspath(path), digest, stdout=asyncio.subprocess.PIPE
    )


async def finish(reader: asyncio.subprocess.Process) -> dict[str, object]:
    """Wait for a reader to end; return what it measured."""
    output, _ = await asyncio.wait_for(reader.communicate(), 600)
    found = json.loads(output.splitlines()[-1])
    assert isinstance(found, dict)
    return found


async def read_lines(pool: Pool) -> int:
    """How far reading has come."""
    return await pool.fetchval("SELECT read_lines FROM pm.settlement_file") or 0


@pytest.mark.timeout(1200)
async def test_a_file_is_read_in_constant_memory_and_ends_the_same_when_killed(
    database: str, pool: Pool, tmp_path: Path
) -> None:
    """Once undisturbed, once killed with SIGKILL in the middle, twice, and carried on."""
    path = tmp_path / "ipps.txt"
    write(path, LINES)
    await load(pool, LINES)
    await pool.execute("ANALYZE pm.psp_reference, pm.psp_tx_map, pm.intent")
    measured = await finish(await start(database, path))
    undisturbed = dict(await pool.fetchrow(_LEFT) or {})
    odd = LINES // ODD_EVERY
    assert undisturbed["breaks"] == odd
    assert json.loads(undisturbed["verdicts"]) == [["agrees", LINES - odd], ["breaks", odd]]
    assert json.loads(undisturbed["file"])[:4] == ["DONE", LINES, LINES, 0]
    per_s = LINES / float(str(measured["s"]))
    sys.stderr.write(f"\n{LINES} lines, {per_s:.0f} a second: {json.dumps(measured)}\n")
    assert int(str(measured["rss_mib"])) <= RSS_MIB_MAX
    assert per_s >= PER_S_MIN

    await pool.execute("TRUNCATE pm.settlement_line, pm.settlement_file, pm.reconciliation_break")
    stops = 0
    for share in (0.2, 0.6):
        reader = await start(database, path)
        enough = int(LINES * share)

        async def far_enough(enough: int = enough, reader: asyncio.subprocess.Process = reader) -> bool:
            return await read_lines(pool) >= enough or reader.returncode is not None

        await until(far_enough, f"{enough} lines read", timeout_s=300)
        if reader.returncode is None:
            reader.kill()
            await reader.wait()
            stops += await read_lines(pool) < LINES
    assert stops, "it was never killed in the middle: make the file longer"
    await finish(await start(database, path))
    assert dict(await pool.fetchrow(_LEFT) or {}) == undisturbed
