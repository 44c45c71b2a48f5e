"""`paymesh recon file|files` as they are typed, and what an intent tells of the line that closed it."""

import json
from pathlib import Path

from adapters.ipps.settlement_file import SETTLEMENT
from adapters.sandbox.settlement import publish
from ops.dlq.reach import reach_stores
from ops.explain.run import explain
from shared.contracts import Outcome
from shared.ids import IntentId
from shared.settlement.layout import write_layout
from shared.streams import keys
from shared.streams.verdicts import Entry
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.dlq_scene import typed
from tests.integration.ops.psp_scene import PspScene
from tests.integration.reconciler.settlement.scene import Line, ipps_file

NAME = "ipps-2026-11-20.txt"


async def in_doubt(scene: PspScene) -> tuple[IntentId, str]:
    """A withdrawal in doubt, and our reference at IPPS, whose files have a layout."""
    pool = scene.world.pool
    await pool.execute("UPDATE pm.psp SET settlement = $1 WHERE psp = 'ipps'", write_layout(SETTLEMENT))
    intent = await scene.paying()
    await scene.sent()
    await scene.told(intent, Outcome.UNKNOWN)
    reference = await pool.fetchval("SELECT reference FROM pm.psp_reference WHERE intent_id = $1", intent)
    return intent, reference


async def test_a_file_taken_in_by_hand_closes_a_doubt_and_its_line_is_the_evidence(
    mesh: Mesh, scene: PspScene, tmp_path: Path
) -> None:
    """A dry run first, which changes nothing; then the word is in the stream, and the intent tells of the line."""
    intent, reference = await in_doubt(scene)
    sha256 = publish(tmp_path, NAME, ipps_file(Line(reference), "rubbish"))
    command = ("recon", "file", str(tmp_path / NAME), "--psp", "ipps")
    dry = await typed(mesh.settings, *command)
    assert (dry.code, "nothing was done" in dry.errors) == (0, True)
    assert await mesh.pool.fetchval("SELECT count(*) FROM pm.settlement_file") == 0
    done = await typed(mesh.settings, *command, "--confirm", "--reason", "came by mail", "--json")
    assert done.code == 0
    assert (done.json["file"]["state"], done.json["file"]["refused"], done.json["said"]) == ("DONE", 1, 1)
    assert await mesh.pool.fetchval("SELECT reason FROM pm.audit_log WHERE action = 'recon.file'") == "came by mail"

    stream = keys.results("ipps")
    entries: list[tuple[bytes, dict[bytes, bytes]]] = await mesh.redis.execute_command("XRANGE", stream, "-", "+")
    await scene.hear(*(Entry(stream, entry_id, fields, 1) for entry_id, fields in entries))
    assert (await scene.state(intent))[0] == "SETTLED"
    async with reach_stores(mesh.settings) as reach:
        story = await explain(reach, str(intent))
    assert story is not None
    (told,) = [event.text for event in story.events if event.source == "settlement"]
    assert told.startswith("a settlement file of ipps says: PAID 3.00 THB as T1 final")
    for words in (f"line 2 of settlement file {NAME}", f"sha256 {sha256}"):
        assert words in told
    evidence = await mesh.pool.fetchval("SELECT evidence FROM pm.resolution WHERE intent_id = $1", intent)
    assert json.loads(evidence)["summary"] == {"file": NAME, "line": "2", "sha256": sha256}

    again = await typed(mesh.settings, *command, "--confirm", "--reason", "once more", "--json")
    assert (again.code, again.json["said"]) == (0, 0)
    listed = await typed(mesh.settings, "recon", "files", "--psp", "ipps", "--json")
    assert [(one["name"], one["state"], one["counted"]) for one in listed.json] == [(NAME, "DONE", 2)]


async def test_a_file_that_nobody_vouches_for_is_not_taken_in(mesh: Mesh, scene: PspScene, tmp_path: Path) -> None:
    """No manifest, another content, another PSP: each is a sentence and exit code 1."""
    await in_doubt(scene)
    path = tmp_path / NAME
    path.write_bytes(ipps_file())

    async def refused(psp: str) -> str:
        found = await typed(mesh.settings, "recon", "file", str(path), "--psp", psp, "--confirm", "--reason", "x")
        assert found.code == 1
        return " ".join(found.errors.split())

    assert f"manifest {NAME}.sha256" in await refused("ipps")
    assert "sends no settlement files" in await refused("qp")
    publish(tmp_path, NAME, ipps_file())
    path.write_bytes(ipps_file(Line("X")))
    assert "is not what its manifest says" in await refused("ipps")
    assert await mesh.pool.fetchval("SELECT count(*) FROM pm.settlement_file") == 0
