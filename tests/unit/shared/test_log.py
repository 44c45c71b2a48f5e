"""Logs: whole, readable by machines, and free of what belongs to people."""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import pytest
import structlog
from pydantic import BaseModel, ValidationError

from shared.errors import Transient
from shared.log import HIDDEN, REDACTED, configure, describe
from shared.sealing import CannotUnseal

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Logging set up into memory; call it for the lines written so far."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure("edge", mode="json", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_says_when_who_what_and_how_grave(lines: Lines) -> None:
    """One JSON object per line."""
    structlog.get_logger().info("batch_done", entries=3)
    (line,) = lines()
    assert line["event"] == "batch_done"
    assert (line["level"], line["service"], line["entries"]) == ("info", "edge", 3)
    assert line["timestamp"].endswith("Z")


def test_what_is_bound_joins_every_line(lines: Lines) -> None:
    """And only in the task that bound it."""

    async def handle(intent: str) -> None:
        structlog.contextvars.bind_contextvars(intent_id=intent)
        await asyncio.sleep(0)
        structlog.get_logger().info("handled")

    async def both() -> None:
        await asyncio.gather(handle("a"), handle("b"))

    asyncio.run(both())
    assert sorted(line["intent_id"] for line in lines()) == ["a", "b"]


def test_lines_below_the_level_are_not_written(lines: Lines) -> None:
    """The default is info."""
    structlog.get_logger().debug("noise")
    logging.getLogger("aiohttp").debug("noise")
    assert lines() == []


@pytest.mark.parametrize("name", sorted(REDACTED))
def test_personal_data_and_secrets_are_redacted_by_name(lines: Lines, name: str) -> None:
    """Whatever their value, however deep they nest, however they are spelt."""
    shouted = name.upper().replace("_", "-")
    structlog.get_logger().info("seen", **{name: "Alice"}, outer={"list": [{shouted: {"first": "Alice"}}]})
    (line,) = lines()
    assert line[name] == HIDDEN
    assert line["outer"] == {"list": [{shouted: HIDDEN}]}
    assert "Alice" not in json.dumps(line)


def test_the_names_that_matter_are_in_the_list() -> None:
    """The list may grow, never shrink."""
    needed = {"from_name", "to_name", "comment", "proxy", "secret", "signature", "password", "keyring", "body"}
    assert needed <= REDACTED


def test_what_nests_too_deep_to_be_looked_through_is_hidden(lines: Lines) -> None:
    """Neither endless nor unread."""
    nested: object = "Alice"
    for _ in range(10):
        nested = {"deeper": nested}
    structlog.get_logger().info("seen", nested=nested)
    assert "Alice" not in json.dumps(lines())


def test_the_standard_library_ends_in_the_same_lines(lines: Lines) -> None:
    """Libraries log there; their extras are redacted too."""
    logging.getLogger("asyncio").warning("slow %s", "task", extra={"comment": "Alice"})
    (line,) = lines()
    assert (line["event"], line["logger"], line["level"]) == ("slow task", "asyncio", "warning")
    assert line["comment"] == HIDDEN


class Payment(BaseModel):
    """Something with a value that must not leak."""

    amount_minor: int
    comment: str


def test_an_exception_is_described_with_its_cause_and_places(lines: Lines) -> None:
    """Enough to find the fault."""

    def fail() -> None:
        raise Transient("PostgreSQL did nothing") from ConnectionResetError(104, "peer")

    try:
        fail()
    except Transient:
        structlog.get_logger().exception("batch_failed")
    (line,) = lines()
    assert line["error"] == "Transient: PostgreSQL did nothing"
    assert any(place.endswith(" fail") for place in line["trace"])
    assert "caused by ConnectionResetError: peer" in line["trace"]


def test_a_group_of_exceptions_names_its_members(lines: Lines) -> None:
    """A task group's failure is no more than its members."""
    structlog.get_logger().error("failed", exc_info=ExceptionGroup("two", [KeyError("a"), ValueError("b")]))
    (line,) = lines()
    assert {"contains KeyError: a", "contains ValueError: b"} <= set(line["trace"])


def test_a_validation_error_does_not_quote_its_input(lines: Lines) -> None:
    """Pydantic's own text would."""
    with pytest.raises(ValidationError) as refusal:
        Payment.model_validate({"amount_minor": "Alice", "comment": ["Alice"]})
    assert "Alice" in str(refusal.value)
    assert describe(refusal.value) == "ValidationError: amount_minor: int_parsing"
    structlog.get_logger().error("refused", exc_info=refusal.value)
    assert "Alice" not in json.dumps(lines())


def test_a_database_error_does_not_quote_the_row_it_refused() -> None:
    """PostgreSQL puts it into the detail."""
    error = asyncpg.UniqueViolationError("duplicate key value violates unique constraint")
    error.detail = "Key (comment)=(Alice) already exists."
    assert "Alice" in str(error)
    assert describe(error) == "UniqueViolationError: duplicate key value violates unique constraint"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError(), "KeyError"),
        (CannotUnseal(), "CannotUnseal: " + str(CannotUnseal.__doc__)),
        (ValueError("x" * 10_000), "ValueError: " + "x" * 500),
    ],
)
def test_a_description_is_short(error: Exception, text: str) -> None:
    """512 characters at most."""
    assert describe(error) == text


def test_an_exception_as_a_value_is_described_too(lines: Lines) -> None:
    """Not by its repr."""
    structlog.get_logger().info("gave_up", cause=KeyError("a"))
    assert lines()[0]["cause"] == "KeyError: a"


def test_what_json_cannot_say_is_written_by_its_repr(lines: Lines) -> None:
    """Logging never is the reason that a payment fails."""
    structlog.get_logger().info("odd", value=object, data=b"\xff", key={1: {2}})
    assert lines()[0]["event"] == "odd"


@pytest.mark.parametrize(("mode", "pretty"), [("pretty", True), ("json", False), ("auto", False)])
def test_lines_are_pretty_on_demand_only(mode: Any, *, pretty: bool, lines: Lines) -> None:
    """What is no terminal gets JSON."""
    stream = io.StringIO()
    configure("edge", mode=mode, stream=stream)
    structlog.get_logger().info("hello", comment="Alice")
    assert stream.getvalue().startswith("{") != pretty
    assert "Alice" not in stream.getvalue()
    assert lines() == []
