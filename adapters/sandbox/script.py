"""Reading scenarios, and scripts of them.

A *script* is what a request carries: scenarios for operations, as in ``status=http_503_before_commit*2;slow:50``.
Without an operation a scenario is for the one that moves money; ``*n`` limits it to the first n calls of a reference.

The words stand in `adapters.sandbox.scenario`. This module must never let anything but `BadScenario` out.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from adapters.sandbox.scenario import BadScenario, Fault, FaultKind, Scenario

MS_MAX: Final = 3_600_000
COPIES_MAX: Final = 100
AMOUNT_MINOR_MAX: Final = 999_999_999_999
"""The most that either provider can write down."""
_STATUS_MIN: Final = 400
_STATUS_MAX: Final = 599
_NUMBER: Final = re.compile(r"[0-9]{1,15}")
_CODE: Final = re.compile(r"[a-z_]{1,40}")
_HTTP: Final = re.compile(r"http_([0-9]{3})_(before|after)_commit")
_FAULT: Final = re.compile(r"(timeout|reset|malformed)_(before|after)_commit")
_ITEM: Final = re.compile(r"(?:([a-z_]+)=)?([a-z0-9_:+]+)(?:\*([0-9]{1,4}))?")


@dataclass(frozen=True, slots=True)
class Line:
    """One scenario of a script, for the first `times` calls or for all of them."""

    scenario: Scenario
    times: int | None


Fields = dict[str, Any]


def parse_scenario(text: str) -> Scenario:
    """Read a scenario.

    Raises:
        BadScenario: naming the word at fault.
    """
    fields: Fields = {}
    for token in text.split("+"):
        word, mark, argument = token.partition(":")
        added = _fields(word, argument if mark else None)
        if fields.keys() & added.keys():
            raise BadScenario(f"{word} contradicts another word")
        fields |= added
    return replace(Scenario(), text=text, **fields)


def parse_script(text: str, *, main: str, operations: Collection[str]) -> Mapping[str, Line]:
    """Read a script: scenarios by operation, `main` where none is named.

    Raises:
        BadScenario: naming what is at fault.
    """
    lines: dict[str, Line] = {}
    for item in text.split(";"):
        match = _ITEM.fullmatch(item.strip())
        if match is None:
            raise BadScenario("a script is [operation=]scenario[*times], with semicolons between")
        operation = match[1] or main
        if operation not in operations:
            raise BadScenario(f"there is no operation {operation}")
        if operation in lines:
            raise BadScenario(f"two scenarios for {operation}")
        lines[operation] = Line(parse_scenario(match[2]), int(match[3]) if match[3] else None)
    return lines


def _fields(word: str, argument: str | None) -> Fields:
    if (match := _HTTP.fullmatch(word)) and _STATUS_MIN <= int(match[1]) <= _STATUS_MAX:
        retry_after_s = None if argument is None else _number(word, argument)
        return {"fault": Fault(FaultKind.STATUS, match[2] == "after", int(match[1]), retry_after_s)}
    if match := _FAULT.fullmatch(word):
        _no_argument(word, argument)
        return {"fault": Fault(FaultKind(match[1]), match[2] == "after")}
    if word not in _WORDS:
        raise BadScenario(f"there is no scenario {word[:40]!r}")
    return _WORDS[word](word, argument)


def _number(word: str, argument: str | None) -> int:
    if argument is None or not _NUMBER.fullmatch(argument):
        raise BadScenario(f"{word} needs a number")
    return int(argument)


def _ms(word: str, argument: str | None) -> int:
    value = _number(word, argument)
    if value > MS_MAX:
        raise BadScenario(f"{word} waits an hour at most")
    return value


def _amount(word: str, argument: str | None) -> int:
    value = _number(word, argument)
    if not 1 <= value <= AMOUNT_MINOR_MAX:
        raise BadScenario(f"{word} is 1 to {AMOUNT_MINOR_MAX} minor units")
    return value


def _code(word: str, argument: str | None) -> str:
    if argument is None or not _CODE.fullmatch(argument):
        raise BadScenario(f"{word} needs a code")
    return argument.upper()


def _no_argument(word: str, argument: str | None) -> None:
    if argument is not None:
        raise BadScenario(f"{word} takes nothing behind a colon")


def _flag(name: str) -> Callable[[str, str | None], Fields]:
    def read(word: str, argument: str | None) -> Fields:
        _no_argument(word, argument)
        return {name: True}

    return read


def _one(name: str, read_argument: Callable[[str, str | None], object]) -> Callable[[str, str | None], Fields]:
    return lambda word, argument: {name: read_argument(word, argument)}


def _success(word: str, argument: str | None) -> Fields:
    _no_argument(word, argument)
    return {}


def _processing(word: str, argument: str | None) -> Fields:
    return {"processing": True, "final_after_ms": None if argument is None else _ms(word, argument)}


def _paid(payments: int, *, after_expiry: bool = False) -> Callable[[str, str | None], Fields]:
    def read(word: str, argument: str | None) -> Fields:
        after_ms = 0 if argument is None else _ms(word, argument)
        return {"payments": payments, "paid_after_ms": after_ms, "paid_after_expiry": after_expiry}

    return read


def _copies(word: str, argument: str | None) -> Fields:
    copies = 2 if argument is None else _number(word, argument)
    if not 1 <= copies <= COPIES_MAX:
        raise BadScenario(f"{word} sends 1 to {COPIES_MAX} copies")
    return {"callback_copies": copies}


_WORDS: Final[dict[str, Callable[[str, str | None], Fields]]] = {
    "success": _success,
    "decline": _one("decline", _code),
    "processing": _processing,
    "reversal": _one("reversal_after_ms", _ms),
    "revived": _one("revived_after_ms", _ms),
    "unseen": _one("unseen_ms", _ms),
    "paid": _paid(1),
    "paid_twice": _paid(2),
    "paid_after_expiry": _paid(1, after_expiry=True),
    "paid_amount": _one("paid_amount_minor", _amount),
    "payment_declined": _one("payment_decline", _code),
    "slow": _one("delay_ms", _ms),
    "callback_lost": _flag("callback_lost"),
    "callback_late": _one("callback_late_ms", _ms),
    "callback_duplicate": _copies,
    "callback_out_of_order": _flag("callback_out_of_order"),
    "callback_forged": _flag("callback_forged"),
    "callback_replayed": _flag("callback_replayed"),
    "callback_wrong_amount": _one("callback_amount_minor", _amount),
}
