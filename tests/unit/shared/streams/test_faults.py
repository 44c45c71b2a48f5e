"""What an exception means for the entries, and what of it may be written down."""

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError

from shared.errors import BadInput, InvariantViolation, OutcomeUnknown, Permanent, Transient
from shared.streams.faults import outage, redacted


@pytest.mark.parametrize(
    "error",
    [
        Transient(),
        OutcomeUnknown(),
        TimeoutError(),
        ConnectionRefusedError(),
        RedisConnectionError(),
        ReadOnlyError("READONLY"),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        ResponseError("MISCONF Errors writing to the AOF file"),
    ],
)
def test_outages_say_nothing_about_the_entries(error: Exception) -> None:
    """A dependency is away; the entries are as good as before."""
    assert outage(error)


@pytest.mark.parametrize(
    "error",
    [
        Permanent(),
        BadInput(),
        InvariantViolation(),
        ValueError(),
        KeyError(),
        PermissionError(),
        ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
    ],
)
def test_everything_else_is_the_entrys_own_fault(error: Exception) -> None:
    """Calling it an outage would hand a poison entry back for ever."""
    assert not outage(error)


def test_foreign_errors_are_described_without_their_words() -> None:
    """A library quotes the values it chokes on, and dead letters are read by people."""

    def choke() -> None:
        raise ValueError("secret 4111-1111")

    with pytest.raises(ValueError, match="secret") as caught:
        choke()
    text = redacted(caught.value)
    assert "secret" not in text
    assert text.startswith("builtins.ValueError in choke, line ")
    assert redacted(ValueError("never raised")) == "builtins.ValueError in nowhere"


def test_our_own_errors_keep_their_words_within_512_bytes() -> None:
    """We write them, so they hold no values; a cut never splits a character."""
    assert redacted(Permanent("no such route", code="no_route")) == "no_route: no such route"
    text = redacted(Permanent("й" * 600))
    assert len(text.encode()) <= 512
    assert text.endswith("й")
