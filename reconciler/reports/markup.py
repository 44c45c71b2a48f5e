"""Markup put together from escaped parts: well-formed XML that every browser reads as HTML. Pure.

This module must never take text for markup: what is not a `Markup` is escaped.
"""

from html import escape
from typing import NewType

Markup = NewType("Markup", str)


def element(tag: str, *content: str, **attributes: object) -> Markup:
    """Return an element; `content` that is no markup must go through `text` first.

    An attribute's ``_`` stands for ``-``, and ``class_`` for ``class``; one that is None is left out.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    inside = "".join(content)
    return Markup(f"<{tag}{written}>{inside}</{tag}>" if inside or tag not in _EMPTY else f"<{tag}{written}/>")


def text(value: object) -> Markup:
    """Return anything as text."""
    return Markup(escape(str(value), quote=False))


_EMPTY = frozenset({"meta", "line", "rect", "br", "path"})
