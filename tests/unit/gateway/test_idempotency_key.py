"""The Idempotency-Key header: one key, two spellings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.idempotency_key import CHARS_MAX, parse_idempotency_key
from gateway.problems import Problem

_visible = st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=CHARS_MAX)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("k", "k"),
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"k"', "k"),
        (r'"a\"b"', 'a"b'),
        (r'"a\\b"', r"a\b"),
        (r"a\b", r"a\b"),
        ('a"b', 'a"b'),
        ("k;p=1", "k;p=1"),
        ("~" * CHARS_MAX, "~" * CHARS_MAX),
    ],
)
def test_a_key_is_read_quoted_or_bare(header: str, key: str) -> None:
    """Quotes and escapes are spelling."""
    assert parse_idempotency_key(header) == key


@pytest.mark.parametrize(
    "header",
    [
        "", " ", '""', '"', '"a', '"a"b"', r'"a\b"', r'"\"', '"a b"', "a b", "a\tb", "a\n", "ключ", "\x7f", '"k";p',
        "k" * 256, '"' + "k" * 256 + '"',
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused(header: str) -> None:
    """Empty, too long, not visible ASCII, or half a structured field."""
    with pytest.raises(Problem) as raised:
        parse_idempotency_key(header)
    assert raised.value.code == "idempotency_key_invalid"


@given(_visible)
def test_quoting_a_key_never_changes_it(key: str) -> None:
    """Every key can be written as a structured field."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_idempotency_key(f'"{escaped}"') == key


@given(_visible.filter(lambda key: not key.startswith('"')))
def test_a_bare_key_is_itself(key: str) -> None:
    """Unless it begins like a quoted one."""
    assert parse_idempotency_key(key) == key


@given(st.text(max_size=300))
def test_any_header_is_a_key_or_a_problem(header: str) -> None:
    """And a key is always 1 to 255 visible characters."""
    try:
        key = parse_idempotency_key(header)
    except Problem:
        return
    assert 1 <= len(key) <= CHARS_MAX
    assert all("!" <= character <= "~" for character in key)
