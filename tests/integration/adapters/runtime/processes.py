"""Real adapter processes that stop or kill themselves at a step."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ops.embedded.server import end_with_parent
from tests.contract.psp.bank import Bank
from tests.integration.adapters.runtime.scene import QUICK

ROOT = Path(__file__).parents[4]
_ELSEWHERE = {"environment": "PAYMESH_ENVIRONMENT", "keyring_text": "PAYMESH_KEYRING"}


class AdapterProcess:
    """One adapter of the tests' bank; with a step, it stops or kills itself there, once."""

    def __init__(
        self, folder: Path, redis_url: str, bank: Bank, *, step: str = "", how: str = "", **changes: Any
    ) -> None:
        folder.mkdir(parents=True)
        self.log = folder / "log"
        self._pause = folder / "pause"
        if step:
            self._pause.write_text(f"{step} {how}")
        settings = QUICK | {"pause_file": self._pause, "bank_url": bank.url, "bank_fence": bank.fence} | changes
        environment = {"REDIS_URL": redis_url, "PATH": os.environ["PATH"], "PAYMESH_LOG": "json"}
        for name, value in settings.items():
            environment[_ELSEWHERE.get(name, f"ADAPTER_{name.upper()}")] = str(value)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.contract.psp.bank_psp"],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent(),  # noqa: PLW1509 - one prctl call, prepared before the fork
            )

    @property
    def ready(self) -> bool:
        """Whether it reads jobs."""
        assert self.process.poll() is None, self.log.read_text()
        return "adapter_ready" in self.log.read_text()

    @property
    def struck(self) -> bool:
        """Whether it has come to its step, and has stopped or died of it."""
        if not self._pause.with_name("pause.claimed").exists():
            return False
        return self.process.poll() is not None or self._state() == "T"

    def go_on(self) -> None:
        """Let a stopped process continue."""
        self.process.send_signal(signal.SIGCONT)

    def leave(self) -> int:
        """Ask the process to drain and end; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGCONT)
        return self.process.wait(20)

    def end(self) -> None:
        """Make sure that it is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)

    def _state(self) -> str:
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
