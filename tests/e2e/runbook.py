"""The runbook as the drill reads it: commands typed exactly as the document has them, answers of the same shape.

A block of the document that follows ``<!-- drill: name -->`` is a step: its lines that begin with ``$ paymesh`` are
typed, with words such as ``$INTENT`` filled in, and what was answered must have the headings, columns and sentences
that the document shows. With RUNBOOK_PASTE set what was answered is written into the document instead.
"""

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Template
from typing import Final

from tests.e2e.conftest import Home
from tests.integration.ops.processes import ROOT

DOCUMENT: Final = ROOT / "docs" / "operations.md"
PASTE: Final = "RUNBOOK_PASTE"
_STEP: Final = re.compile(r"<!-- drill: (?P<name>[a-z-]+) -->\n```console\n(?P<text>.*?)```\n", re.DOTALL)
_PROMPT: Final = "$ "
_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9A-Z]{12,}\b|\b\d[\d:.-]*")
_MOVING: Final = re.compile(r"intents: |\d\d:\d\d:\d\d")
"""Lines that are like rows of a table: the states there are, and the moments of a story."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A command as the document has it, and what it answers."""

    line: str
    answer: str


@dataclass(slots=True)
class Runbook:
    """The steps of the document, and those that were taken."""

    home: Home
    steps: Mapping[str, list[Typed]]
    taken: dict[str, list[Typed]] = field(default_factory=dict)

    @classmethod
    def read(cls, home: Home) -> "Runbook":
        """Read the document."""
        return cls(home, steps_of(DOCUMENT.read_text()))

    def take(self, step: str, *, status: int = 0, who: str = "ann", **words: object) -> str:
        """Type the commands of a step one after the other, as somebody; return all answers.

        Args:
            step: its name.
            status: the exit status of the last command; the others end with 0.
            who: who sits at the terminal.
            words: what to put for ``$WORD`` in the document.
        """
        done: list[Typed] = []
        commands = self.steps[step]
        for place, typed in enumerate(commands, start=1):
            argv = [Template(word).substitute(words) for word in shlex.split(typed.line)]
            assert argv[0] == "paymesh", typed.line
            result = self.home.invoke(*argv[1:], more=sitting(who))
            wanted = status if place == len(commands) else 0
            assert result.exit_code == wanted, f"{shlex.join(argv)}: {result.exit_code}\n{result.output}"
            if not os.environ.get(PASTE):
                assert shape(result.output) == shape(typed.answer), f"{shlex.join(argv)}\n{result.output}"
            done.append(Typed(typed.line, result.output))
        self.taken[step] = done
        return "".join(typed.answer for typed in done)

    def finish(self) -> None:
        """See that every step of the document was taken; write down what was answered where that is asked for."""
        assert self.taken.keys() == self.steps.keys()
        if os.environ.get(PASTE):
            DOCUMENT.write_text(pasted(DOCUMENT.read_text(), self.taken))


def sitting(who: str) -> dict[str, str]:
    """Return what makes commands take somebody for the person at the terminal, in a mesh that is for tests."""
    return {"LOGNAME": who}


def steps_of(text: str) -> dict[str, list[Typed]]:
    """Return the steps of a document by name."""
    return {found["name"]: _typed(found["text"]) for found in _STEP.finditer(text)}


def shape(answer: str) -> list[str]:
    """Return what does not change from run to run: the columns of tables, and sentences without their figures."""
    lines = [" ".join(line.split()) for line in answer.splitlines()]
    told = [_ID.sub("#", line) for line in lines if line and line[0] not in "┏┡│└├" and not _MOVING.match(line)]
    return [line for line, before in zip(told, [None, *told], strict=False) if line != before]


def pasted(text: str, taken: Mapping[str, list[Typed]]) -> str:
    """Return the document with these answers."""

    def block(found: "re.Match[str]") -> str:
        lines = [f"{_PROMPT}{typed.line}\n{_plain(typed.answer)}" for typed in taken[found["name"]]]
        return f"<!-- drill: {found['name']} -->\n```console\n{''.join(lines)}```\n"

    return _STEP.sub(block, text)


def _typed(text: str) -> list[Typed]:
    found: list[Typed] = []
    for line in text.splitlines(keepends=True):
        if line.startswith(_PROMPT):
            found.append(Typed(line.removeprefix(_PROMPT).strip(), ""))
        else:
            found[-1] = Typed(found[-1].line, found[-1].answer + line)
    return found


def _plain(answer: str) -> str:
    """Return an answer without the blanks at the ends of its lines."""
    return "".join(f"{line.rstrip()}\n" for line in answer.splitlines() if line.strip())
