"""What `compose/` says, read as Docker would read it: substituted compose files, and images as folders.

No Docker is asked. What this module does not understand it must refuse, never pass over.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from dotenv import dotenv_values

ROOT: Final = Path(__file__).parents[3]
COMPOSE: Final = ROOT / "compose"

_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>[A-Z][A-Z0-9_]*)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\})")
_STRAY = re.compile(r"\$(?![{$])")


@dataclass(frozen=True, slots=True)
class Variable:
    """A place where a compose file asks its environment."""

    name: str
    kind: str
    """``-`` with a default, ``?`` required, empty: neither."""
    rest: str


@dataclass(frozen=True, slots=True)
class ComposeFile:
    """A compose file and the example of what it is told."""

    path: Path
    example: Path

    @property
    def raw(self) -> dict[str, Any]:
        """The file before substitution."""
        return _parsed(self.path)

    def examples(self) -> dict[str, str]:
        """Return the example's variables."""
        return {name: value or "" for name, value in dotenv_values(self.example, interpolate=False).items()}

    def environment(self) -> dict[str, str]:
        """Return the example's variables with a made-up secret for each that is left empty and required."""
        required = {variable.name for variable in self.variables() if variable.kind == "?"}
        return {
            name: value or (f"{name.lower().replace('_', '')}0" if name in required else "")
            for name, value in self.examples().items()
        }

    def variables(self) -> list[Variable]:
        """Return every variable that the file asks for."""
        return [
            Variable(match["name"], match["kind"] or "", match["rest"] or "")
            for text in _texts(self.raw)
            for match in _VARIABLE.finditer(text)
            if match["name"]
        ]

    def document(self, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the file with its variables substituted, by the example's unless others are given."""
        values = self.environment() if environ is None else environ
        substituted: dict[str, Any] = _substituted(self.raw, values)
        return substituted

    def services(self, environ: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
        """Return the services, substituted."""
        services: dict[str, dict[str, Any]] = self.document(environ)["services"]
        return services


MESH: Final = ComposeFile(COMPOSE / "compose.yaml", COMPOSE / ".env.example")
ADAPTERS: Final = ComposeFile(COMPOSE / "adapters.yaml", COMPOSE / "adapters.env.example")
FILES: Final = (MESH, ADAPTERS)


@cache
def _parsed(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def _texts(node: object) -> Iterator[str]:
    match node:
        case str():
            yield node
        case dict():
            for key, value in node.items():
                yield from _texts(key)
                yield from _texts(value)
        case list():
            for value in node:
                yield from _texts(value)


def _substituted(node: Any, values: Mapping[str, str]) -> Any:
    match node:
        case str():
            return substitute(node, values)
        case dict():
            return {key: _substituted(value, values) for key, value in node.items()}
        case list():
            return [_substituted(value, values) for value in node]
        case _:
            return node


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Return a text with its variables replaced, as Compose does; what is required and empty is an error."""
    if _STRAY.search(_VARIABLE.sub("", text)):
        raise ValueError(f"a dollar that is no variable: {text}")

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        found = values.get(match["name"], "")
        if not found and match["kind"] == "?":
            raise ValueError(f"{match['name']} is required")
        return found or (match["rest"] or "" if match["kind"] == "-" else "")

    return _VARIABLE.sub(value, text)


def is_ours(service: Mapping[str, Any]) -> bool:
    """Say whether a service runs an image that is made here."""
    return "build" in service


def argv(service: Mapping[str, Any], images: "Images") -> list[str]:
    """Return what a container of ours runs: the image's entry point, and the service's command or else the image's."""
    image = images.target(service["build"]["target"])
    return [*image.entrypoint, *(service.get("command") or image.command)]


def module(service: Mapping[str, Any], images: "Images") -> str:
    """Return the Python module that a container of ours runs."""
    words = argv(service, images)
    if words[:2] != ["python", "-m"]:
        raise ValueError(f"not a module: {words}")
    return words[2]


def networks(service: Mapping[str, Any]) -> set[str]:
    """Return the networks that a service is on."""
    return set(service.get("networks") or ())


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile: its word and its arguments, flags apart."""

    word: str
    flags: dict[str, str]
    arguments: list[str]


@dataclass(frozen=True, slots=True)
class Image:
    """What a target amounts to."""

    instructions: list[Instruction]
    """Its own and those of the stages it stands on, oldest first."""
    lock: Path | None
    """The requirements of the environment that it takes over."""

    def last(self, word: str) -> list[str]:
        """Return the arguments of the last such instruction."""
        return next((one.arguments for one in reversed(self.instructions) if one.word == word), [])

    @property
    def command(self) -> list[str]:
        """CMD."""
        return self.last("CMD")

    @property
    def entrypoint(self) -> list[str]:
        """ENTRYPOINT."""
        return self.last("ENTRYPOINT")

    @property
    def exposed(self) -> set[str]:
        """The ports it names."""
        return set(self.last("EXPOSE"))

    def sources(self) -> list[tuple[str, str]]:
        """Return what is copied into it from the project, and to where below its folder."""
        return [
            (source, one.arguments[-1])
            for one in self.instructions
            if one.word == "COPY" and "from" not in one.flags
            for source in one.arguments[:-1]
        ]

    def lay_out(self, folder: Path) -> None:
        """Make the image's folder: links to what is copied from the project, and its version."""
        for source, target in self.sources():
            found = sorted(ROOT.glob(source))
            if not found:
                raise FileNotFoundError(source)
            for path in found:
                place = folder / target / path.name if target.endswith("/") else folder / target
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(path)
        metadata = folder / "paymesh-0.0.0.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text("Metadata-Version: 2.1\nName: paymesh\nVersion: 0.0.0\n")


class Images:
    """The stages of a Dockerfile."""

    def __init__(self, text: str) -> None:
        self._stages: dict[str, tuple[str, list[Instruction]]] = {}
        current: list[Instruction] = []
        for instruction in _instructions(text):
            if instruction.word == "FROM":
                image, _, name = instruction.arguments
                current = []
                self._stages[name] = (image, current)
            else:
                current.append(instruction)

    @property
    def bases(self) -> set[str]:
        """The images that come from elsewhere."""
        return {image for image, _ in self._stages.values() if image not in self._stages}

    @property
    def stages(self) -> dict[str, tuple[str, list[Instruction]]]:
        """Each stage with what it stands on and its instructions."""
        return self._stages

    def target(self, name: str) -> Image:
        """Return what a target amounts to."""
        chain: list[Instruction] = []
        stage: str | None = name
        while stage in self._stages:
            base, instructions = self._stages[stage]
            chain = [*instructions, *chain]
            stage = base
        environments = [
            one.flags["from"] for one in chain if one.word == "COPY" and one.arguments[-1] == "/venv" and one.flags
        ]
        return Image(chain, self._lock(environments[-1]) if environments else None)

    def _lock(self, stage: str) -> Path:
        (copy,) = [one for one in self._stages[stage][1] if one.word == "COPY"]
        return ROOT / copy.arguments[0]


def images() -> Images:
    """Return the images of `compose/Dockerfile`."""
    return Images((COMPOSE / "Dockerfile").read_text())


def _instructions(text: str) -> Iterator[Instruction]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word not in {"FROM", "COPY", "RUN", "ENV", "WORKDIR", "USER", "EXPOSE", "CMD", "ENTRYPOINT"}:
            raise ValueError(f"unknown instruction: {line}")
        if rest.startswith("["):
            yield Instruction(word, {}, yaml.safe_load(rest))
            continue
        words = rest.split()
        flags = dict(part[2:].split("=", 1) for part in words if part.startswith("--")) if word == "COPY" else {}
        yield Instruction(word, flags, [part for part in words if word != "COPY" or not part.startswith("--")])


def locked(lock: Path) -> list[str]:
    """Return the names of the distributions in a lock."""
    return re.findall(r"^([a-z0-9][a-z0-9._-]*)==", lock.read_text(), flags=re.MULTILINE)
