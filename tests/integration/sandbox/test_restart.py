"""Sandboxes as processes: killed and started again with their books."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession

from adapters.sandbox.client import SandboxControl
from tests.integration.sandbox.world import SECRET, IppsPartner, QpPartner, Receiver
from tests.waiting import until

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Process:
    """A running sandbox, and where it says it listens."""

    child: "subprocess.Popen[str]"
    url: str
    control_url: str

    def kill(self) -> None:
        """End it as a power cut would."""
        self.child.kill()
        self.child.wait()


@contextmanager
def running(psp: str, **settings: str) -> Iterator[Process]:
    """Run a sandbox as its documentation says, until the block ends or the test kills it."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("SANDBOX_", "PAYMESH_"))}
    child = subprocess.Popen(
        [sys.executable, "-m", f"adapters.sandbox.{psp}"],
        cwd=ROOT,
        env=keep | {f"SANDBOX_{name.upper()}": value for name, value in settings.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    try:
        ready = json.loads(child.stdout.readline() or "{}")
        yield Process(child, ready.get("url", ""), ready.get("control_url", ""))
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def partner(http: ClientSession, process: Process) -> IppsPartner:
    """A partner of an IPPS that runs as a process."""
    return IppsPartner(http, process.url, SandboxControl(http=http, control_url=process.control_url))


async def test_a_killed_sandbox_knows_what_it_paid(tmp_path: Path, http: ClientSession) -> None:
    """Transfers, bars, look-ups and the clock are all there again."""
    books = str(tmp_path / "books.jsonl")
    with running("ipps", books=books) as process:
        first = partner(http, process)
        paid = await first.pay("A1")
        with pytest.raises(TimeoutError):
            await first.pay("A2", "timeout_after_commit", wait_s=1.0)
        await first.pay("A3", "decline:over_limit")
        await first.control.change_terms(submitFence="cancel")
        await first.cancel("A4")
        before = await first.control.books()
        await first.control.advance(119_000)
        process.kill()
    with running("ipps", books=books, submit_fence="cancel") as process:
        second = partner(http, process)
        assert await second.control.books() == before
        assert (await second.status("A1")).body == paid.body
        assert await second.paid("A2") == (1, 10_000)
        assert (await second.pay("A4")).body["status"] == "CANCELLED"
        assert (await second.control.call("GET", "/control/clock"))["aheadMs"] == 119_000


async def test_a_sandbox_killed_under_fire_has_paid_what_it_answered(tmp_path: Path, http: ClientSession) -> None:
    """Whoever heard SETTLED finds it settled; nobody is half paid."""
    books = str(tmp_path / "books.jsonl")
    heard: list[str] = []
    numbers = itertools.count()

    async def shoot(shooting: IppsPartner, reference: str) -> None:
        with suppress(ClientError):
            while True:
                said = await shooting.transfer(f"A{next(numbers)}", reference)
                heard.append(said.body["partnerTxnUid"])

    with running("ipps", books=books) as process:
        shooting = partner(http, process)
        reference = await shooting.ref()
        shooters = [asyncio.create_task(shoot(shooting, reference)) for _ in range(16)]
        await until(lambda: len(heard) >= 100, "a hundred answers")
        process.child.send_signal(signal.SIGKILL)
        await asyncio.gather(*shooters)
    with running("ipps", books=books) as process:
        after = await partner(http, process).control.books()
        settled = {row["partnerTxnUid"] for row in after["transfers"] if row["status"] == "SETTLED"}
        assert settled >= set(heard)
        assert settled == {row["partnerTxnUid"] for row in after["movements"]}
        assert {row["status"] for row in after["transfers"]} == {"SETTLED"}


async def test_a_killed_sandbox_does_what_it_had_still_to_do(
    tmp_path: Path, http: ClientSession, qp_receiver: Receiver
) -> None:
    """Pays the code, and tells the partner."""
    settings = {"books": str(tmp_path / "b.jsonl"), "callback_url": qp_receiver.url, "callback_secret": SECRET}
    with running("qp", **settings) as process:
        first = QpPartner(http, process.url, SandboxControl(http=http, control_url=process.control_url))
        await first.create("o1", testScenario="paid:600000")
        process.kill()
    with running("qp", **settings) as process:
        second = QpPartner(http, process.url, SandboxControl(http=http, control_url=process.control_url))
        assert await second.status("o1") == "NEW"
        await second.control.advance(600_000)
        await until(lambda: qp_receiver.heard, "the callback")
        assert await second.paid("o1") == (1, 30_510)


async def test_a_sandbox_stops_in_order_when_told_to(http: ClientSession) -> None:
    """Exit code 0, even with callers that still wait for an answer: they never get one."""
    with running("ipps") as process:
        waiting = [
            asyncio.create_task(partner(http, process).look_up(testScenario=f"lookup={scenario}"))
            for scenario in ("timeout_after_commit", "slow:60000")
        ]

        async def arrived() -> bool:
            return len(await partner(http, process).control.calls()) == len(waiting)

        await until(arrived, "both calls")
        process.child.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.child.wait, 20) == 0
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(end, ClientError) for end in ends)


def test_two_sandboxes_never_share_their_books(tmp_path: Path) -> None:
    """The second one does not start."""
    books = str(tmp_path / "books.jsonl")
    with running("ipps", books=books), running("ipps", books=books) as second:
        assert second.url == ""
        assert second.child.wait(timeout=20) == 78


@pytest.mark.parametrize(
    "settings", [{"lookup_tll_ms": "1"}, {"callback_url": "http://127.0.0.1:1/"}, {"submit_fence": "hope"}]
)
def test_a_sandbox_with_wrong_settings_does_not_start(settings: dict[str, str]) -> None:
    """Misspelt names, callbacks without a secret, fences that do not exist."""
    with running("qp", **settings) as process:
        assert process.url == ""
        assert process.child.wait(timeout=20) == 78
