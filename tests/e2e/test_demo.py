"""`paymesh demo` as a newcomer runs it: everything as computed and exit 0, or the truth and exit 1."""

import json
import re
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import psutil
import pytest

from ops.demo import run as demo_run
from ops.demo.script import Script, write_script
from ops.embedded.postgres import remove_cluster
from ops.embedded.tigerbeetle import tigerbeetle_binary
from tests.e2e.conftest import Home
from tests.integration.ops.processes import ROOT, held_stack, quick_folder, wait_gone


def test_the_demo_does_all_it_promises_and_leaves_nothing_behind(home: Home) -> None:
    """Every payment settled, every refusal refused, balances and invariants as computed, data removed."""
    done = home.paymesh("demo", "--ledger", "postgres")
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert "every expectation held" in said
    assert re.search(r"298 intents in .*HTTP 401 2.*HTTP 422 1.*REJECTED 4.*SETTLED 287", said)
    for outcome in ("insufficient_funds", "unknown_account", "bad_signature", "idempotency_key_reused"):
        assert outcome in said
    assert said.count("as computed") == 21
    assert said.count("holds") >= 8
    assert "violated" not in said
    assert "wrong" not in said
    assert "\x1b[" not in said, "colours where nobody looks"
    assert [path.name for path in (home.path / "demo").iterdir()] == ["lock"]


def test_the_demo_starts_clean_whatever_an_earlier_one_left(home: Home) -> None:
    """A run that was killed in the middle does not enter the next one's balances."""
    first = subprocess.Popen(
        home.argv("demo", "--ledger", "postgres", "--transfers", "5000"),
        cwd=ROOT, env=home.environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert first.stdout is not None
    for line in first.stdout:
        if "60 done" in line:
            break
    family = psutil.Process(first.pid).children(recursive=True)
    assert len(family) > 8
    first.kill()
    first.communicate()
    wait_gone(family)
    second = home.paymesh("demo", "--ledger", "postgres", "--transfers", "200", "--seed", "2")
    assert second.returncode == 0, second.stdout + second.stderr


def test_ctrl_c_ends_the_demo_and_every_child(home: Home) -> None:
    """In order, quickly, and with the exit status of an interrupted command."""
    demo = subprocess.Popen(
        home.argv("demo", "--ledger", "postgres", "--transfers", "5000"),
        cwd=ROOT, env=home.environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert demo.stdout is not None
    for line in demo.stdout:
        if "posting" in line:
            break
    family = psutil.Process(demo.pid).children(recursive=True)
    demo.send_signal(signal.SIGINT)
    rest = demo.communicate(timeout=60)[0]
    assert demo.returncode == 130, rest
    assert "Traceback" not in rest
    wait_gone(family)


def test_the_demo_fails_when_something_is_not_as_computed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """One unit too many, and one refusal that should have been a payment: exit 1, both named, data kept."""

    def mistaken(seed: int, *, run: str, transfers: int) -> Script:
        script = write_script(seed, run=run, transfers=transfers)
        wallet = script.wallets[3]
        broke, *others = script.refusals
        return replace(
            script,
            expected_minor={**script.expected_minor, wallet: script.expected_minor[wallet] + 1},
            refusals=(replace(broke, expected=script.transfers[0].expected), *others),
        )

    monkeypatch.setattr(demo_run, "write_script", mistaken)
    done = home.invoke("demo", "--ledger", "postgres", "--transfers", "10")
    assert done.exit_code == 1, done.output
    assert "the demo failed" in done.output
    assert "user:dao:THB holds" in done.output
    assert "short of funds: REJECTED (insufficient_funds) instead of SETTLED" in done.output
    assert "violated" not in done.output
    assert (home.path / "demo" / "logs" / "gateway-1.log").exists()


@pytest.mark.slow
@pytest.mark.tigerbeetle
@pytest.mark.timeout(180)
def test_the_demo_runs_on_tigerbeetle_where_its_server_is_found(tmp_path: Path) -> None:
    """The same promises on the real ledger; on a real disk, since it needs Direct I/O to be itself."""
    if tigerbeetle_binary() is None:
        pytest.skip("no TigerBeetle server on PATH or in TIGERBEETLE_BIN")
    tmp_path.chmod(0o755)
    done = Home(tmp_path).paymesh("demo", timeout_s=150)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ledger: tigerbeetle" in done.stdout
    assert not (tmp_path / "demo" / "tigerbeetle").exists()


def test_given_stores_are_used_and_nothing_in_them_is_deleted(home: Home) -> None:
    """Two demos over the same stores of somebody else: both hold, the second finds the first's wallets untouched."""
    folder = quick_folder("paymesh-given-")
    try:
        with held_stack(folder / "stores") as held:
            given = {name: held.environ[name] for name in ("REDIS_URL", "DATABASE_URL")}
            for _ in range(2):
                done = home.paymesh("demo", "--ledger", "postgres", "--transfers", "20", more=given)
                assert done.returncode == 0, done.stdout + done.stderr
                assert "servers: none" in done.stdout
            accounts = json.loads(home.paymesh("accounts", "list", "--prefix", "user:", "--json", more=given).stdout)
        assert len(accounts) == 42
    finally:
        remove_cluster(folder / "stores" / "postgres")
        rmtree(folder)
