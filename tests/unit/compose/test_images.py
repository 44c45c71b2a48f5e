"""The images: every stage is made of what exists, and holds what its role needs and nothing it must not have."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.compose.reading import COMPOSE, FILES, ROOT, Images, argv, images, is_ours, locked
from tests.unit.compose.standing_in import Container

TARGETS = sorted(
    {service["build"]["target"] for file in FILES for service in file.services().values() if "build" in service}
)
EXIT_CONFIG = 78
STORES = {"asyncpg", "tigerbeetle"}
CODE = {
    "gateway": {"shared", "gateway"},
    "orchestrator": {"shared", "orchestrator"},
    "reconciler": {"shared", "reconciler"},
    "ops": {"shared", "gateway", "orchestrator", "adapters", "reconciler", "ops"},
    "adapter-ipps": {"shared", "adapters/*.py", "adapters/runtime", "adapters/ipps"},
    "adapter-qp": {"shared", "adapters/*.py", "adapters/runtime", "adapters/qp"},
    "sandbox": {"shared", "adapters"},
}
"""What of the project each image holds; whoever changes it says so here."""


@pytest.fixture(scope="module")
def made() -> Images:
    """The Dockerfile's stages."""
    return images()


def test_there_is_a_target_for_every_role(made: Images) -> None:
    """Those that the compose files use, and no stage that nothing is made of."""
    assert set(TARGETS) == set(CODE)
    standing = {base for base, _ in made.stages.values()}
    taken = {one.flags["from"] for _, steps in made.stages.values() for one in steps if "from" in one.flags}
    assert set(made.stages) == set(TARGETS) | (standing & set(made.stages)) | taken


def test_whatever_is_copied_exists(made: Images) -> None:
    """From the project, or from a stage that was made before."""
    for name, (_, steps) in made.stages.items():
        for step in steps:
            if step.word == "COPY" and "from" not in step.flags:
                missing = [source for source in step.arguments[:-1] if not list(ROOT.glob(source))]
                assert not missing, f"{name}: {missing}"
            elif step.word == "COPY":
                assert step.flags["from"] in made.stages, name


def test_whatever_is_copied_is_sent_to_the_builder(made: Images) -> None:
    """The list of what is left out lets it through."""
    let_in = {
        line.removeprefix("!")
        for line in (COMPOSE / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for _, steps in made.stages.values():
        for step in steps:
            if step.word == "COPY" and "from" not in step.flags:
                for source in step.arguments[:-1]:
                    top = source.split("/")[0]
                    assert top in let_in or (top == "requirements" and "requirements/*.lock" in let_in), source


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_holds_its_roles_code_and_no_other(made: Images, target: str) -> None:
    """A provider's image holds no other provider's code, and no sandbox."""
    assert {source for source, _ in made.target(target).sources()} == CODE[target]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_nobody_in_particular(made: Images, target: str) -> None:
    """Neither as root nor with a password; the number is the one that deploying.md gives to the key ring."""
    image = made.target(target)
    assert image.last("USER") == ["10001:10001"]
    assert "10001" in (ROOT / "docs" / "deploying.md").read_text()
    assert any(
        one.word == "RUN" and "--uid" in one.arguments and "10001" in one.arguments for one in image.instructions
    )


@pytest.mark.parametrize("target", TARGETS)
def test_an_images_code_can_be_read_by_its_user(made: Images, target: str) -> None:
    """Even where it was checked out for one pair of eyes only."""
    code = [one for one in made.target(target).instructions if one.word == "COPY" and "from" not in one.flags]
    assert code
    assert {one.flags.get("chmod") for one in code} == {"755"}


def test_requirements_are_installed_from_hashed_locks_alone(made: Images) -> None:
    """No file is built on the way, nothing is added that the lock does not name."""
    for name, (_, steps) in made.stages.items():
        for step in steps:
            if step.word == "RUN" and "install" in step.arguments and "pip" in step.arguments:
                words = step.arguments
                own = "--no-build-isolation" in words and "--no-deps" in words and name == "metadata"
                assert own or {"--require-hashes", "--no-deps", "--only-binary=:all:"} <= set(words), name


def test_every_lock_in_an_image_exists_and_is_made_by_make_lock(made: Images) -> None:
    """A lock that nobody makes afresh grows old unseen."""
    script = (ROOT / "requirements" / "compile.sh").read_text()
    for target in TARGETS:
        lock = made.target(target).lock
        assert lock is not None
        assert lock.is_file()
        assert re.search(rf"^compile {lock.stem}\b", script, flags=re.MULTILINE)


@pytest.mark.parametrize("target", [target for target in TARGETS if target.startswith(("adapter", "sandbox"))])
def test_an_adapters_image_carries_neither_database_driver_nor_ledger_client(made: Images, target: str) -> None:
    """By its lock, which is all that is installed."""
    lock = made.target(target).lock
    assert lock is not None
    assert not STORES & set(locked(lock))
    assert {"redis", "aiohttp"} <= set(locked(lock))


@pytest.mark.parametrize("target", TARGETS)
def test_the_command_finds_all_it_needs_in_its_image(made: Images, target: str, tmp_path: Path) -> None:
    """Told nothing, a service says what is missing in its environment, not in its image."""
    container = Container(made.target(target), tmp_path)
    service = next(
        s for file in FILES for s in file.services().values() if is_ours(s) and s["build"]["target"] == target
    )
    told = {"SANDBOX_PORT": "none"} if target == "sandbox" else {}
    done = subprocess.run(
        container.argv(argv(service, made)),
        cwd=container.cwd,
        env=container.environ(told),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "ModuleNotFoundError" not in done.stderr
    if target == "ops":
        assert "DATABASE_URL" in done.stderr
        assert done.returncode == 1
    else:
        assert ("SANDBOX_PORT" if told else "REDIS_URL: Field required") in done.stderr
        assert done.returncode == EXIT_CONFIG


@pytest.mark.parametrize("name", ["adapters.ipps.main", "adapters.qp.main", "adapters.sandbox.ipps.__main__"])
def test_an_adapter_loads_neither_database_driver_nor_ledger_client(name: str) -> None:
    """Not even where both are installed: a fresh interpreter imports the module, and has loaded neither."""
    program = f"import json, sys, {name}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    loaded = {module.split(".")[0] for module in json.loads(done.stdout)}
    assert {"adapters", "redis"} <= loaded or "sandbox" in name
    assert not STORES & loaded
    assert not {module for module in json.loads(done.stdout) if module.startswith(("shared.db", "shared.ledger"))}
