"""A file in stretches: every line once, from any place on, and never more of it than a stretch."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.settlement.stretches import stretches
from shared.settlement.layout import LINE_BYTES_MAX


@given(
    st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=30),
    st.integers(1, 40),
    st.sampled_from([b"", b"\n"]),
)
def test_every_line_comes_once_and_reading_may_go_on_anywhere(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], size: int, end: bytes
) -> None:
    """Whatever the size of a stretch, and whether the last line ends or not."""
    path = tmp_path_factory.mktemp("x") / "file"
    path.write_bytes(b"\n".join(lines) + (end if lines else b""))
    expected = path.read_bytes().split(b"\n")
    expected = expected[:-1] if expected[-1] == b"" else expected
    whole = list(stretches(path, size=size))
    assert [line for stretch in whole for line in stretch.lines] == expected
    seen = 0
    for stretch in whole:
        assert stretch.first == seen + 1
        seen += len(stretch.lines)
        rest = stretches(path, begin_bytes=stretch.end_bytes, first=seen + 1, size=size)
        assert [line for later in rest for line in later.lines] == expected[seen:]


def test_a_line_without_an_end_is_not_read_into_memory(tmp_path: Path) -> None:
    """It is refused by its length, and the next is a line of its own."""
    path = tmp_path / "file"
    path.write_bytes(b"one\n" + b"x" * 200_000 + b"\nthree\n")
    found = [line for stretch in stretches(path, size=1_000) for line in stretch.lines]
    assert [found[0], found[2]] == [b"one", b"three"]
    assert LINE_BYTES_MAX < len(found[1]) <= LINE_BYTES_MAX + 1_001
    ends = [stretch.end_bytes for stretch in stretches(path, size=1_000)]
    assert ends[-1] == path.stat().st_size
