"""Draining on real stores: closed at once and on record, waited for what is under way, told what is left."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, STDOUT

import pytest

from ops import drain
from ops.drain import Left
from ops.psps import register
from ops.stores import open_stores
from orchestrator.psp_register import PspRegister
from shared import intake
from shared.contracts import Envelope, Kind
from shared.errors import BadInput
from shared.streams import keys
from shared.streams.accept import append
from shared.streams.control import Control, read_control
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.processes import ROOT
from tests.integration.orchestrator.outbound import PAYOUT, PSP, Outbound, a_job, manifest_of
from tests.integration.orchestrator.world import new_id

NOTHING = Left(entries=0, planned=0, unsent=0, jobs=0, results=0, at_psps=0, dead_letters=0)


async def accepted(mesh: Mesh) -> None:
    """Put an entry into a stream of intents."""
    await append(mesh.redis, partition=1, envelope=Envelope(Kind.RESUME, str(new_id(1)), b"{}"))


async def audited(mesh: Mesh) -> list[str]:
    """What is on record."""
    rows = await mesh.pool.fetch("SELECT action FROM pm.audit_log WHERE actor = 'me' ORDER BY id")
    return [row["action"] for row in rows]


async def test_a_drain_ends_when_everything_has_run_out(mesh: Mesh) -> None:
    """Not before; progress is told, and the door stays closed."""
    await accepted(mesh)
    told: list[Left] = []
    async with open_stores(mesh.settings) as stores:
        await drain.close(stores, None, reason="moving", actor="me")
        waiting = asyncio.create_task(drain.wait_empty(stores, None, timeout_s=20, tell=told.append))
        await asyncio.sleep(0)
        while not told:
            await asyncio.wait([waiting], timeout=0.05)
        assert told[0].entries == 1
        await mesh.redis.delete(keys.intents(1))
        drained = await waiting
    assert drained.empty
    assert drained.left == NOTHING
    assert [closure.why for closure in await intake.closures(mesh.pool)] == [intake.Why.DRAIN]
    assert await audited(mesh) == ["mesh.drain"]


async def test_a_drain_that_takes_too_long_tells_what_is_left(mesh: Mesh) -> None:
    """Entries, put off ones included, jobs in the outbox and on their way, results."""
    await accepted(mesh)
    outbound = Outbound(mesh.pool, mesh.redis)
    async with open_stores(mesh.settings) as stores:
        await register(stores, manifest_of(), actor="me")
        await outbound.write(a_job(), a_job())
        await mesh.redis.zadd(keys.delay(keys.jobs(PSP)), {"x": 1})
        await mesh.redis.xadd(keys.results(PSP), {"v": "1"})
        drained = await drain.wait_empty(stores, None, timeout_s=0, tell=lambda _: None)
        of_psp = await drain.look(stores.pool, stores.redis, PSP)
    assert not drained.empty
    assert drained.left == Left(entries=1, planned=0, unsent=2, jobs=1, results=1, at_psps=0, dead_letters=0)
    assert of_psp == Left(entries=0, planned=0, unsent=2, jobs=1, results=1, at_psps=0, dead_letters=0)


async def test_a_psp_that_is_drained_takes_nothing_new_and_finishes_what_it_has(mesh: Mesh) -> None:
    """Gateways and orchestrators refuse; relay and adapters go on; reopening ends it."""
    async with open_stores(mesh.settings) as stores:
        await register(stores, manifest_of(), actor="me")
        await drain.close(stores, PSP, reason="contract ends", actor="me")
        known = PspRegister(pool=mesh.pool, redis=mesh.redis, epoch=mesh.installed.mesh.token)
        await known.refresh()
        assert known.refusal(PSP, PAYOUT) == "paused"
        assert known.may_ask(PSP)
        assert not known.control(PSP).pauses(PAYOUT)
        assert not (await read_control(mesh.redis, PSP)).pauses(PAYOUT)
        assert await drain.reopen(stores, PSP, reason="new contract", actor="me") == [PSP]
        await known.refresh()
        assert known.refusal(PSP, PAYOUT) is None
        assert await drain.reopen(stores, PSP, reason="again", actor="me") == []
        with pytest.raises(BadInput, match="not registered"):
            await drain.look(stores.pool, stores.redis, "nobody")


def test_what_is_new_and_what_is_under_way_are_two_things() -> None:
    """A whole pause covers both."""
    draining = Control(frozenset({"+"}))
    assert (draining.takes("X"), draining.pauses("X"), draining.all_paused) == (False, False, False)
    assert not Control(frozenset({"*"})).takes("X")
    assert Control(frozenset({"Y"})).takes("X")


async def test_reopening_takes_back_whatever_closed_the_door(mesh: Mesh) -> None:
    """A recovery's closure too: a person answers for it, on record."""
    async with mesh.pool.acquire() as connection:
        await intake.close(connection, intake.Why.RECOVER, reason="lost", by="me")
    async with open_stores(mesh.settings) as stores:
        await drain.close(stores, None, reason="moving", actor="me")
        assert await drain.reopen(stores, None, reason="explained", actor="me") == ["drain", "recover"]
        assert await drain.reopen(stores, None, reason="again", actor="me") == []
    assert await intake.closures(mesh.pool) == []
    assert await audited(mesh) == ["mesh.drain", "mesh.reopen"]


async def test_while_redis_is_away_the_door_is_closed_all_the_same(mesh: Mesh) -> None:
    """What is left is not known, and that is told."""
    settings = mesh.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with open_stores(settings) as stores:
        await drain.close(stores, None, reason="moving", actor="me")
        drained = await drain.wait_empty(stores, None, timeout_s=0, tell=lambda _: None)
    assert (drained.left, drained.empty) == (None, False)
    assert drained.unreached
    assert await intake.closures(mesh.pool)


@pytest.fixture
def environ(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> Mesh:
    """The commands find the mesh."""
    monkeypatch.setenv("DATABASE_URL", mesh.settings.database_url)
    monkeypatch.setenv("REDIS_URL", mesh.settings.redis_url)
    for name in ("TIGERBEETLE_ADDRESSES", "PAYMESH_KEYRING", "PAYMESH_KEYRING_FILE"):
        monkeypatch.delenv(name, raising=False)
    return mesh


async def paymesh(*words: str) -> tuple[int, str]:
    """Call a command as people do; return its exit status and all it said."""
    argv = [sys.executable, "-m", "ops.cli", *words]
    called = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, stderr=STDOUT, cwd=ROOT)
    said, _ = await asyncio.wait_for(called.communicate(), 60)
    assert called.returncode is not None
    return called.returncode, said.decode()


async def test_the_command_is_a_dry_run_until_it_is_confirmed(environ: Mesh) -> None:
    """It shows what is under way, then does it, and says by its exit status whether anything is left."""
    await accepted(environ)
    status, said = await paymesh("drain")
    assert (status, "nothing was done" in said, "intents in the streams" in said) == (0, True, True)
    assert await intake.closures(environ.pool) == []
    status, said = await paymesh("drain", "--confirm", "--reason", "moving", "--timeout", "0s", "--json")
    assert (status, json.loads(said)["drained"]["left"]["entries"]) == (1, 1)
    await environ.redis.delete(keys.intents(1))
    status, said = await paymesh("drain", "--confirm", "--reason", "moving", "--timeout", "20s")
    assert (status, "empty" in said) == (0, True)
    assert (await paymesh("drain", "--reopen"))[0] == 0
    dry = await paymesh("drain", "--reopen", "--json")
    assert (dry[0], json.loads(dry[1].partition("nothing was done")[0])) == (0, {"reopened": []})
    assert await intake.closures(environ.pool)
    _, said = await paymesh("drain", "--reopen", "--confirm", "--reason", "moved")
    assert "open again: drain" in said
    assert await intake.closures(environ.pool) == []
