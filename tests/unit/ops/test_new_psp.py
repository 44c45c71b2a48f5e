"""Laying out a PSP: nothing is overwritten, nothing is half done, and what lies there claims nothing."""

import ast
import importlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import SecretStr

import adapters
from adapters.runtime.http import open_session
from adapters.runtime.psp import Ambiguous, BadCallback, Call
from ops.new_psp import ROOT, add_to_contracts, plan_layout, write_layout
from ops.psps import find_manifest
from shared.contracts import Action, JobMessage
from shared.errors import BadInput, Misconfigured
from shared.psp import BadManifest

PROJECT = (ROOT / "pyproject.toml").read_text()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with nothing in it but its project file."""
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    return tmp_path


@pytest.fixture
def client(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The client of a fresh scaffold, imported."""
    write_layout(plan_layout("acme", root=root), root=root)
    monkeypatch.setattr(adapters, "__path__", [*adapters.__path__, str(root / "adapters")])
    yield importlib.import_module("adapters.acme.client")
    for name in [name for name in sys.modules if name.startswith("adapters.acme")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "no PSP's name"),
        ("a", "no PSP's name"),
        ("Acme", "no PSP's name"),
        ("2c2p", "no PSP's name"),
        ("acme_pay", "no PSP's name"),
        ("acme\n", "no PSP's name"),
        ("../acme", "no PSP's name"),
        ("a" * 17, "no PSP's name"),
        ("lambda", "means something else"),
        ("runtime", "means something else"),
        ("sandbox", "means something else"),
        ("bank", "means something else"),
    ],
)
def test_a_name_that_cannot_be_an_id_is_refused(root: Path, name: str, fault: str) -> None:
    """It is a package, a hash tag, part of account names and of file names."""
    with pytest.raises(BadInput, match=fault):
        plan_layout(name, root=root)


@pytest.mark.parametrize("there", ["adapters/acme/notes.txt", "tests/contract/psp/acme_stand.py"])
def test_what_is_there_already_is_not_touched(root: Path, there: str) -> None:
    """Not even the rest is written."""
    (root / there).parent.mkdir(parents=True)
    (root / there).write_text("mine")
    with pytest.raises(BadInput, match="is there already; nothing was written"):
        plan_layout("acme", root=root)
    assert [path.read_text() for path in root.rglob("*") if path.is_file()].count("mine") == 1
    assert sum(path.is_file() for path in root.rglob("*")) == 2


def test_the_psps_of_the_house_are_there_already() -> None:
    """The templates are for new ones."""
    for psp in ("ipps", "qp"):
        with pytest.raises(BadInput, match=f"adapters/{psp} is there already"):
            plan_layout(psp, root=ROOT)


def test_a_new_psp_joins_every_import_contract_that_lists_psps() -> None:
    """And nothing else in the project file changes."""
    before: dict[str, Any] = tomllib.loads(PROJECT)
    after: dict[str, Any] = tomllib.loads(add_to_contracts(PROJECT, "acme"))
    pairs = zip(
        before["tool"]["importlinter"].pop("contracts"), after["tool"]["importlinter"].pop("contracts"), strict=True
    )
    assert after == before
    joined = {}
    for old, new in pairs:
        assert old.keys() == new.keys()
        lists = [key for key in new if isinstance(new[key], list)]
        joined[new["name"]] = {module for key in lists for module in new[key] if module not in old[key]}
        assert all(new[key] == old[key] for key in new if key not in lists)
    assert joined == {
        "ops wires services; services stand on shared; services never import each other": set(),
        "the pure core does no I/O and reads no clock": {
            "adapters.acme.callbacks",
            "adapters.acme.manifest",
            "adapters.acme.mapping",
        },
        "adapters carry neither database nor ledger": set(),
        "folders of providers never import each other": {"adapters.acme"},
        "no adapter knows its sandbox": {"adapters.acme"},
    }


def test_a_contract_that_is_not_as_it_was_stops_everything(root: Path) -> None:
    """Better than a PSP that no contract watches over."""
    (root / "pyproject.toml").write_text(PROJECT.replace("no adapter knows its sandbox", "renamed"))
    with pytest.raises(Misconfigured, match="no adapter knows its sandbox"):
        plan_layout("acme", root=root)
    assert not (root / "adapters").exists()


@pytest.mark.parametrize("name", ["zz", "acme", "sixteenletterbnk"])
def test_whatever_its_name_it_is_in_the_houses_order(root: Path, name: str) -> None:
    """Imports and folded lines depend on it."""
    written = write_layout(plan_layout(name, root=root), root=root)
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, *written], cwd=root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
    shapes = {path: ast.get_docstring(ast.parse((root / path).read_text())) for path in written}
    assert all(shapes.values())
    assert "$" not in "".join((root / path).read_text() for path in written)


def test_make_asks_for_a_name() -> None:
    """Rather than for a traceback."""
    done = subprocess.run(
        ["make", "-o", "install", "new-psp"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert "needs a name, such as NAME=acme" in done.stdout


async def test_a_scaffold_claims_nothing_and_says_what_to_write(client: ModuleType) -> None:
    """Every method; nobody is paid, and no exception stops a process."""
    job = JobMessage(
        psp="acme",
        intent_id="01a1fa47-85a2-76d4-b5d6-dab326000000",
        attempt=1,
        operation="WRITE_THE_MANIFEST",
        action=Action.SUBMIT,
        reference="R" * 20,
        amount_minor=1,
        currency="THB",
        created_ms=0,
        epoch="m:1",
    )
    async with open_session(connections_max=1, timeout_s=1.0) as session:
        psp = client.AcmePsp(base_url="http://127.0.0.1:1", api_key=SecretStr("k"), session=session, callbacks=None)
        for method in ("prepare", "submit", "inquire", "cancel"):
            assert await getattr(psp, method)(Call(job, {})) == Ambiguous(f"write_client_{method}")
        with pytest.raises(BadCallback, match=r"write callbacks\.parse_callback"):
            psp.parse_callback({}, b"{}")


def test_a_scaffold_cannot_be_registered(client: ModuleType) -> None:
    """Its manifest promises too little, and says so."""
    assert client.MANIFEST.psp == "acme"
    with pytest.raises(BadManifest, match="WRITE_THE_MANIFEST"):
        find_manifest("acme")
