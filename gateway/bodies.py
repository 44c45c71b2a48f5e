"""JSON bodies, read suspiciously: what two parsers could read differently is refused.

A field named twice, a number with a fraction, NaN, a number of a thousand digits, half a surrogate pair, an encoding
other than UTF-8: each has its own code, so that the caller learns what to mend. Nothing here knows what a field means.
"""

import json
from typing import Any, Final, NoReturn

from gateway.problems import Problem

INTEGER_CHARS_MAX: Final = 20


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Problem("duplicate_field", "every field of an object is named once")
    return fields


def _integer(text: str) -> int:
    if len(text) > INTEGER_CHARS_MAX:
        raise Problem("number_too_large", f"a number has at most {INTEGER_CHARS_MAX} characters")
    return int(text)


def _no_float(_: str) -> NoReturn:
    raise Problem("float_not_allowed", "money is counted in whole minor units: write 1050, not 10.50 or 1.05e3")


def _no_constant(name: str) -> NoReturn:
    raise Problem("malformed_json", f"{name} is not a JSON value")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_no_float, parse_constant=_no_constant
)


def parse_object(body: bytes) -> dict[str, Any]:
    """Read a body that must be one JSON object.

    Raises:
        Problem: ``malformed_json``, ``duplicate_field``, ``float_not_allowed``, ``number_too_large``, ``bad_text``
            or ``wrong_type``.
    """
    try:
        text = body.decode()
        value = _DECODER.decode(text)
    except UnicodeDecodeError:
        raise Problem("malformed_json", "the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Problem("malformed_json", f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise Problem("malformed_json", "the body is nested too deeply") from None
    if not isinstance(value, dict):
        raise Problem("wrong_type", "the body is not a JSON object")
    if b"\\u" in body:
        _check_surrogates(value)
    return value


def _check_surrogates(value: object) -> None:
    """Refuse escapes that name half a character: such a text cannot be written down again."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Problem("bad_text", "an escape names half of a surrogate pair") from None
