"""YAML with line numbers, read so that nothing in it can mean two things.

A key that stands twice, an anchor, a tag, a number in another base than ten are refused: each of them is read by
somebody as something else than YAML reads it as. See the YAML 1.1 specification, yaml.org/spec/1.1. This module must
never build anything but texts, numbers, moments, lists and maps.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import yaml

from ops.rules.findings import Finding, RulesRefused

BYTES_MAX: Final = 1 << 20
DEPTH_MAX: Final = 16
_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map")
)
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9_]*)")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Marked:
    """What a text says in words that JSON has too, and the lines (from 1) that its parts begin in."""

    value: Any
    lines: dict[Path, int]

    def line(self, *path: str | int) -> int | None:
        """Return the line of a part, or of the nearest part around it that is there."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None


class _Loader(yaml.SafeLoader):
    """Composes nodes and refuses what is ambiguous or has no bound."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node, unless it is another one's alias or lies too deep."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refused(event.start_mark, "anchors and aliases are not taken; write it out")
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise _refused(event.start_mark, f"nested more than {DEPTH_MAX} deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_marked(data: bytes) -> Marked:
    """Read a file of YAML.

    Raises:
        RulesRefused: it is none, too large, or ambiguous.
    """
    if len(data) > BYTES_MAX:
        raise RulesRefused([Finding(f"a file has at most {BYTES_MAX} bytes, not {len(data)}")])
    try:
        text = data.decode()
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            lines: dict[Path, int] = {}
            value = None if node is None else _value(loader, node, (), lines)
        finally:
            loader.dispose()
    except UnicodeDecodeError:
        raise RulesRefused([Finding("not UTF-8")]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RulesRefused([Finding(f"not YAML: {error.problem}", line=mark.line + 1 if mark else None)]) from None
    except yaml.YAMLError:
        raise RulesRefused([Finding("not YAML: a character that may not stand in it")]) from None
    return Marked(value, lines)


def _value(loader: _Loader, node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    lines[path] = node.start_mark.line + 1
    if node.tag not in _TAGS:
        raise _refused(node.start_mark, "tags are not taken")
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, path, lines)
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, each, (*path, number), lines) for number, each in enumerate(node.value)]
    return _scalar(loader, node)


def _mapping(loader: _Loader, node: yaml.MappingNode, path: Path, lines: dict[Path, int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key: Hashable = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        if not isinstance(key, str) or key == "<<":
            raise _refused(key_node.start_mark, "a key is a word")
        if key in found:
            raise _refused(key_node.start_mark, f"{key} stands there twice")
        found[key] = _value(loader, value_node, (*path, key), lines)
        lines[*path, key] = key_node.start_mark.line + 1
    return found


def _scalar(loader: _Loader, node: yaml.Node) -> Any:
    if node.tag.endswith(":int") and not _INTEGER.fullmatch(node.value):
        raise _refused(node.start_mark, "a number is written in base ten, without leading zeros")
    try:
        value = loader.construct_object(node)
    except ValueError:
        raise _refused(node.start_mark, "no such number or moment") from None
    return value.isoformat() if isinstance(value, date) else value


def _refused(mark: Any, text: str) -> RulesRefused:
    return RulesRefused([Finding(text, line=mark.line + 1)])
