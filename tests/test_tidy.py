"""The house laws, run as tests.

A law is a function that yields offences; `check` runs it over the repository. Every law is also shown an offender,
so that none of them can pass by looking at nothing.
"""

import ast
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main

ROOT = Path(__file__).parent.parent
PACKAGES = ("gateway", "orchestrator", "adapters", "reconciler", "shared", "ops")
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500
EMBEDDED_LINES_MAX = 3
REASON_WORDS_MIN = 3

_BANNED_FILES = {"utils", "util", "helpers", "helper", "common", "base", "misc"}
_BANNED_CLASSES = re.compile(r".*(Manager|Factory|Service|Helper|Util|Utils)$")
_NAME = re.compile(r"(__)?[a-z0-9]+(_[a-z0-9]+)*(__)?")
_SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER)\s")
_LUA = re.compile(r"redis\.call\(|redis\.pcall\(")
_KEY_BY_HAND = re.compile(r"[\"'](intents|jobs|results|idem|acc|mesh|solo|delay|dlq|permit|control)\.\{")
# Spelt in two halves, so that this file does not offend itself.
_ELSEWHERE = re.compile(
    "|".join(
        (
            "pypi" + r"\.org",
            "python" + r"hosted\.org",
            "npmjs" + r"\.(org|com)",
            "crates" + r"\.io",
            "proxy\\." + r"golang\.org",
            "/" + r"work/\w",
            "/" + r"root/\w",
            "/" + r"home/\w",
            "/" + "opt/(wheels|plan|tbuild)",
        )
    )
)
_IMPORT_TIME_IO = {"read_text", "read_bytes", "open", "connect", "getenv", "mkdir", "run", "Popen", "unlink"}
_REDIS_TYPES = ("String ", "Hash ", "Stream ", "Sorted set ", "Set ", "List ", "Pub/sub channel ")


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its path from the root, and its text."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def is_python(self) -> bool:
        return self.path.endswith(".py")

    @property
    def is_ours(self) -> bool:
        return self.is_python and self.path.split("/")[0] in PACKAGES

    @property
    def is_test(self) -> bool:
        return self.is_python and self.path.startswith("tests/")


Law = Callable[[Source], Iterator[str]]


def sources() -> list[Source]:
    """Return every text file of the repository; what tools leave behind lies in hidden or named folders."""
    found = []
    for folder, names, files in os.walk(ROOT):
        names[:] = [name for name in names if (name[0] != "." or name == ".ci") and name not in {"__pycache__", "dist"}]
        for name in files:
            if name == ".git":  # where the checkout is a worktree, this is a file that says of which repository
                continue
            path = Path(folder) / name
            try:
                found.append(Source(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")))
            except UnicodeDecodeError:
                continue
    return sorted(found, key=lambda source: source.path)


SOURCES = sources()


def functions_are_short(source: Source) -> Iterator[str]:
    """Parents branch, leaves compute; neither fills more than a screen."""
    if source.is_python:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    yield f"{node.name} has {length} lines"


def modules_are_short(source: Source) -> Iterator[str]:
    """Past the bound a module is split, or says in its docstring why not."""
    if source.is_python and len(source.lines) > MODULE_LINES_MAX:
        docstring = ast.get_docstring(source.tree) or ""
        if f"{MODULE_LINES_MAX} lines" not in docstring:
            yield f"{len(source.lines)} lines"


def modules_say_what_they_are_for(source: Source) -> Iterator[str]:
    """A docstring in front of every module."""
    if source.is_python and source.text.strip() and not ast.get_docstring(source.tree):
        yield "no docstring"


def files_have_their_own_names(source: Source) -> Iterator[str]:
    """Snake case, and nothing that could hold anything."""
    path = Path(source.path)
    if path.suffix in {".py", ".lua", ".sql"}:
        for part in (*path.parts[:-1], path.stem):
            if not _NAME.fullmatch(part):
                yield f"{part} is not snake_case"
            if part in _BANNED_FILES:
                yield f"{part} says nothing about what is in it"


def classes_hold_state(source: Source) -> Iterator[str]:
    """What only does something is a function."""
    if source.is_python:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef) and _BANNED_CLASSES.fullmatch(node.name):
                yield f"class {node.name}"


def no_test_sleeps(source: Source) -> Iterator[str]:
    """They wait for a condition, with a deadline; giving way once (`sleep(0)`) is no sleep."""
    if not source.is_test or source.path == "tests/waiting.py":
        return
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="sleep") | ast.Name(id="sleep"), args=[ast.Constant(value=0)]):
                continue
            case ast.Call(func=ast.Attribute(attr="sleep") | ast.Name(id="sleep")):
                yield f"line {node.lineno}: sleep"


def broad_handlers_have_a_reason(source: Source) -> Iterator[str]:
    """No bare `except`; a broad one re-raises, or says at which boundary it stands (on its line or the one before)."""
    if not source.is_python:
        return
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type is not None else ""
        if not caught:
            yield f"line {node.lineno}: bare except"
        elif re.search(r"\b(Base)?Exception\b", caught) and not _excused(node, source.lines):
            yield f"line {node.lineno}: except {caught} without a reason"


def _excused(handler: ast.ExceptHandler, lines: list[str]) -> bool:
    if ast.unparse(handler.body[-1]) == "raise":
        return True
    number = handler.lineno
    for line in (lines[number - 1], lines[number - 2].strip() if lines[number - 2].strip().startswith("#") else ""):
        comment = re.sub(r"noqa:? ?[A-Z]+\d+(, ?[A-Z]+\d+)*", "", line.partition("#")[2])
        if len(re.findall(r"\w+", comment)) >= REASON_WORDS_MIN:
            return True
    return False


def sql_lives_in_sql_files(source: Source) -> Iterator[str]:
    """Beyond three lines a statement is a file, which an editor and a database can read."""
    if source.is_ours:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _SQL.match(node.value):
                length = len([line for line in node.value.splitlines() if line.strip()])
                if length > EMBEDDED_LINES_MAX:
                    yield f"line {node.lineno}: {length} lines of SQL"


def lua_lives_in_lua_files(source: Source) -> Iterator[str]:
    """Scripts are files; no program puts one together out of strings."""
    if source.is_ours and _LUA.search(source.text):
        yield "Lua in Python"


def keys_are_spelt_in_one_place(source: Source) -> Iterator[str]:
    """Every Redis key is named by `shared/streams/keys.py`, which documents it."""
    if source.is_ours and source.path != "shared/streams/keys.py":
        for number, line in enumerate(source.lines, start=1):
            if _KEY_BY_HAND.search(line):
                yield f"line {number}: a key spelt by hand"


def keys_are_documented(source: Source) -> Iterator[str]:
    """Each says its type, who writes it, who reads it and, in its own words, how long it lives."""
    if source.path != "shared/streams/keys.py":
        return
    for node in source.tree.body:
        if (
            isinstance(node, ast.FunctionDef)
            and not node.name.startswith("_")
            and node.name not in {"slot", "hash_tag"}
        ):
            docstring = ast.get_docstring(node) or ""
            if not docstring.startswith(_REDIS_TYPES) or "``" not in docstring:
                yield f"{node.name}: no type or no name"
            if not docstring.startswith("Pub/sub") and not re.search(
                r"[Ww]ritten\s+by|[Ww]ritten and read\s+by", docstring
            ):
                yield f"{node.name}: nobody writes it"


def scripts_document_their_keys(source: Source) -> Iterator[str]:
    """A Lua file opens with what it is for, its KEYS, its ARGV and its reply; shared functions just with the first."""
    if source.path.endswith(".lua") and source.path.startswith("shared/"):
        head = re.split(r"^(?!--)", source.text, maxsplit=1, flags=re.MULTILINE)[0]
        if len(head) < len("-- one sentence"):
            yield "does not say what it is for"
        elif re.search(r"\bKEYS\[", source.text):
            for word in ("KEYS", "Reply"):
                if not re.search(rf"^-- {word}\b", head, flags=re.MULTILINE):
                    yield f"its head has no {word}"


def nothing_points_elsewhere(source: Source) -> Iterator[str]:
    """No package registries, no paths of somebody's machine."""
    for number, line in enumerate(source.lines, start=1):
        if found := _ELSEWHERE.search(line):
            yield f"line {number}: {found.group()}"


def importing_does_nothing(source: Source) -> Iterator[str]:
    """No file, socket, process or environment is touched by an import."""
    if not source.is_ours:
        return
    for statement in source.tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.If):
            continue
        for node in ast.walk(statement):
            match node:
                case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in _IMPORT_TIME_IO:
                    yield f"line {node.lineno}: {name}() while importing"
                case ast.Attribute(value=ast.Name(id="os"), attr="environ"):
                    yield f"line {node.lineno}: os.environ while importing"


LAWS: Mapping[Law, tuple[str, str]] = {
    functions_are_short: ("shared/x.py", "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX),
    modules_are_short: ("shared/x.py", '"""X."""\n' + "x = 1\n" * MODULE_LINES_MAX),
    modules_say_what_they_are_for: ("tests/x.py", "x = 1\n"),
    files_have_their_own_names: ("shared/utils.py", ""),
    classes_hold_state: ("shared/x.py", "class LedgerManager: ...\n"),
    no_test_sleeps: ("tests/x.py", "import asyncio\nasync def f():\n    await asyncio.sleep(0.1)\n"),
    broad_handlers_have_a_reason: ("ops/x.py", "try:\n    f()\nexcept Exception:  # noqa: BLE001\n    pass\n"),
    sql_lives_in_sql_files: ("shared/x.py", 'Q = """\nSELECT 1\nFROM a\nJOIN b\nON c\n"""\n'),
    lua_lives_in_lua_files: ("shared/x.py", "S = \"return redis.call('GET', KEYS[1])\"\n"),
    keys_are_spelt_in_one_place: ("gateway/x.py", 'def f(n): return f"intents.{{i{n}}}"\n'),
    keys_are_documented: ("shared/streams/keys.py", 'def idem(n):\n    """Name the key."""\n'),
    scripts_document_their_keys: ("shared/streams/lua/x.lua", "-- Adds a thing to a list.\nreturn KEYS[1]\n"),
    nothing_points_elsewhere: ("README.md", "see /" + "home/me/paymesh\n"),
    importing_does_nothing: ("shared/x.py", "from pathlib import Path\nX = Path('x').read_text()\n"),
}
"""Every law, with a file that breaks it."""


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_house_keeps_the_law(law: Law) -> None:
    """Every file of the repository."""
    offences = [f"{source.path}: {offence}" for source in SOURCES for offence in law(source)]
    assert not offences, "\n".join([str(law.__doc__), *offences])


@pytest.mark.parametrize(("law", "offender"), LAWS.items(), ids=lambda value: getattr(value, "__name__", None))
def test_the_law_catches_an_offender(law: Law, offender: tuple[str, str]) -> None:
    """A law that catches nobody is no law."""
    assert list(law(Source(*offender)))


def test_the_laws_look_at_the_whole_house() -> None:
    """Packages, tests, scripts and documents."""
    paths = {source.path for source in SOURCES}
    assert {"shared/ids.py", "tests/test_tidy.py", "README.md", "pyproject.toml", "Makefile", ".ci/run"} <= paths
    assert {source.path.split("/")[0] for source in SOURCES if source.is_ours} == set(PACKAGES)
    assert any(path.endswith(".lua") for path in paths)


def test_every_lua_script_is_called() -> None:
    """A script that nobody names is dead, or called by a name that does not exist."""
    scripts = {Path(source.path).stem for source in SOURCES if source.path.startswith("shared/streams/lua/")}
    called = {
        argument.value
        for source in SOURCES
        if source.is_ours
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Script"
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }
    assert scripts == called


def targets() -> dict[str, str]:
    """Return the Makefile's targets with what is said about each."""
    text = (ROOT / "Makefile").read_text()
    return dict(re.findall(r"^([a-z][a-z-]*):[^=\n]*?(?:## (.*))?$", text, flags=re.MULTILINE))


def documents() -> list[Source]:
    """Return what people read."""
    return [source for source in SOURCES if source.path.endswith(".md")]


def commands(program: str) -> Iterator[tuple[str, list[str]]]:
    """Yield where and how the documents call a program, in code blocks and in code spans."""
    for document in documents():
        for block in re.findall(r"```[a-z]*\n(.*?)```|`([^`\n]+)`", document.text, flags=re.DOTALL):
            for line in "".join(block).splitlines():
                words = line.strip().removeprefix("$ ").removeprefix(".venv/bin/").split()
                if words[:1] == [program]:
                    yield document.path, words[1:]


def test_every_documented_make_target_exists() -> None:
    """A newcomer types what the README says."""
    missing = [
        f"{path}: make {word}"
        for path, words in commands("make")
        for word in words
        if re.fullmatch(r"[a-z][a-z-]*", word) and word not in targets()
    ]
    assert not missing


def test_every_make_target_says_what_it_is_for() -> None:
    """`make help` prints it, and the README knows the ones that people need first."""
    assert not [name for name, meaning in targets().items() if not meaning]
    assert {"demo", "dev", "test", "check", "bench", "lock", "clean"} <= set(targets())
    readme = (ROOT / "README.md").read_text()
    assert all(f"make {name}" in readme for name in ("demo", "dev", "test", "check"))


def test_every_documented_paymesh_command_exists() -> None:
    """Down to its sub-commands."""
    from ops.cli import app  # noqa: PLC0415 - the command line loads every client library

    missing = []
    for path, words in commands("paymesh"):
        known: Any = typer.main.get_command(app)
        for word in words:
            offered = getattr(known, "commands", None)
            if offered is None or not re.fullmatch(r"[a-z][a-z-]*", word):
                break
            if word not in offered:
                missing.append(f"{path}: paymesh {' '.join(words)}")
                break
            known = offered[word]
    assert not missing


def test_every_documented_python_module_exists() -> None:
    """`python -m gateway.main` and its like."""
    paths = {source.path for source in SOURCES}
    missing = [
        f"{path}: python -m {words[1]}"
        for path, words in commands("python")
        if words[:1] == ["-m"]
        and words[1].split(".")[0] in PACKAGES
        and f"{words[1].replace('.', '/')}.py" not in paths
    ]
    assert not missing


def test_every_alert_has_a_runbook() -> None:
    """Whoever is woken up finds a heading with the alert's name."""
    rules = "\n".join(source.text for source in SOURCES if source.path.startswith("compose/"))
    alerts = set(re.findall(r"^\s*- alert: (\w+)", rules, flags=re.MULTILINE))
    runbook = "\n".join(source.text for source in documents() if source.path.startswith("docs/operations"))
    assert not [name for name in sorted(alerts) if not re.search(rf"^#+ .*{name}", runbook, flags=re.MULTILINE)]


def test_locks_are_hashed_and_name_no_index() -> None:
    """What is installed is what was locked, wherever it comes from."""
    locks = [source for source in SOURCES if re.fullmatch(r"requirements/\w+\.lock", source.path)]
    assert len(locks) >= 5
    for lock in locks:
        entries = [entry for entry in re.split(r"\n(?=[a-zA-Z0-9])", lock.text) if re.match(r"[\w.-]+", entry)]
        assert entries
        assert not [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry]
        assert "--index-url" not in lock.text
    assert not (ROOT / "uv.lock").exists()
