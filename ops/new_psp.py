"""``make new-psp NAME=acme``: lays out the folder of a PSP, and the tests that it fails until it is written.

What is laid out is well formed and claims nothing: every answer is `Ambiguous`, its manifest cannot be registered, its
process refuses to start. This module must never touch a file that is there already, but for the import contracts in
`pyproject.toml`, to which it adds the new modules.
"""

import keyword
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Annotated, Any, Final

import typer

from ops.commands.running import spoken
from ops.console import out
from ops.refusals import Refused
from shared.errors import BadInput, Misconfigured, require

ROOT: Final = Path(__file__).resolve().parents[1]
TEMPLATES: Final = Path(__file__).with_name("new_psp_templates")

_NAME: Final = re.compile(r"[a-z][a-z0-9]{1,15}")
_TAKEN: Final = frozenset({"runtime", "sandbox", "bank"})
"""The adapters' own folders, and the PSP that the contract suite is tried on."""
_FILES: Final = {
    "adapters/{psp}/__init__.py": "init.py.tmpl",
    "adapters/{psp}/manifest.py": "manifest.py.tmpl",
    "adapters/{psp}/client.py": "client.py.tmpl",
    "adapters/{psp}/mapping.py": "mapping.py.tmpl",
    "adapters/{psp}/callbacks.py": "callbacks.py.tmpl",
    "adapters/{psp}/settings.py": "settings.py.tmpl",
    "adapters/{psp}/main.py": "main.py.tmpl",
    "tests/contract/psp/{psp}_stand.py": "stand.py.tmpl",
    "tests/unit/adapters/{psp}/test_mapping.py": "test_mapping.py.tmpl",
}
_CONTRACTS: Final = {
    "the pure core does no I/O and reads no clock": (
        "source_modules",
        ("adapters.{psp}.callbacks", "adapters.{psp}.manifest", "adapters.{psp}.mapping"),
    ),
    "folders of providers never import each other": ("modules", ("adapters.{psp}",)),
    "no adapter knows its sandbox": ("source_modules", ("adapters.{psp}",)),
}
"""Import contracts that list PSPs' modules: by name, the list and what is added to it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a new PSP is made of: texts by path from the root, and the project file with its modules in it."""

    psp: str
    files: Mapping[str, str]
    project: str


def plan_layout(psp: str, *, root: Path) -> Layout:
    """Work out what there is to write; nothing is written.

    Raises:
        BadInput: the name will not do, or something of that name is there already.
        Misconfigured: `pyproject.toml` does not hold the import contracts as they are known here.
    """
    check_name(psp)
    files = {path.format(psp=psp): template for path, template in _FILES.items()}
    there = [path for path in (f"adapters/{psp}", f"tests/unit/adapters/{psp}", *files) if (root / path).exists()]
    if there:
        raise Refused(f"{there[0]} is there already; nothing was written", code="psp_exists")
    words = {"psp": psp, "Name": psp.capitalize()}
    texts = {path: Template((TEMPLATES / name).read_text()).substitute(words) for path, name in files.items()}
    return Layout(psp, texts, add_to_contracts((root / "pyproject.toml").read_text(), psp))


def check_name(psp: str) -> None:
    """Refuse a name that could not be a PSP's id, its package and the hash tag of its keys all at once.

    Raises:
        BadInput: saying what is wrong with it.
    """
    if not _NAME.fullmatch(psp):
        raise BadInput(f"{psp!r} is no PSP's name: 2 to 16 lower-case letters and digits, a letter first", code="name")
    if psp in _TAKEN or keyword.iskeyword(psp):
        raise BadInput(f"{psp!r} means something else here; take another name", code="name")


def add_to_contracts(project: str, psp: str) -> str:
    """Return the project file with a PSP's modules in every import contract that lists such modules.

    Raises:
        Misconfigured: a contract is not there.
    """
    for contract, (key, modules) in _CONTRACTS.items():
        added = [module.format(psp=psp) for module in modules]
        found = re.search(rf'name = "{re.escape(contract)}"\n(?:.+\n)*?{key} = \[[^\]]+', project)
        if found is None:
            raise Misconfigured(f"pyproject.toml has no import contract “{contract}” with its {key}")
        a_line_each = found[0].endswith("\n")
        new = "".join(f'    "{module}",\n' if a_line_each else f', "{module}"' for module in added)
        project = project[: found.end()] + new + project[found.end() :]
        require(
            set(added) <= _listed(project, contract, key), f"the contract “{contract}” does not name the new modules"
        )
    return project


def _listed(project: str, contract: str, key: str) -> set[str]:
    contracts: list[dict[str, Any]] = tomllib.loads(project)["tool"]["importlinter"]["contracts"]
    return {module for each in contracts if each["name"] == contract for module in each[key]}


def write_layout(layout: Layout, *, root: Path) -> list[str]:
    """Write everything, put in the house's order; return the paths.

    Raises:
        Misconfigured: there is no ruff to do so; nothing was written.
    """
    if find_spec("ruff") is None:
        raise Misconfigured("a new PSP is laid out with ruff; `make install` brings it")
    for path, text in layout.files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "pyproject.toml").write_text(layout.project)
    # Where an import belongs, and whether a line is folded, depends on the name.
    for words in (["check", "--select", "I", "--fix", "--quiet"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *words, *layout.files], cwd=root, check=True)
    return list(layout.files)


def new_psp(
    name: Annotated[str, typer.Argument(help="The PSP's id, such as acme.", show_default=False)],
) -> None:
    """Lay out the folder of a PSP, and the tests that it fails until it is written."""
    with spoken():
        layout = plan_layout(name, root=ROOT)
        written = write_layout(layout, root=ROOT)
    console = out()
    for path in written:
        console.print(f"wrote {path}", soft_wrap=True)
    console.print("added its modules to the import contracts in pyproject.toml")
    suite = f".venv/bin/pytest tests/contract/psp -k {name} -q --tb=line"
    console.print(f"next: {suite} says what to write; docs/adding-a-psp.md, how", soft_wrap=True)


if __name__ == "__main__":
    typer.run(new_psp)
