"""What end-to-end tests share: the `paymesh` command as its users call it, in a folder of its own."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import pytest
from typer.testing import CliRunner, Result

from ops.cli import app
from ops.embedded.postgres import remove_cluster
from tests.integration.ops.processes import ROOT, STORES, plain_environ, quick_folder

TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class Home:
    """A folder to call `paymesh` in; its stacks keep their data below it."""

    path: Path

    def environ(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a user who has set nothing else."""
        return plain_environ(PAYMESH_DATA=str(self.path), **(more or {}))

    def argv(self, *arguments: str) -> list[str]:
        """The command line of a call."""
        return [sys.executable, "-m", "ops.cli", *arguments]

    def paymesh(
        self, *arguments: str, timeout_s: float = TIMEOUT_S, more: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Call `paymesh` and wait for its end."""
        return subprocess.run(
            self.argv(*arguments),
            check=False, cwd=ROOT, env=self.environ(more), capture_output=True, text=True, timeout=timeout_s,
        )  # fmt: skip

    def invoke(self, *arguments: str, more: Mapping[str, str] | None = None) -> Result:
        """Call `paymesh` in this process: the same command, without the second it takes to start."""
        unset = dict.fromkeys(STORES)
        return CliRunner().invoke(app, arguments, env={**unset, "PAYMESH_DATA": str(self.path), **(more or {})})

    def shell(self, lines: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Run shell lines as they would be pasted; the first that fails ends them."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
            check=False, cwd=ROOT, env=self.environ(), capture_output=True, text=True, timeout=TIMEOUT_S,
        )  # fmt: skip


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """A fresh folder."""
    path = quick_folder("paymesh-e2e-")
    yield Home(path)
    for stack in ("dev", "demo"):
        remove_cluster(path / stack / "postgres")
    rmtree(path, ignore_errors=True)
