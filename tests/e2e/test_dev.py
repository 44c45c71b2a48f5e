"""`paymesh dev` as a developer uses it: what it prints works, what dies comes back, what was paid stays paid."""

import asyncio
import json
import os
import re
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest

from ops.client import Answer, new_idempotency_key, open_client
from ops.dev.key import read_dev_key
from tests.e2e.conftest import Home
from tests.integration.ops.processes import ROOT, wait_gone
from tests.waiting import until_sync

PAY = {
    "operation_type": "P2P_TRANSFER",
    "from_account": "user:alice:THB",
    "to_account": "user:bob:THB",
    "amount_minor": 1,
    "currency": "THB",
}
PAY_OUT = {
    "operation_type": "IPPS_WITHDRAWAL",
    "from_account": "user:alice:THB",
    "amount_minor": 100,
    "currency": "THB",
    "proxy_type": "MOBILE",
    "proxy": "081-234-5678",
}


@dataclass(slots=True)
class Dev:
    """A running `paymesh dev` and what it has printed."""

    home: Home
    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where its gateway listens."""
        found = re.search(r"gateway +(http://\S+)", "\n".join(self.lines))
        assert found is not None
        return found[1]

    @property
    def hints(self) -> list[str]:
        """The shell lines it offers."""
        start = next(number for number, line in enumerate(self.lines) if line.startswith("Try"))
        end = self.lines.index("", start)
        return [line.strip() for line in self.lines[start + 1 : end]]

    def children(self) -> dict[str, int]:
        """Its children's process ids by name, as it has recorded them."""
        run = json.loads((self.home.path / "dev" / "run.json").read_text())
        return {name: pid for name, pid, _ in run["children"]}

    def said(self, words: str, *, timeout_s: float = 60.0) -> str:
        """Wait for a line with these words."""
        return (
            until_sync(lambda: next((line for line in self.lines if words in line), None), words, timeout_s=timeout_s)
            or ""
        )

    def json(self, *arguments: str) -> Any:
        """Call a command beside it and return the JSON it printed."""
        done = self.home.invoke(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def pay(self) -> dict[str, Any]:
        """Pay one unit, and return what the gateway answered."""
        return self.post(PAY, user_id="alice", wait_s=10)

    def post(self, operation: Mapping[str, Any], *, user_id: str, wait_s: int | None = None) -> dict[str, Any]:
        """Post an intent, and return what the gateway answered."""
        key = read_dev_key(self.home.path / "dev")
        assert key is not None

        async def post() -> Answer:
            async with open_client(url=self.url, key=key.key, secret=key.secret) as client:
                return await client.send_until_answered(
                    operation, idempotency_key=new_idempotency_key(), user_id=user_id, wait_s=wait_s
                )

        return asyncio.run(post()).document


@contextmanager
def developing(home: Home) -> Iterator[Dev]:
    """Keep a `paymesh dev` up for the length of the block."""
    process = subprocess.Popen(
        home.argv("dev", "--ledger", "postgres"),
        cwd=ROOT, env=home.environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    dev = Dev(home, process)
    stdout = process.stdout
    assert stdout is not None
    reader = threading.Thread(target=lambda: dev.lines.extend(line.rstrip("\n") for line in stdout), daemon=True)
    reader.start()
    try:
        until_sync(
            lambda: dev.process.poll() is not None or any(line.startswith("Try") for line in dev.lines),
            "dev",
            timeout_s=60,
        )
        assert process.poll() is None, "\n".join(dev.lines)
        dev.said("listening")
        yield dev
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()
            reader.join()
            stdout.close()
        wait_gone(family)


@pytest.fixture(scope="module")
def dev(home: Home) -> Iterator[Dev]:
    """A `paymesh dev` that several tests look at."""
    with developing(home) as running:
        yield running


def test_the_printed_lines_work_as_they_stand(dev: Dev) -> None:
    """Pasted into a shell they pay, pay out, top up by a code that is paid, list accounts and check the books."""
    done = dev.home.shell(dev.hints)
    assert done.returncode == 0, done.stdout + done.stderr
    settled = re.findall(r'"state":"SETTLED"[^}]*"operation_type":"(\w+)"', done.stdout)
    assert settled == ["P2P_TRANSFER", "IPPS_WITHDRAWAL", "QP_TOPUP"]
    assert '"next_action":{"kind":"qr"' in done.stdout
    assert '"balance_minor":1000' in done.stdout
    assert "305.10 RUB" in done.stdout
    assert "user:alice:THB" in done.stdout
    assert "violated" not in done.stdout


def test_a_second_start_says_what_runs_and_disturbs_nothing(dev: Dev) -> None:
    """Its process and its URLs, exit 1, and the first goes on paying."""
    second = dev.home.paymesh("dev", "--ledger", "postgres")
    assert second.returncode == 1
    assert str(dev.process.pid) in second.stderr
    assert dev.url in second.stderr
    assert dev.pay()["state"] == "SETTLED"


def test_commands_find_the_running_mesh(dev: Dev) -> None:
    """Keys, accounts, intents, invariants and migrate work beside it without any variable."""
    assert [key["id"] for key in dev.json("keys", "list")] == ["dev"]
    assert dev.json("accounts", "open", "merchant:shop:THB") == {"merchant:shop:THB": True}
    assert "merchant:shop:THB" in {row["name"] for row in dev.json("accounts", "list")}
    intent = dev.pay()["id"]
    shown = dev.json("intent", "show", intent)
    assert (shown["id"], shown["state"]) == (intent, "SETTLED")
    assert dev.json("invariants", "--nothing-open")["ok"] is True
    assert dev.json("migrate")["applied"] == []


def test_tables_are_printed_for_people(dev: Dev) -> None:
    """The same without --json."""
    intent = dev.pay()["id"]
    for arguments, words in (
        (("keys", "list"), "in force"),
        (("accounts", "list", "--prefix", "user:", "--limit", "1"), "--after user:alice:RUB"),
        (("intent", "show", intent), "AUTHORIZED"),
        (("invariants",), "every transit account stands at zero"),
        (("migrate",), "partitions, ledger in postgres"),
        (("accounts", "open", "user:alice:THB"), "is open"),
    ):
        done = dev.home.invoke(*arguments)
        assert done.exit_code == 0, done.output
        assert words in done.output


def test_what_was_never_accepted_and_what_is_no_id_have_their_exit_codes(dev: Dev) -> None:
    """1: there is none. 2: not understood."""
    assert dev.home.invoke("intent", "show", "01a1fa62-f5db-7076-b386-9771ad000000").exit_code == 1
    assert dev.home.invoke("intent", "show", "nonsense").exit_code == 2
    assert dev.home.invoke("accounts", "open", "user:a b:THB").exit_code == 2


def test_a_key_lives_from_create_to_disable(dev: Dev) -> None:
    """Created, rotated with both secrets good, disabled: gateways follow within moments."""
    first = dev.json("keys", "create", "shop", "--owner", "Shop", "--account", "user:*")["secret"]
    until_sync(lambda: _statuses(dev, first) == {200}, "the new key")
    rotated = dev.json("keys", "rotate", "shop", "--confirm", "--reason", "test")
    second = rotated["secret"]
    until_sync(lambda: _statuses(dev, second) == {200}, "the new secret")
    assert _statuses(dev, first) == {200}
    assert rotated["previous_ends_at"] is not None
    dry = dev.home.invoke("keys", "disable", "shop")
    assert (dry.exit_code, "nothing was done" in dry.output) == (0, True)
    assert _statuses(dev, second) == {200}
    assert dev.json("keys", "disable", "shop", "--confirm", "--reason", "test") == {"key": "shop", "disabled": True}
    for secret in (first, second):
        until_sync(lambda given=secret: _statuses(dev, given) == {401}, "the end of the key")  # type: ignore[misc]


def _statuses(dev: Dev, secret: str) -> set[int]:
    """Ask for a balance with a secret of the key `shop`, of whichever gateways answer; return the HTTP statuses."""

    async def ask() -> list[Answer]:
        async with open_client(url=dev.url, key="shop", secret=secret) as client:
            return await asyncio.gather(*(client.balance("user:alice:THB") for _ in range(12)))

    return {answer.status for answer in asyncio.run(ask())}


def test_adapters_and_sandboxes_are_told_what_they_need_and_nothing_else(dev: Dev) -> None:
    """No adapter knows a database or a ledger, no sandbox the key ring or Valkey, whatever our own environment says."""
    kids = dev.children()
    for psp in ("ipps", "qp"):
        adapter = psutil.Process(kids[f"adapter-{psp}"]).environ()
        sandbox = psutil.Process(kids[f"sandbox-{psp}"]).environ()
        assert {"REDIS_URL", "PAYMESH_KEYRING_FILE", "ADAPTER_BASE_URL"} <= set(adapter)
        foreign = {"DATABASE_URL", "TIGERBEETLE_ADDRESSES", "PAYMESH_SERVICE_SECRET", "PAYMESH_DATA"}
        assert not foreign & {*adapter, *sandbox}
        assert not {"REDIS_URL", "PAYMESH_KEYRING_FILE", "PAYMESH_KEYRING"} & set(sandbox)
        assert adapter["ADAPTER_CALLBACK_SECRETS"] == sandbox["SANDBOX_CALLBACK_SECRET"]


@pytest.mark.parametrize("name", ["adapter-ipps", "sandbox-ipps"])
def test_withdrawals_go_on_when_an_adapter_or_a_sandbox_is_killed(dev: Dev, name: str) -> None:
    """It comes back, and what was posted meanwhile settles."""
    before = dev.children()[name]
    os.kill(before, signal.SIGKILL)
    intent = dev.post(PAY_OUT, user_id="alice")["id"]
    dev.said(f"{name} was ended by SIGKILL; starting again")
    until_sync(lambda: dev.children().get(name, before) != before, f"another {name}")
    until_sync(
        lambda: dev.json("intent", "show", intent)["state"] == "SETTLED", "a withdrawal that settles", timeout_s=60
    )


@pytest.mark.parametrize("name", ["gateway-1", "orchestrator-1", "reconciler-1", "valkey", "postgres"])
def test_what_is_killed_comes_back_and_payments_go_on(dev: Dev, name: str) -> None:
    """A line says so, and the next payment settles."""
    before = dev.children()[name]
    os.kill(before, signal.SIGKILL)
    dev.said(f"{name} was ended by SIGKILL; starting again")
    until_sync(lambda: dev.children().get(name, before) != before, f"another {name}")
    until_sync(lambda: dev.pay().get("state") == "SETTLED", "a payment that settles", timeout_s=40)


def test_all_gateways_answer_for_all_in_their_metrics(dev: Dev) -> None:
    """They share a port: whichever is asked counts what any of them did."""
    dev.pay()
    counts = [_requests_counted(dev.url) for _ in range(8)]
    assert min(counts) >= 1
    assert counts == sorted(counts), "a gateway answers for itself only"


def _requests_counted(url: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310 - our own gateway
        text = str(answer.read().decode())
    return sum(map(float, re.findall(r"^paymesh_gateway_seconds_count\S* (\S+)$", text, re.MULTILINE)))


def test_logs_are_shown_as_they_are_written(dev: Dev) -> None:
    """By service, in words."""
    dev.said("orchestrator_ready")
    assert any(re.match(r"\d\d:\d\d:\d\d gateway-\d +listening", line) for line in dev.lines)
    assert not any(line.startswith("{") for line in dev.lines)


def test_money_url_and_key_stay_between_runs(home: Home, dev: Dev) -> None:
    """Stopped with Ctrl-C (exit 0) and started again: the same balance, the same key, the same URL."""
    held = {row["name"]: row["balance"] for row in dev.json("accounts", "list")}
    secret = next(line for line in dev.lines if "secret" in line)
    dev.process.send_signal(signal.SIGINT)
    assert dev.process.wait(60) == 0, "\n".join(dev.lines[-20:])
    with developing(home) as again:
        assert {row["name"]: row["balance"] for row in again.json("accounts", "list")} == held
        assert next(line for line in again.lines if "secret" in line) == secret
        assert again.url == dev.url
        assert again.pay()["state"] == "SETTLED"
        assert again.json("invariants", "--nothing-open")["ok"] is True
