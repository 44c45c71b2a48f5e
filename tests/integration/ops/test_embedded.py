"""The embedded servers as real processes: started, kept, killed at the worst moment, never left behind."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import rmtree, which

import asyncpg
import psutil
import pytest
from redis.asyncio import Redis

from ops.embedded.folder import AlreadyRuns, owned, running_run
from ops.embedded.postgres import postgres, postgres_url, remove_cluster
from ops.embedded.server import ServerFailed
from ops.embedded.services import Stores
from ops.embedded.stack import Stack, StackPlan, running_stack
from ops.install import install
from tests.integration.ops.processes import ROOT, held_stack, plain_environ, quick_folder, wait_gone


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder of its own."""
    parent = quick_folder("paymesh-stack-")
    yield parent / "a folder"
    remove_cluster(parent / "a folder" / "postgres")
    rmtree(parent)


def plan(folder: Path, **more: object) -> StackPlan:
    """A stack of servers only, on the PostgreSQL ledger."""
    settings = {"ledger": "postgres", "gateways": 0, "orchestrators": 0, "reconcilers": 0, "fsync": False} | more
    return StackPlan(folder=folder, environ=plain_environ(), **settings)  # type: ignore[arg-type]


def written(path: Path, text: str) -> Path:
    """Write a file and the folder it is in."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


async def nothing(_: Stores) -> None:
    """Prepare nothing."""


async def write_both(stack: Stack, value: str) -> None:
    """Leave a value in Valkey and in PostgreSQL."""
    async with Redis.from_url(stack.stores.redis_url) as redis:
        await redis.set("kept", value)
    connection = await asyncpg.connect(stack.stores.database_url)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
    await connection.execute("INSERT INTO kept VALUES ($1)", value)
    await connection.close()


async def read_both(stack: Stack) -> tuple[str | None, str | None]:
    """Read what an earlier run left in Valkey and in PostgreSQL."""
    async with Redis.from_url(stack.stores.redis_url) as redis:
        left: bytes | None = await redis.execute_command("GET", "kept")
    connection = await asyncpg.connect(stack.stores.database_url)
    try:
        there = await connection.fetchval("SELECT to_regclass('kept') IS NOT NULL")
        row = await connection.fetchval("SELECT value FROM kept") if there else None
    finally:
        await connection.close()
    return (bytes(left).decode() if left else None), row


async def test_a_second_run_finds_data_and_ports_where_the_first_left_them(folder: Path) -> None:
    """Data, ports and key ring are kept; every child of the first run has ended."""
    async with running_stack(plan(folder), prepare=nothing, say=print) as first:
        await write_both(first, "one")
        ring = (folder / "keyring").read_text()
        children = [psutil.Process(child.pid) for child in first.servers]
    assert not any(child.is_running() for child in children)
    assert not Path(first.stores.database_url.partition("host=")[2]).exists(), "an empty socket folder is left"  # noqa: ASYNC240
    async with running_stack(plan(folder), prepare=nothing, say=print) as second:
        assert await read_both(second) == ("one", "one")
        assert second.url == first.url
        assert second.stores == first.stores
    assert (folder / "keyring").read_text() == ring
    assert stat.S_IMODE((folder / "keyring").stat().st_mode) == 0o600


async def test_a_clean_start_keeps_nothing(folder: Path) -> None:
    """`clean` deletes data and key ring of earlier runs."""
    async with running_stack(plan(folder), prepare=nothing, say=print) as first:
        await write_both(first, "one")
        ring = (folder / "keyring").read_text()
    async with running_stack(plan(folder, clean=True), prepare=nothing, say=print) as second:
        assert await read_both(second) == (None, None)
    assert (folder / "keyring").read_text() != ring


async def test_a_port_that_somebody_took_is_replaced(folder: Path) -> None:
    """The stack moves to another port instead of failing, or talking to a stranger."""
    async with running_stack(plan(folder), prepare=nothing, say=print) as first:
        port = int(first.stores.redis_url.rpartition(":")[2].partition("/")[0])
    with socket.create_server(("127.0.0.1", port)):
        async with running_stack(plan(folder), prepare=nothing, say=print) as second:
            assert second.stores.redis_url != first.stores.redis_url
            await write_both(second, "two")


async def test_a_second_start_says_what_runs_instead_of_clashing(folder: Path) -> None:
    """It names the process and its URLs, and the first goes on untouched."""
    async with running_stack(plan(folder), prepare=nothing, say=print) as first:
        with pytest.raises(AlreadyRuns) as refused:
            async with running_stack(plan(folder, clean=True), prepare=nothing, say=print):
                pass
        assert str(os.getpid()) in str(refused.value)
        assert first.url in str(refused.value)
        assert first.stores.redis_url in str(refused.value)
        await write_both(first, "still here")


async def test_an_error_in_the_block_stops_every_child(folder: Path) -> None:
    """Whatever ends the block, nothing is left, and the folder is free again."""
    children: list[psutil.Process] = []

    async def fail() -> None:
        async with running_stack(plan(folder), prepare=nothing, say=print) as stack:
            children.extend(psutil.Process(child.pid) for child in stack.servers)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert children
    assert not any(child.is_running() for child in children)
    assert running_run(folder) is None


async def test_an_error_while_preparing_stops_every_child(folder: Path) -> None:
    """A failed migration leaves no server behind."""
    children: list[psutil.Process] = []
    before = {*psutil.Process().children()}

    async def fail(_: Stores) -> None:
        children.extend({*psutil.Process().children()} - before)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with running_stack(plan(folder), prepare=fail, say=print):
            pass
    assert len(children) == 2
    wait_gone(children)


async def test_a_child_that_can_no_longer_start_ends_the_block(folder: Path) -> None:
    """The reason is raised where the block stands, and the others are stopped."""
    children: list[psutil.Process] = []

    async def stay() -> None:
        async with running_stack(plan(folder), prepare=nothing, say=print) as stack:
            children.extend(psutil.Process(child.pid) for child in stack.servers)
            valkey = stack.child("valkey")
            valkey.argv = [sys.executable, "-c", "import sys; print('no such setting'); sys.exit(78)"]
            valkey.kill()
            await asyncio.Event().wait()

    with pytest.raises(ServerFailed, match=r"(?s)valkey cannot start as configured.*no such setting"):
        await stay()
    wait_gone(children)


def test_a_mesh_is_for_development_only_where_its_servers_are_ours(folder: Path) -> None:
    """One server of somebody else's is enough to leave what its mesh is for alone."""
    ours = {"PATH": "/bin"}
    assert StackPlan(folder=folder, environ=ours).environment == "development"
    assert StackPlan(folder=folder, environ=ours | {"PAYMESH_ENVIRONMENT": "production"}).environment == "production"
    for name in ("DATABASE_URL", "REDIS_URL", "TIGERBEETLE_ADDRESSES"):
        assert StackPlan(folder=folder, environ=ours | {name: "theirs"}).environment is None


async def test_a_service_that_cannot_start_is_named_with_its_last_words(folder: Path) -> None:
    """A setting that does not exist stops the start; nothing is left."""
    before = {*psutil.Process().children()}
    environ = plain_environ(RECONCILER_NONSENSE="1")
    wrong = StackPlan(folder=folder, environ=environ, ledger="postgres", gateways=0, orchestrators=0, fsync=False)

    async def prepare(stores: Stores) -> None:
        await install(stores.settings())

    with pytest.raises(ServerFailed, match=r"(?s)reconciler-1 ended while starting.*RECONCILER_NONSENSE"):
        async with running_stack(wrong, prepare=prepare, say=print):
            pass
    assert {*psutil.Process().children()} == before


async def test_a_terminal_that_is_gone_does_not_keep_children_alive(folder: Path) -> None:
    """Nobody hears that we are stopping; we stop."""
    children: list[psutil.Process] = []

    def say(line: str) -> None:
        if line == "stopping":
            raise OSError(5, "Input/output error")

    async def stay() -> None:
        async with running_stack(plan(folder), prepare=nothing, say=say) as stack:
            children.extend(psutil.Process(child.pid) for child in stack.servers)

    with pytest.raises(OSError, match="Input/output"):
        await stay()
    assert children
    wait_gone(children)


def test_ctrl_c_stops_every_child_in_order(folder: Path) -> None:
    """SIGINT to the holder alone ends it and everything below it."""
    with held_stack(folder) as held:
        family = held.family()
        held.process.send_signal(signal.SIGINT)
        held.process.wait(30)
        wait_gone(family)
    assert "database system is shut down" in (folder / "postgres.log").read_text()


def test_kill_9_of_the_holder_leaves_no_orphan(folder: Path) -> None:
    """The kernel ends the servers; PostgreSQL takes its own children along."""
    with held_stack(folder) as held:
        family = held.family()
        assert len([child for child in family if child.name() == "postgres"]) > 3
        held.process.kill()
        held.process.wait()
        wait_gone(family)


def test_a_killed_run_does_not_block_the_next(folder: Path) -> None:
    """The next start follows at once, over the same data and the same ports."""
    with held_stack(folder) as first:
        first.process.kill()
        first.process.wait()
        with held_stack(folder) as second:
            assert second.environ == first.environ
            assert second.url == first.url


def test_a_start_waits_for_the_children_of_a_killed_run(folder: Path) -> None:
    """A child that will not go is ended by its recorded id, but a stranger with that id is left alone."""
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    leftover = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        born = psutil.Process(leftover.pid).create_time()
        with owned(folder):
            left = json.loads((folder / "run.json").read_text())
        left["children"] = [["valkey", leftover.pid, born], ["postgres", stranger.pid, born - 1000]]
        (folder / "run.json").write_text(json.dumps(left))
        leftover.terminate()
        with owned(folder):
            assert leftover.poll() is not None or psutil.Process(leftover.pid).status() == psutil.STATUS_ZOMBIE
            assert stranger.poll() is None
    finally:
        for process in (stranger, leftover):
            process.kill()
            process.communicate()


async def test_kept_money_never_changes_its_ledger(folder: Path, tmp_path: Path) -> None:
    """Once a TigerBeetle binary turns up, data of the PostgreSQL ledger is refused, with what to do."""
    async with running_stack(plan(folder), prepare=nothing, say=print):
        pass
    binary = tmp_path / "tigerbeetle"
    binary.write_text("#!/bin/sh\nexit 1\n")
    binary.chmod(0o755)
    changed = StackPlan(folder=folder, environ=plain_environ(TIGERBEETLE_BIN=str(binary)), gateways=0)
    with pytest.raises(ServerFailed, match=r"(?s)is in the postgres ledger.*--ledger postgres.*--fresh"):
        async with running_stack(changed, prepare=nothing, say=print):
            pass
    assert not (folder / "tigerbeetle").exists()


async def test_a_tigerbeetle_that_cannot_run_is_named(folder: Path, tmp_path: Path) -> None:
    """TIGERBEETLE_BIN that is no program stops the start with its name."""
    environ = plain_environ(TIGERBEETLE_BIN=str(tmp_path / "nowhere"))
    with pytest.raises(ServerFailed, match="nowhere is not an executable file"):
        async with running_stack(StackPlan(folder=folder, environ=environ, gateways=0), prepare=nothing, say=print):
            pass


async def test_given_stores_are_used_instead_of_embedded_ones(folder: Path) -> None:
    """REDIS_URL and DATABASE_URL start no server, and nothing is ever deleted beside them."""
    environ = plain_environ(REDIS_URL="redis://127.0.0.1:1/0", DATABASE_URL="postgresql://nobody@/nowhere")
    given = StackPlan(
        folder=folder, environ=environ, ledger="postgres", gateways=0, orchestrators=0, reconcilers=0, clean=True
    )
    mine = written(folder / "keyring", "mine")
    async with running_stack(given, prepare=nothing, say=print) as stack:
        assert stack.servers == ()
        assert stack.stores.redis_url == "redis://127.0.0.1:1/0"
        assert stack.stores.database_url == "postgresql://nobody@/nowhere"
    assert mine.read_text() == "mine"


def test_a_socket_folder_of_somebody_else_is_refused(folder: Path) -> None:
    """Its name can be guessed: one that others may enter is not used."""
    sockets = Path(postgres_url(folder / "postgres").partition("host=")[2])
    sockets.mkdir(mode=0o700)
    sockets.chmod(0o777)
    with pytest.raises(ServerFailed, match="not a private folder"):
        postgres(folder / "postgres")
    sockets.chmod(0o700)
    postgres(folder / "postgres")


def _as_ordinary_user() -> Sequence[str]:
    """Return what makes a command run as nobody in particular."""
    if os.geteuid() != 0:
        pytest.skip("we are an ordinary user already")
    if which("setpriv") is None:
        pytest.skip("no setpriv to become an ordinary user with")
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    # Where the interpreter lies in a home that is closed to others, the user may look there, and no more than look.
    looking = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    for prefix in ([*user, "--"], [*user, *looking, "--"]):
        probe = [*prefix, sys.executable, "-c", "import asyncpg, ops.install"]
        if subprocess.run(probe, check=False, cwd=ROOT, capture_output=True).returncode == 0:
            return prefix
    pytest.skip("the ordinary user cannot reach this Python")


def test_an_ordinary_user_starts_and_stops_a_stack(folder: Path) -> None:
    """Nothing needs root; servers run as who started them, and end with it."""
    prefix = _as_ordinary_user()
    os.chown(folder.parent, 65534, 65534)
    with held_stack(folder, prefix=prefix) as held:
        family = held.family()
        assert {child.uids().effective for child in family} == {65534}
        held.process.kill()
        held.process.wait()
        wait_gone(family)
        with held_stack(folder, prefix=prefix) as again:
            assert again.environ == held.environ
    rmtree(held.environ["DATABASE_URL"].partition("host=")[2])


def test_root_runs_postgresql_as_somebody_else(folder: Path) -> None:
    """PostgreSQL refuses to be root; its folder is nobody else's to enter."""
    if os.geteuid() != 0:
        pytest.skip("we are not root")
    with held_stack(folder) as held:
        assert psutil.Process(held.pids["postgres"]).uids().effective != 0
        assert stat.S_IMODE((folder / "postgres").stat().st_mode) == 0o700
