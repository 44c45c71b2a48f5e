"""JSON bodies: read as every other parser would read them, or not at all."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bodies import parse_object
from gateway.problems import Problem

_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=8), _values, max_size=6), st.booleans())
def test_what_json_can_write_without_floats_is_read_back(fields: dict[str, Any], ascii_only: bool) -> None:  # noqa: FBT001
    """Escaped or not."""
    body = json.dumps(fields, ensure_ascii=ascii_only).encode("utf-8")
    assert parse_object(body) == fields


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_problem(body: bytes) -> None:
    """And never another exception."""
    problem: Problem | None = None
    try:
        assert isinstance(parse_object(body), dict)
    except Problem as raised:
        problem = raised
    assert problem is None or problem.kind.status == 400


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b"{'a':1}", "malformed_json"),
        (b'{"a":1,}', "malformed_json"),
        (b'{"a":01}', "malformed_json"),
        (b'{"a":+1}', "malformed_json"),
        (b'{"a":NaN}', "malformed_json"),
        (b'{"a":-Infinity}', "malformed_json"),
        (b'{"a":"\xc3"}', "malformed_json"),
        (b'{"a":"\xed\xa0\x80"}', "malformed_json"),
        (b'{"a":"\x00"}', "malformed_json"),
        (b'{"a":' * 30_000 + b"1" + b"}" * 30_000, "malformed_json"),
        (b"null", "wrong_type"),
        (b"1", "wrong_type"),
        (b'{"a":1,"a":1}', "duplicate_field"),
        (b'[{"a":1,"a":2}]', "duplicate_field"),
        (b'{"a":1.0}', "float_not_allowed"),
        (b'{"a":1E2}', "float_not_allowed"),
        (b'{"a":[0.1]}', "float_not_allowed"),
        (b'{"a":' + b"1" * 21 + b"}", "number_too_large"),
        (b'{"a":"\\ud83d"}', "bad_text"),
        (b'{"\\ude00":1}', "bad_text"),
    ],
)
def test_a_body_that_could_be_read_in_two_ways_is_refused(body: bytes, code: str) -> None:
    """Each way with its own code."""
    with pytest.raises(Problem) as raised:
        parse_object(body)
    assert raised.value.code == code


def test_a_whole_surrogate_pair_is_text() -> None:
    """Only halves are refused."""
    assert parse_object(b'{"a":"\\ud83d\\ude00"}') == {"a": "\U0001f600"}
