"""docs/adding-a-psp.md as a stranger follows it: every command is typed, every file written, in a copy of the tree."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from ops.install import install
from shared.config import StoreSettings
from shared.sealing import generate
from tests.ports import Lease
from tests.waiting import until_sync

ROOT = Path(__file__).parents[2]
COPIED = ("adapters", "compose", "gateway", "orchestrator", "ops", "reconciler", "shared", "tests")
TOUCHED = ("adapters/acme", "tests/contract/psp/acme_stand.py", "tests/unit/adapters/acme")
PAYS = "tests/contract/psp/test_psp_contract.py::test_a_submission_that_goes_well_is_told_and_found"
PROGRAMS = {
    "make": ["make", "-o", "install", f"RUN={sys.executable}"],
    ".venv/bin/python": [sys.executable],
    ".venv/bin/pytest": [sys.executable, "-m", "pytest"],
    ".venv/bin/ruff": [sys.executable, "-m", "ruff"],
    ".venv/bin/mypy": [sys.executable, "-m", "mypy"],
    ".venv/bin/paymesh": [sys.executable, "-m", "ops.cli"],
    ".venv/bin/lint-imports": [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
    ],
}
"""What the walk-through types, and what that is in a copy that has no environment of its own."""
_STEP = re.compile(r"(?:<!-- (file|append|insert): (\S+)(?: before \"(.*)\")? -->\n)?```(\w+)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Step:
    """A block of the walk-through: lines to type, or a text and where it goes."""

    how: str
    place: str
    before: str
    language: str
    text: str

    def commands(self) -> Iterator[tuple[str, str]]:
        """Yield what is typed, and what it says."""
        for typed in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            command, _, said = typed.partition("\n")
            yield command, said


@dataclass(slots=True)
class Tree:
    """A copy of the tree, and an environment for what is run there."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def run(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Type a command; faults and results come back together."""
        words = shlex.split(command)
        own = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word) and words[0] != "make")
        program, *arguments = [word for word in words if word not in {f"{name}={own[name]}" for name in own}]
        return subprocess.run(
            [*PROGRAMS[program], *arguments],
            cwd=self.root,
            env=self.env | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )

    def put(self, step: Step) -> None:
        """Write a text where the walk-through says."""
        place = self.root / step.place
        if step.how == "file":
            assert place.exists(), f"{step.place} is not laid out"
            place.write_text(step.text)
        elif step.how == "append":
            place.write_text(f"{place.read_text()}\n{step.text}")
        else:
            before, anchor, after = place.read_text().partition(step.before)
            assert anchor
            place.write_text(f"{before}{step.text}\n{anchor}{after}")


def steps() -> list[Step]:
    """Return the blocks of the walk-through, in order."""
    text = (ROOT / "docs" / "adding-a-psp.md").read_text()
    return [Step(*(part or "" for part in found.groups())) for found in _STEP.finditer(text)]


def says(output: str, said: str) -> bool:
    """Whether a command said what is printed there; … stands for anything."""
    return bool(re.fullmatch(".*".join(map(re.escape, said.strip().split("…"))), output.strip(), flags=re.DOTALL))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A copy of everything that a PSP's author sees, nobody's environment."""
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "acme*"))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path / name)
    ours = ("PAYMESH_", "ADAPTER_", "PYTEST_", "REDIS_URL", "DATABASE_URL", "TIGERBEETLE_", "MAKE", "MFLAGS")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return Tree(tmp_path, env | {"COLUMNS": "200", "PYTHONPATH": str(tmp_path)})


def check_scaffold(tree: Tree) -> None:
    """What was laid out is well formed, and its own test is one to write."""
    for command in ("ruff check", "ruff format --check", "mypy"):
        done = tree.run(f".venv/bin/{command} {' '.join(TOUCHED)}")
        assert done.returncode == 0, done.stdout
    done = tree.run(".venv/bin/lint-imports --no-cache")
    assert done.returncode == 0, done.stdout


def check_failures(tree: Tree, output: str) -> None:
    """The suite fails by saying what to write, and by nothing else; once that is written, it says what is next."""
    failures = re.findall(r"^\S+\.py:\d+: (.*)$", output, flags=re.MULTILINE)
    wanted = {re.sub(r"^.*(write_client_[a-z]+|WRITE_THE_MANIFEST).*$", r"\1", failure) for failure in failures}
    assert wanted == {"write_client_prepare", "write_client_inquire", "WRITE_THE_MANIFEST"}
    assert f"\n{len(failures)} failed" in output
    assert " error" not in output
    client = tree.root / "adapters" / "acme" / "client.py"
    written = client.read_text()
    client.write_text(written.replace('_unwritten("prepare", call)', "Ready()"))
    done = tree.run(f".venv/bin/pytest {PAYS}[acme] tests/unit/adapters/acme -q --tb=line")
    client.write_text(written)
    assert "Ambiguous(reason='write_client_submit'" in done.stdout
    assert "write me: one case for each answer" in done.stdout
    assert "\n2 failed, 5 passed" in done.stdout


def check_running(tree: Tree, port: int) -> None:
    """The adapter that was written starts, once it is let, and is ready since its PSP is registered."""
    main = tree.root / "adapters" / "acme" / "main.py"
    text = main.read_text()
    main.write_text(re.sub(r"^ +refuse_to_start\(\)\n", "", text, flags=re.MULTILINE))
    own = {
        "ADAPTER_BASE_URL": "http://127.0.0.1:1",
        "ADAPTER_HEALTH_PORT": str(port),
        "PAYMESH_ENVIRONMENT": "development",
    }
    env = {name: value for name, value in tree.env.items() if name != "DATABASE_URL"} | own

    def ready() -> bool:
        try:
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2).status == 200)
        except (urllib.error.URLError, OSError):
            return False

    log = tree.root / "adapter.log"
    with log.open("w") as output:
        argv = [sys.executable, "-m", "adapters.acme.main"]
        process = subprocess.Popen(argv, cwd=tree.root, env=env, stdout=output, stderr=output)
        try:
            until_sync(lambda: ready() or process.poll() is not None, "the adapter is ready", timeout_s=40)
            assert process.poll() is None, log.read_text()
        finally:
            process.terminate()
            code = process.wait(20)
    assert code == 0, log.read_text()


def check_deployed(tree: Tree) -> None:
    """What is said about containers fits the files that it goes into."""
    services = yaml.safe_load((tree.root / "compose" / "adapters.yaml").read_text())["services"]
    acme, qp = services["adapter-acme"], services["adapter-qp"]
    assert acme.keys() == qp.keys()
    assert acme["environment"].keys() == qp["environment"].keys()
    assert acme["healthcheck"] == qp["healthcheck"]
    stages = (tree.root / "compose" / "Dockerfile").read_text().split("\n\n")
    (ours,) = [stage for stage in stages if stage.startswith(f"FROM adapter AS {acme['build']['target']}\n")]
    assert ours.strip().replace("acme", "qp") in stages


@pytest.mark.slow
@pytest.mark.timeout(300)  # half a minute of work, of which a busy machine makes more
async def test_the_walk_through_ends_with_a_psp_that_keeps_the_contract(
    tree: Tree, database: str, redis_url: str, lease: Lease
) -> None:
    """From nothing, by failures that say what to write, to green, registered, running and paused."""
    ring = generate("k1")
    await install(
        StoreSettings.model_validate({"REDIS_URL": redis_url, "DATABASE_URL": database, "PAYMESH_KEYRING": ring})
    )
    tree.env |= {"REDIS_URL": redis_url, "DATABASE_URL": database, "PAYMESH_KEYRING": ring}
    typed = []
    for step in steps():
        if step.how:
            tree.put(step)
        elif step.language == "console":
            for command, said in step.commands():
                done = tree.run(command)
                assert says(done.stdout, said), f"$ {command}\n{done.stdout}"
                refused = any(word in said for word in ("error:", " failed,", "cannot start"))
                assert (done.returncode != 0) == refused, f"$ {command}\n{done.stdout}"
                typed.append(command)
                if command.startswith("make new-psp"):
                    check_scaffold(tree)
                elif "--tb=line" in command:
                    check_failures(tree, done.stdout)
    assert len(typed) == len(re.findall(r"^\$ ", (ROOT / "docs" / "adding-a-psp.md").read_text(), flags=re.MULTILINE))
    check_running(tree, lease())
    check_deployed(tree)
