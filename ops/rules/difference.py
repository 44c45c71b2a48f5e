"""What a change changes: entry by entry, field by field. Pure.

This module must never leave out a field because it looks unimportant: what is shown here is what is confirmed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from ops.rules.entries import SECTION_OF, SECTIONS, Body

Key = tuple[str, str]
"""Kind and name of an entry."""
_ORDER: Final[Mapping[str, int]] = {kind: number for number, (kind, _) in enumerate(SECTIONS.values())}
_COLOURS: Final = {"+": "green", "-": "red", "~": "yellow"}


@dataclass(frozen=True, slots=True)
class Held:
    """An entry in force; a switch or key has no version of its own."""

    body: Body
    version: int | None = None


State = Mapping[Key, Held]


@dataclass(frozen=True, slots=True)
class Field:
    """A field that differs, by its dotted name; None where it does not stand."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Edit:
    """An entry that is made, changed or removed."""

    kind: str
    name: str
    before: Body | None
    after: Body | None

    @property
    def sign(self) -> str:
        """What happens to it: ``+``, ``-`` or ``~``."""
        if self.before is None:
            return "+"
        return "-" if self.after is None else "~"

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields that differ."""
        before, after = dict(_flat(self.before or {})), dict(_flat(self.after or {}))
        names = dict.fromkeys((*after, *before))
        return tuple(
            Field(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
        )


def edits_between(before: Mapping[Key, Body], after: Mapping[Key, Body]) -> list[Edit]:
    """Return what leads from one state to another, in the order of sections and names."""
    keys = sorted({*before, *after}, key=lambda key: (_ORDER.get(key[0], len(_ORDER)), key[1]))
    return [
        Edit(*key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)
    ]  # fmt: skip


def lines_of(edits: Iterable[Edit]) -> Iterator[tuple[str, str]]:
    """Yield the lines that show edits, each with the sign that decides its colour."""
    for edit in edits:
        yield edit.sign, f"{edit.sign} {edit.kind} {edit.name}"
        for field in edit.fields:
            if edit.sign == "~":
                yield "~", f"    {field.name}: {_said(field.before)} → {_said(field.after)}"
            elif (value := field.after if edit.sign == "+" else field.before) not in (None, []):
                yield edit.sign, f"    {field.name}: {_said(value)}"


def text_of(edits: Iterable[Edit]) -> str:
    """Return edits as plain text, as they are kept with the change."""
    return "\n".join(line for _, line in lines_of(edits))


def shown(edits: Iterable[Edit]) -> RenderableType:
    """Return edits for a terminal."""
    return Group(*(Text(line, style=_COLOURS[sign]) for sign, line in lines_of(edits)))


def as_json(edits: Iterable[Edit]) -> list[dict[str, Any]]:
    """Return edits for programs."""
    return [
        {
            "section": SECTION_OF[edit.kind],
            "kind": edit.kind,
            "name": edit.name,
            "change": {"+": "added", "-": "removed", "~": "changed"}[edit.sign],
            "before": edit.before,
            "after": edit.after,
            "fields": [{"name": field.name, "before": field.before, "after": field.after} for field in edit.fields],
        }
        for edit in edits
    ]


def _flat(body: Body, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in body.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _said(value: object) -> str:
    return "-" if value is None else json.dumps(value, ensure_ascii=False)
