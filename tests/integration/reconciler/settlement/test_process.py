"""A reconciler process with a place of delivery: a file that is dropped there is read, and its words are said."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from adapters.ipps.settlement_file import SETTLEMENT
from adapters.sandbox.settlement import publish
from reconciler.settings import ReconcilerSettings
from shared.config import BadConfig, load
from shared.contracts import Outcome, Source, read_envelope, read_result
from shared.mesh import psp_marked
from shared.settlement.layout import write_layout
from shared.streams import keys
from tests.integration.ops.processes import ROOT, plain_environ
from tests.integration.reconciler.settlement.scene import Line, Scene, ipps_file
from tests.waiting import until


async def test_a_dropped_file_is_read_and_heard_by_a_process(
    installed_scene: Scene, redis: Redis, redis_url: str, database: str, tmp_path: Path
) -> None:
    """As in production, but for the periods."""
    scene = installed_scene
    drop, spool = tmp_path / "drop", tmp_path / "spool"
    for folder in (drop, spool):
        folder.mkdir()
    async with psp_marked(pool=scene.pool, redis=redis, psp="ipps") as connection:
        await connection.execute(
            "INSERT INTO pm.psp (psp, manifest, settlement) VALUES ('ipps', '{}', $1)", write_layout(SETTLEMENT)
        )
    intent = await scene.doubt()
    publish(drop, "ipps.txt", ipps_file(Line(await scene.reference(intent))))
    environ = plain_environ(
        REDIS_URL=redis_url,
        DATABASE_URL=database,
        RECONCILER_SETTLEMENT_SOURCES=json.dumps([{"kind": "folder", "psp": "ipps", "folder": str(drop)}]),
        RECONCILER_SETTLEMENT_SPOOL=str(spool),
        RECONCILER_SETTLEMENT_S="0.1",
        RECONCILER_SETTLEMENT_WORDS_S="0.1",
        PYTHONPATH=os.fspath(ROOT),
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "reconciler.main", env=environ, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        stream = keys.results("ipps")

        async def said() -> bool:
            assert process.returncode is None, "it has ended"
            return bool(await redis.xlen(stream))

        await until(said, "the line's word", timeout_s=60)
        ((_, fields),) = await redis.execute_command("XRANGE", stream, "-", "+")
        word = read_result(read_envelope(fields))
        assert (word.intent_id, word.outcome, word.source) == (str(intent), Outcome.PAID, Source.SETTLEMENT)
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 30)
    assert process.returncode == 0


def test_places_of_delivery_need_a_spool(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read is a copy."""
    for name in list(os.environ):
        if name.startswith(("RECONCILER_", "PAYMESH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/x")
    monkeypatch.setenv("RECONCILER_SETTLEMENT_SOURCES", '[{"kind": "folder", "psp": "ipps", "folder": "/in"}]')
    with pytest.raises(BadConfig, match="RECONCILER_SETTLEMENT_SPOOL"):
        load(ReconcilerSettings)
    monkeypatch.setenv("RECONCILER_SETTLEMENT_SPOOL", "/spool")
    assert load(ReconcilerSettings).settlement_sources[0].psp == "ipps"
    monkeypatch.setenv("RECONCILER_SETTLEMENT_SOURCES", '[{"kind": "ftp", "psp": "ipps"}]')
    with pytest.raises(BadConfig):
        load(ReconcilerSettings)
