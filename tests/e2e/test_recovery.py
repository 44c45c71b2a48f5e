"""Redis is emptied under a running mesh: no process starts on it, `paymesh recover` leads back, nothing is paid twice.

Real processes, a PSP's sandbox with books of its own, and the commands as an operator types them.
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

import pytest

from ops.embedded.server import Server
from ops.invariants.run import check_invariants
from shared.process import EXIT_CONFIG
from shared.psp import FenceKind
from shared.sealing import KeyRing
from shared.states import IntentState
from shared.streams import keys
from tests.integration.ops.processes import ROOT, plain_environ
from tests.matrix.intents import Posted, grant, open_account, payout, post
from tests.matrix.reckoning import reckon
from tests.matrix.scenarios import FAILED, SETTLED, Payout
from tests.matrix.stack import Adapter, Stack, Strike, running_stack
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PAYS = Payout("success", SETTLED)
TIMEOUT_S = 60


@dataclass(slots=True)
class Drill:
    """A mesh, what was posted to it, and the commands of whoever is on call."""

    stack: Stack
    database_url: str
    redis_url: str
    posted: list[Posted] = field(default_factory=list)

    async def fund(self, count: int) -> list[Posted]:
        """Make withdrawals, each with a wallet of its own that can pay it."""
        ring: KeyRing = self.stack.ring
        made = [payout(ring, len(self.posted) + number, PAYS) for number in range(count)]
        self.posted += made
        grants = [grant(one.wallet) for one in made]
        for one in made:
            await open_account(self.stack.redis, one.wallet)
        query = "SELECT count(*) FROM pm.tb_account_map WHERE name = ANY ($1)"

        async def opened() -> bool:
            names = [one.wallet for one in made]
            return bool(await self.stack.stores.pool.fetchval(query, names) == count)

        await until(opened, "open wallets", timeout_s=TIMEOUT_S)
        for intent, operation in grants:
            await post(self.stack.redis, intent, operation)
        await self.wait_states([intent for intent, _ in grants], {"SETTLED"})
        return made

    async def pay(self, made: Sequence[Posted]) -> None:
        """Post withdrawals, as accepted."""
        for one in made:
            await post(self.stack.redis, one.intent, one.operation)

    async def wait_states(self, intents: Sequence[UUID], states: set[str]) -> None:
        """Wait until all of them are in one of the states."""

        async def reached() -> bool:
            return all(state in states for state in (await self.states(intents)).values())

        await until(reached, f"{len(intents)} intents {' or '.join(sorted(states))}", timeout_s=TIMEOUT_S)

    async def states(self, intents: Sequence[UUID]) -> dict[UUID, str | None]:
        """The intents' states."""
        rows = await self.stack.stores.pool.fetch("SELECT id, state FROM pm.intent WHERE id = ANY ($1)", intents)
        known = {row["id"]: row["state"] for row in rows}
        return {intent: known.get(intent) for intent in intents}

    async def sent(self, made: Sequence[Posted]) -> None:
        """Wait until the jobs have left the outbox."""
        query = "SELECT count(*) FROM pm.outbox_event WHERE intent_id = ANY ($1) AND sent_at IS NOT NULL"

        async def left() -> bool:
            count = await self.stack.stores.pool.fetchval(query, [one.intent for one in made])
            return bool(count == len(made))

        await until(left, "jobs on their way", timeout_s=TIMEOUT_S)

    async def payments(self, one: Posted) -> int:
        """How often the PSP has paid it, by its own books."""
        (line,) = [line for line in (await reckon(self.stack, self.posted)).lines if line.posted is one]
        return line.paid_times

    async def paymesh(self, *words: str) -> tuple[int, str]:
        """Call a command; return its exit status and what it said."""
        environ = plain_environ(DATABASE_URL=self.database_url, REDIS_URL=self.redis_url)
        argv = [sys.executable, "-m", "ops.cli", *words]
        called = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, stderr=STDOUT, cwd=ROOT, env=environ)
        said, _ = await asyncio.wait_for(called.communicate(), TIMEOUT_S)
        return called.returncode or 0, said.decode()

    @property
    def orchestrator(self) -> Server:
        """The one that runs."""
        return next(server for server in self.stack.servers if server.name == "orchestrator")

    def reconciler(self) -> Server:
        """One to be started, with short periods."""
        model = self.orchestrator
        assert model.env is not None
        environ = {name: value for name, value in model.env.items() if not name.startswith("ORCHESTRATOR_")}
        environ |= {"RECONCILER_SWEEP_S": "0.5", "RECONCILER_STUCK_AFTER_S": "1"}
        log = self.stack.folder / "reconciler.log"
        argv = [sys.executable, "-m", "reconciler.main"]
        made = replace(model, name="reconciler", argv=argv, env=environ, log=log, ready=log.exists)
        self.stack.servers.append(made)
        return made


async def started(adapter: Adapter) -> Adapter:
    """Wait until an adapter reads jobs."""
    await until(lambda: adapter.ready, "an adapter", timeout_s=TIMEOUT_S)
    return adapter


async def ends(server: Server, code: int) -> None:
    """Wait until a process has ended by itself."""
    await until(lambda: not server.running, f"{server.name} ending", timeout_s=TIMEOUT_S)
    assert server.exit_code == code, server.log_tail()


async def test_a_mesh_whose_redis_was_emptied_is_led_back_without_paying_anything_twice(
    database: str, redis_url: str, tmp_path: Path
) -> None:
    """Paid and not yet told: found out by asking. Never sent: barred and given back. Posted afterwards: paid."""
    url = f"{redis_url.rpartition('/')[0]}/1"
    async with running_stack(tmp_path, database_url=database, redis_url=url, fence=FenceKind.CANCEL) as stack:
        drill = Drill(stack, database, url)
        struck = stack.start_adapter("ipps", 1, Strike("answer_received", "kill"))
        made = await drill.fund(6)
        await started(struck)
        paid, waiting = made[:3], made[3:]
        await drill.pay(paid)
        await until(lambda: struck.struck, "the adapter killed with answers in its hands", timeout_s=TIMEOUT_S)
        await drill.pay(waiting)
        await drill.sent(waiting)
        paid_before = [one for one in paid if await drill.payments(one)]
        assert paid_before, "the PSP has paid what nobody here knows of"

        await stack.redis.flushdb()
        # Some of them are dispatched once more, as by an outbox that forgot: their permits are gone with Redis.
        again = "UPDATE pm.outbox_event SET sent_at = NULL WHERE intent_id = ANY ($1)"
        await stack.stores.pool.execute(again, [one.intent for one in paid])

        await refused_to_start(drill)
        await recovered(drill)
        await runs_again(drill)
        await drill.wait_states([one.intent for one in made], {"SETTLED", "FAILED"})
        states = await drill.states([one.intent for one in made])
        assert {states[one.intent] for one in paid_before} == {IntentState.SETTLED}
        assert {states[one.intent] for one in waiting} == FAILED, "asked about, barred, given back"
        status, said = await drill.paymesh("recover", "--watch", "--timeout", "60s")
        assert (status, "the door is open" in said) == (0, True)
        late = await drill.fund(1)
        await drill.pay(late)
        await drill.wait_states([late[0].intent], {"SETTLED"})
        await all_books_agree(drill)


async def refused_to_start(drill: Drill) -> None:
    """No process starts on it, the doctor says why, and installing again mends nothing."""
    orchestrator = drill.orchestrator
    orchestrator.stop()
    orchestrator.spawn()
    await ends(orchestrator, EXIT_CONFIG)
    assert "Redis (slot i0) carries no mark" in orchestrator.log_tail()
    assert "paymesh recover" in orchestrator.log_tail()
    status, said = await drill.paymesh("doctor", "--json")
    found = {each["check"]: each["mend"] for each in json.loads(said)["diagnosis"]["findings"]}
    assert (status, found["mesh.marks"]) == (1, "paymesh recover")
    assert (await drill.paymesh("migrate"))[0] == 1


async def recovered(drill: Drill) -> None:
    """A dry run first, which changes nothing; then the recovery."""
    status, said = await drill.paymesh("recover")
    assert (status, "nothing was done" in said, "slot ipps" in said) == (1, True, True)
    assert not await drill.stack.redis.exists(keys.mesh("i0"), keys.mesh("ipps"))
    status, said = await drill.paymesh("recover", "--confirm")
    assert status == 2
    status, said = await drill.paymesh("recover", "--confirm", "--reason", "somebody typed FLUSHDB")
    assert status == 0, said


async def runs_again(drill: Drill) -> None:
    """Everything starts; the PSP's other adapter takes over."""
    before = drill.orchestrator.log.read_bytes().count(b"orchestrator_ready")
    drill.orchestrator.spawn()
    drill.reconciler().spawn()

    def ready() -> bool:
        return drill.orchestrator.log.read_bytes().count(b"orchestrator_ready") > before

    await until(ready, "the orchestrator", timeout_s=TIMEOUT_S)
    await started(drill.stack.start_adapter("ipps", 2))


async def all_books_agree(drill: Drill) -> None:
    """The PSP's, the ledger's and the database's."""

    async def agree() -> bool:
        return not (await reckon(drill.stack, drill.posted)).all_faults

    async def faults() -> list[str]:
        return (await reckon(drill.stack, drill.posted)).all_faults

    try:
        await until(agree, "books that agree", timeout_s=30)
    except AssertionError:
        assert await faults() == []
    for one in drill.posted:
        assert await drill.payments(one) <= 1
    stores = drill.stack.stores
    begin: Callable[[str, int | None], Callable[[int], None]] = lambda *_: lambda _: None  # noqa: E731
    report = await check_invariants(
        ledger=stores.ledger(), pool=stores.pool, redis=drill.stack.redis, begin=begin, nothing_open=True
    )
    assert report.ok, [(check.name, check.violations) for check in report.checks if not check.holds]
