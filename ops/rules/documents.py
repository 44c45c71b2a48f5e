"""Documents: a file of rules as entries with their places, or the same made of what was in force before.

A section that stands in a document is the whole of its kind; sections that do not stand in it are left alone. This
module must never take half a document: whatever cannot be read is told, and then none of it is used.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ops.rules.entries import AMOUNT_SHAPES, ENTRIES_MAX, SECTIONS, Body, Entry, entry_of, parse_entry, written
from ops.rules.findings import Finding, RulesRefused
from ops.rules.yaml_text import Marked, read_marked
from ops.rules.yaml_text import Path as Place

_UNMARKED = Marked(None, {})
_WORDS: Mapping[str, str] = {"extra_forbidden": "there is no such field", "missing": "is missing"}


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry of a document, and where it stands."""

    section: str
    entry: Entry
    place: Place = ()

    @property
    def kind(self) -> str:
        """The kind of the entry."""
        return SECTIONS[self.section][0]

    @property
    def name(self) -> str:
        """What it goes by among its kind."""
        return self.entry.entry_name

    @property
    def title(self) -> str:
        """Kind and name, for people."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Document:
    """Sections and their entries."""

    sections: Mapping[str, tuple[Placed, ...]]
    marks: Marked = field(default=_UNMARKED, repr=False)

    def entries(self, section: str) -> tuple[Placed, ...]:
        """Return the entries of a section; none where it does not stand in the document."""
        return self.sections.get(section, ())

    def line(self, placed: Placed, *fields: str) -> int | None:
        """Return the line of a field."""
        return self.marks.line(*placed.place, *fields) if placed.place else None

    def finding(
        self, placed: Placed, fields: str, text: str, *, source: str | None = None, column: int | None = None,
        warning: bool = False,
    ) -> Finding:  # fmt: skip
        """Return a finding about a field of an entry; `fields` are joined by dots."""
        line = self.line(placed, *fields.split("."))
        return Finding(text, placed.title, fields, line, source, column, warning)


def read_file(path: Path) -> Document:
    """Read a file of rules.

    Raises:
        RulesRefused: with everything that is wrong with its shape.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        data = stream.read((1 << 20) + 1)
    try:
        return read_document(data)
    except RulesRefused as error:
        raise RulesRefused(error.findings, path.name) from None


def read_document(data: bytes) -> Document:
    """Read a document from its text.

    Raises:
        RulesRefused: with everything that is wrong with its shape.
    """
    marks = read_marked(data)
    if not isinstance(marks.value, dict):
        raise RulesRefused([Finding(f"a file of rules has sections: {', '.join(SECTIONS)}", line=1)])
    faults: list[Finding] = []
    sections: dict[str, tuple[Placed, ...]] = {}
    for name, value in marks.value.items():
        if name not in SECTIONS:
            faults.append(
                Finding(f"there is no section {name}; there are {', '.join(SECTIONS)}", line=marks.line(name))
            )
            continue
        sections[name] = tuple(_section(name, value, marks, faults))
    if faults:
        raise RulesRefused(faults)
    return Document(sections, marks)


def document_of(sections: Mapping[str, Iterable[tuple[str, Body]]]) -> Document:
    """Return the document that says what some entries, by name and body, say.

    Raises:
        RulesRefused: one of them was stored under other bounds than there are now.
    """
    faults: list[Finding] = []
    made: dict[str, tuple[Placed, ...]] = {}
    for section, entries in sections.items():
        kind = SECTIONS[section][0]
        placed = []
        for name, body in entries:
            try:
                placed.append(Placed(section, entry_of(kind, name, body)))
            except ValidationError as error:
                faults += _faults(error, f"{kind} {name}", (), _UNMARKED)
        made[section] = tuple(placed)
    if faults:
        raise RulesRefused(faults)
    return Document(made)


def write_document(sections: Mapping[str, Iterable[tuple[str, Body]]]) -> str:
    """Return the YAML that `read_document` takes back unchanged."""
    said: dict[str, Any] = {}
    for section in SECTIONS:
        if section not in sections:
            continue
        kind = SECTIONS[section][0]
        entries = [written(kind, name, body) for name, body in sections[section]]
        said[section] = entries[0] if section == "business" else entries
    return yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=110)


def _section(name: str, value: object, marks: Marked, faults: list[Finding]) -> Iterable[Placed]:
    if name == "business":
        items: list[tuple[Place, object]] = [((name,), value)]
    elif isinstance(value, list) and len(value) <= ENTRIES_MAX:
        items = [((name, number), each) for number, each in enumerate(value)]
    else:
        text = f"a section is a list of at most {ENTRIES_MAX} entries; [] for none"
        faults.append(Finding(text, name, line=marks.line(name)))
        return
    seen: dict[str, int | None] = {}
    for place, item in items:
        placed = _entry(name, place, item, marks, faults)
        if placed is None:
            continue
        if placed.name in seen:
            text = f"stands there twice; first in line {seen[placed.name]}"
            faults.append(Finding(text, placed.title, line=marks.line(*place)))
            continue
        seen[placed.name] = marks.line(*place)
        yield placed


def _entry(section: str, place: Place, item: object, marks: Marked, faults: list[Finding]) -> Placed | None:
    kind = SECTIONS[section][0]
    named = item.get("name") if isinstance(item, dict) else None
    title = f"{kind} {named}" if isinstance(named, str) and named.isascii() and named.isprintable() else kind
    if not isinstance(item, dict):
        faults.append(Finding("an entry is a list of fields", title, line=marks.line(*place)))
        return None
    try:
        return Placed(section, parse_entry(section, item), place)
    except ValidationError as error:
        faults += _faults(error, title, place, marks)
        return None


def _faults(error: ValidationError, title: str, place: Place, marks: Marked) -> Iterable[Finding]:
    for each in error.errors(include_input=False, include_url=False):
        fields = tuple(part for part in each["loc"] if part not in AMOUNT_SHAPES)
        text = _WORDS.get(each["type"], each["msg"].removeprefix("Value error, "))
        text = text[:1].lower() + text[1:] if text[1:2].islower() else text
        yield Finding(text, title, ".".join(map(str, fields)), marks.line(*place, *fields) if place else None)
