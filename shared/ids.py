"""Identifiers that explain themselves: intent ids carry their partition, transfer ids their intent.

An intent id is a UUIDv7 (RFC 9562) whose random bits are laid out so that the id alone finds its slot and
leaves room for every transfer it can ever cause::

    127      80 79 76 75        64 63 62 61         24 23      16 15      0
    unix ms     ver=7 sub-ms/4096   var  random (38)    partition  zero
                                                                   attempt:6 | phase:3 | leg:7

The lowest 16 bits are zero in the intent id and name attempt, phase and leg in a transfer id. Everything is
time-ordered, which both TigerBeetle and B-trees reward. Overflow is refused, never wrapped: leg 128 *would be*
another phase, and another phase's money.

Time and randomness are arguments; this module must never read a clock.
"""

from enum import IntEnum
from typing import NewType
from uuid import UUID, uuid5

from shared.errors import BadInput, require, violated

IntentId = NewType("IntentId", UUID)

PARTITIONS_MAX = 256
ATTEMPT_MAX = 63
LEG_MAX = 127
LEGS_PER_PLAN_MAX = 100

_UNIX_MS_MAX = 1 << 48
_RANDOM_BITS = 38
_LOW_BITS = 16
_LOW_MASK = (1 << _LOW_BITS) - 1
_PARTITION_SHIFT = 16
_VERSION_7 = 7


class Phase(IntEnum):
    """Which chain of an attempt a transfer belongs to (three bits of its id)."""

    MOVE = 0
    """The first chain of an attempt: a plain move, or the hold of an async channel."""
    POST = 1
    VOID = 2
    LIMIT = 3
    CREDIT = 4
    """Money in, credited on confirmation."""
    SUSPENSE = 5
    """Money that arrived where no plan expects it."""
    BURN = 7
    """Never used in an id: a burn reuses the first id of the chain it kills."""


def intent_id(unix_us: int, partition: int, entropy: int) -> IntentId:
    """Lay out a new intent id.

    Args:
        unix_us: the gateway's clock, microseconds since the epoch.
        partition: which `intents.{iN}` stream takes it, 0 ≤ partition < 256.
        entropy: at least 38 random bits; only the lowest 38 are used.

    Raises:
        InvariantViolation: the clock or the partition lies outside its field.
    """
    unix_ms, sub_us = divmod(unix_us, 1000)
    require(0 <= unix_ms < _UNIX_MS_MAX, f"clock outside 48 bits: {unix_ms} ms")
    require(0 <= partition < PARTITIONS_MAX, f"partition outside 8 bits: {partition}")
    random_bits = entropy & ((1 << _RANDOM_BITS) - 1)
    value = (
        unix_ms << 80
        | _VERSION_7 << 76
        | (sub_us * 4096 // 1000) << 64
        | 0b10 << 62
        | random_bits << 24
        | partition << _PARTITION_SHIFT
    )
    return IntentId(UUID(int=value))


def parse_intent_id(text: str) -> IntentId:
    """Read an intent id from its canonical text.

    Raises:
        BadInput: it is not a UUIDv7 of our layout.
    """
    try:
        value = UUID(text)
    except ValueError:
        raise BadInput("an intent id is a UUID such as 0198c1f2-…", code="bad_intent_id") from None
    if value.version != _VERSION_7 or value.int & _LOW_MASK or str(value) != text.lower():
        raise BadInput("not an id that this mesh gives out", code="bad_intent_id")
    return IntentId(value)


def is_intent_id(text: str) -> bool:
    """Say whether a text, wherever it comes from, is an intent id."""
    try:
        parse_intent_id(text)
    except BadInput:
        return False
    return True


def partition_of(intent: IntentId) -> int:
    """Return the partition number that the id carries."""
    return (intent.int >> _PARTITION_SHIFT) & 0xFF


def unix_ms_of(intent: IntentId) -> int:
    """Return the acceptance time that the id carries, milliseconds since the epoch."""
    return intent.int >> 80


def transfer_id(intent: IntentId, *, attempt: int, phase: Phase, leg: int) -> int:
    """Return the ledger's 128-bit transfer id for one leg.

    Raises:
        InvariantViolation: attempt, phase or leg would overflow into its neighbour.
    """
    value = intent.int
    # One test on the hot path; the sentences are only written when they are needed.
    if not 1 <= attempt <= ATTEMPT_MAX or not 0 <= leg <= LEG_MAX or phase is Phase.BURN or value & _LOW_MASK:
        violated(f"no transfer of intent {intent} is attempt {attempt}, phase {phase!r}, leg {leg}")
    return value | attempt << 10 | phase << 7 | leg


def split_transfer_id(value: int) -> tuple[IntentId, int, Phase, int]:
    """Take a transfer id apart into intent, attempt, phase and leg."""
    low = value & _LOW_MASK
    return IntentId(UUID(int=value - low)), low >> 10, Phase(low >> 7 & 0b111), low & LEG_MAX


_NAMESPACE_DNS = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
_NAMESPACE_LEDGER = uuid5(_NAMESPACE_DNS, "onewallet-tb")


def account_id(name: str) -> int:
    """Return the ledger's 128-bit account id: the UUIDv5 of the account's name, for ever."""
    return uuid5(_NAMESPACE_LEDGER, name).int
