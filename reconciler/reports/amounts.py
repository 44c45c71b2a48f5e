"""Amounts as people read them. Pure; whole numbers only, however large."""

from typing import Final

_MINUS: Final = "\u2212"
_STEPS: Final = (10, 15, 20, 25, 30, 40, 50, 60, 80)
_SHORT: Final = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))


def amount(amount_minor: int, exponent: int) -> str:
    """Write minor units with thousands apart, as in ``1,234.50``."""
    whole, fraction = divmod(abs(amount_minor), 10**exponent)
    point = f".{fraction:0{exponent}d}" if exponent else ""
    return f"{_MINUS if amount_minor < 0 else ''}{whole:,}{point}"


def short(amount_minor: int, exponent: int) -> str:
    """Write a round amount in as little room as an axis has, as in ``1.5M``."""
    scale = 10**exponent
    for unit, letter in _SHORT:
        if amount_minor >= unit * scale:
            tenths = amount_minor * 10 // (unit * scale)
            return f"{tenths // 10}{f'.{tenths % 10}' if tenths % 10 else ''}{letter}"
    whole, fraction = divmod(amount_minor, scale)
    return f"{whole}.{fraction:0{exponent}d}" if fraction else str(whole)


def round_up(amount_minor: int, parts: int) -> int:
    """Return a round step, at least 1, of which `parts` together just reach the amount."""
    power = 1
    while True:
        for step in _STEPS:
            if step % 10 == 0 or power >= 10:  # noqa: PLR2004 - tenths of a unit are no step
                rounded = step * power // 10
                if rounded * parts >= amount_minor:
                    return rounded
        power *= 10
