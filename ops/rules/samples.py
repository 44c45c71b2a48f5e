"""Sample intents: what the expressions of a rule are tried on before it goes live. Pure, and of no real person.

Boundaries that every rule meets, and beside them what the expression itself names: its numbers with one less and one
more, its texts as tags, labels and channels. So that each side of each comparison is tried. This module must never
vary what an expression does not ask for: the number of samples is a product.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd, prod
from typing import Any, Final

from shared.money import AMOUNT_MINOR_MAX
from shared.rules.expressions import Value
from shared.rules.model import Scope

SAMPLES_MAX: Final = 96
AMOUNTS: Final = (1, 2, 99, 10_000, 10**15)
HOURS: Final = (0, 12, 23)
WEEKDAYS: Final = (1, 7)
USERS: Final = ("", "alice")
_NAMED_MAX: Final = 6
"""How many numbers, or texts, of an expression are tried."""
_TAGS_MAX: Final = 16
_OTHER: Final = "other"

_TEXT: Final = re.compile(r"""[rR]?(?:"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)')""")
_NUMBER: Final = re.compile(r"(?<![\w.])\d+(?![\w.])")
_LABEL: Final = re.compile(r"\bmetadata\s*\.\s*([a-z][a-z0-9_]{0,31})\b")
_LABEL_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")

Sample = Mapping[str, Value]
CHANNELS: Final[Mapping[str, Sequence[str]]] = {
    "P2P_TRANSFER": ("INTERNAL_P2P",),
    "IPPS_WITHDRAWAL": ("IPPS",),
    "THAI_QR_PAY": ("IPPS",),
    "QP_TOPUP": ("QP",),
}
"""The channels that carry each operation, where no mesh says so."""


@dataclass(frozen=True, slots=True)
class Named:
    """What expressions name: texts, numbers, and labels by their names."""

    texts: tuple[str, ...]
    numbers: tuple[int, ...]
    labels: tuple[str, ...]


def named_in(sources: Iterable[str]) -> Named:
    """Return what expressions name."""
    texts: dict[str, None] = {}
    numbers: dict[int, None] = {}
    labels: dict[str, None] = {}
    for source in sources:
        for found in _TEXT.finditer(source):
            texts[found[1] or found[2] or ""] = None
        bare = _TEXT.sub(lambda text: " " * len(text[0]), source)
        numbers |= dict.fromkeys(int(number) for number in _NUMBER.findall(bare) if len(number) < len(str(1 << 63)))
        labels |= dict.fromkeys(_LABEL.findall(bare))
        if "metadata" in bare:
            labels |= dict.fromkeys(text for text in texts if _LABEL_NAME.fullmatch(text))
    fitting = [text for text in texts if 0 < len(text) <= 64]  # noqa: PLR2004 - as long as a tag may be
    return Named(tuple(fitting[:_NAMED_MAX]), tuple(numbers)[:_NAMED_MAX], tuple(labels)[:_NAMED_MAX])


def samples(scope: Scope, needs: frozenset[str], named: Named, channels: Mapping[str, Sequence[str]]) -> list[Sample]:
    """Return the samples that expressions of a rule are tried on.

    Args:
        scope: the rule's.
        needs: the variables that the expressions ask for; others are left out.
        named: what the expressions name.
        channels: who carries which operation.
    """
    axes = {name: _axis(name, scope, named) for name in sorted(needs - {"operation_type", "channel"})}
    if needs & {"operation_type", "channel"}:
        axes["operation_type, channel"] = list(_carried(scope, named, channels, channel="channel" in needs))
    found: list[Sample] = []
    for chosen in _thinned([*axes.values()]):
        sample: dict[str, Value] = {}
        for name, value in zip(axes, chosen, strict=True):
            if name == "operation_type, channel":
                sample |= {key: value[key] for key in value if key in needs}
            else:
                sample[name] = value
        found.append(sample)
    return found


def _axis(name: str, scope: Scope, named: Named) -> list[Any]:
    match name:
        case "amount":
            around = [number + step for number in named.numbers for step in (-1, 0, 1)]
            return sorted({*AMOUNTS, *(number for number in around if 1 <= number <= AMOUNT_MINOR_MAX)})
        case "hour" | "weekday":
            usual = HOURS if name == "hour" else WEEKDAYS
            return sorted({*usual, *(number for number in named.numbers if usual[0] <= number <= usual[-1])})
        case "user_id":
            return [*dict.fromkeys((*USERS, *named.texts))]
        case "currency":
            return [scope.currency]
        case "tags":
            return _tag_lists(scope, named)
        case _:
            return _label_maps(named)


def _tag_lists(scope: Scope, named: Named) -> list[list[str]]:
    own = [*scope.tags]
    lists = [[], own, *([*own, text] for text in named.texts if text not in own)]
    every = [*dict.fromkeys((*own, *named.texts))][:_TAGS_MAX]
    lists.append([*every, *(f"t{number}" for number in range(_TAGS_MAX - len(every)))])
    return [list(each) for each in dict.fromkeys(map(tuple, lists))]


def _label_maps(named: Named) -> list[dict[str, str]]:
    maps: list[dict[str, str]] = [{}]
    for value in (_OTHER, *named.texts):
        maps += [{label: value} for label in named.labels]
        maps.append(dict.fromkeys(named.labels, value))
    return [dict(each) for each in dict.fromkeys(tuple(one.items()) for one in maps)]


def _carried(
    scope: Scope, named: Named, channels: Mapping[str, Sequence[str]], *, channel: bool
) -> Iterator[dict[str, str]]:
    for operation in scope.operations:
        if not channel:
            yield {"operation_type": operation}
            continue
        for name in dict.fromkeys((*channels.get(operation, ()), *named.texts, "")):
            yield {"operation_type": operation, "channel": name}


def _thinned(axes: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """Yield the product of some axes, or as many of it as there may be, spread evenly: the same ones every time."""
    total = prod(len(axis) for axis in axes)
    if total <= SAMPLES_MAX:
        yield from product(*axes)
        return
    step = total // SAMPLES_MAX | 1
    while gcd(step, total) != 1:
        step += 2
    for number in range(SAMPLES_MAX):
        place = number * step % total
        chosen = []
        for axis in axes:
            place, at = divmod(place, len(axis))
            chosen.append(axis[at])
        yield tuple(chosen)


def described(sample: Sample) -> str:
    """Say which sample it is."""
    return ", ".join(f"{name} = {value!r}" for name, value in sorted(sample.items())) or "any intent"
