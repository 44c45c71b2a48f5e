"""The codecs are arithmetic on text: they reach for nothing that could wait, fail or change."""

import ast
from pathlib import Path

import pytest

ADAPTERS = Path(__file__).parents[3] / "adapters"
CODECS = [
    ADAPTERS / "crc.py",
    ADAPTERS / "qp" / "link.py",
    *(ADAPTERS / "ipps" / f"{name}.py" for name in ("amounts", "defects", "emvco", "payees", "proxies", "slip", "tlv")),
]
ALLOWED = {"binascii", "collections.abc", "dataclasses", "enum", "re", "shared.errors", "typing", "adapters.crc"}


def imports(path: Path) -> set[str]:
    """The names of all modules that a module imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            if node.module == "adapters.ipps":
                found |= {f"adapters.ipps.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", CODECS, ids=lambda path: path.stem)
def test_a_codec_imports_nothing_but_text_and_errors(path: Path) -> None:
    """No I/O, no clock, no randomness, and nobody else's folder."""
    siblings = {f"adapters.ipps.{codec.stem}" for codec in CODECS if codec.parent.name == "ipps"} | {"adapters.ipps"}
    own = siblings if path.parent.name == "ipps" else set()
    assert imports(path) <= ALLOWED | own
