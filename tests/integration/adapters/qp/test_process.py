"""The adapter as a process: it starts on its settings, works, and leaves when asked."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from ops.embedded.server import end_with_parent
from shared.contracts import Action, Outcome
from tests.integration.adapters.qp.scene import KEY, SECRET, a_topup, at_work
from tests.integration.adapters.runtime.scene import RING_TEXT
from tests.waiting import until

ROOT = Path(__file__).parents[4]


def start(environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """Start an adapter that ends with this process."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "adapters.qp.main"],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent(),  # noqa: PLW1509 - one prctl call, prepared before the fork
        )


async def test_the_adapter_runs_as_a_process(redis_url: str, tmp_path: Path) -> None:
    """A top-up is shown, its payment heard of and found; the end is orderly, and no secret is in the log."""
    async with at_work(redis_url, adapter=False) as world:
        environment = {
            "PATH": os.environ["PATH"],
            "PAYMESH_ENVIRONMENT": "test",
            "PAYMESH_LOG": "json",
            "PAYMESH_KEYRING": RING_TEXT,
            "REDIS_URL": redis_url,
            "ADAPTER_BASE_URL": world.sandbox_url,
            "ADAPTER_API_KEY": KEY,
            "ADAPTER_CALLBACK_HOST": "127.0.0.1",
            "ADAPTER_CALLBACK_PORT": str(world.settings.callback_port),
            "ADAPTER_CALLBACK_SECRETS": SECRET,
            "ADAPTER_CALLBACK_NETWORKS": "127.0.0.1/32",
            "ADAPTER_BLOCK_MS": "50",
        }
        log = tmp_path / "log"
        process = start(environment, log)
        try:
            await until(lambda: process.poll() is not None or "adapter_ready" in log.read_text(), "a ready adapter")
            assert process.poll() is None, log.read_text()
            job = a_topup()
            assert (await world.submit(job)).outcome is Outcome.NEXT_ACTION
            (payment,) = await world.pay(job)
            assert [said.psp_transaction_id for said in await world.heard(job)] == [payment]
            ((_, paid),) = await world.ask(job, Action.INQUIRE)
            assert (paid.outcome, paid.psp_transaction_id) == (Outcome.PAID, payment)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
        written = log.read_text()
        assert not [secret for secret in (KEY, SECRET, "for the trip", "qr.nspk.ru") if secret in written]
