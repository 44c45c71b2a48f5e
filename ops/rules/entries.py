"""The entries of a file of rules, as people write them: names, bounds and shapes of each field.

An entry has a kind, a name, and a body: what JSON says of its other fields, always all of them. Bodies are what is
compared, stored and shown. This module must never ask a store anything; what only a mesh knows is checked in
`ops.rules.validation`.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from gateway.permissions import parse_permissions
from shared.errors import BadInput
from shared.ledger.limits import CAP_MAX
from shared.money import AMOUNT_MINOR_MAX, CURRENCIES
from shared.rules.expressions import SOURCE_MAX
from shared.rules.model import BPS, RULE_OPERATIONS

Body = dict[str, Any]

TAGS_MAX: Final = 16
WINDOW_S_MAX: Final = 30 * 86_400
PRIORITY_MAX: Final = 1_000_000
COUNT_MAX: Final = (1 << 31) - 1
REASON_MAX: Final = 500
ENTRIES_MAX: Final = 1_000
"""Entries of a section."""


def _sorted(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise ValueError("one of them stands there twice")
    return sorted(values)


def _known_currency(code: str) -> str:
    if code not in CURRENCIES:
        raise ValueError("not an active ISO 4217 currency code")
    return code


def _known_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("not a time zone of the IANA database, such as Asia/Bangkok") from None
    return name


def _whole_second(moment: datetime) -> datetime:
    if moment.microsecond:
        raise ValueError("a moment is a whole second")
    return moment.astimezone(UTC)


def _rule_operations(operations: list[str]) -> list[str]:
    foreign = sorted(set(operations) - set(RULE_OPERATIONS))
    if foreign:
        raise ValueError(f"a rule speaks of {', '.join(RULE_OPERATIONS)}")
    return operations


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}\z")]
CurrencyCode = Annotated[str, AfterValidator(_known_currency)]
Moment = Annotated[AwareDatetime, AfterValidator(_whole_second)]
IntentTag = Annotated[str, Field(min_length=1, max_length=64)]
Tags = Annotated[list[IntentTag], Field(max_length=TAGS_MAX), AfterValidator(_sorted)]
RuleOperations = Annotated[list[str], Field(min_length=1), AfterValidator(_sorted), AfterValidator(_rule_operations)]
Source = Annotated[str, Field(min_length=1, max_length=SOURCE_MAX)]
Amount = Annotated[int, Field(ge=0, le=AMOUNT_MINOR_MAX)]
Cap = Annotated[int, Field(ge=0, le=CAP_MAX)]
Priority = Annotated[int, Field(ge=0, le=PRIORITY_MAX)]
Operation = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,62}\z")]


class Entry(BaseModel):
    """The base of every entry: strict about types, deaf to nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @property
    def entry_name(self) -> str:
        """What it goes by among its kind."""
        return str(self.name)  # type: ignore[attr-defined]

    def body(self) -> Body:
        """Return all that it says beside its name, as JSON would."""
        return self.model_dump(mode="json", exclude={"name"})


class BusinessEntry(Entry):
    """Where the business is: decides when its days begin."""

    time_zone: Annotated[str, AfterValidator(_known_time_zone)]

    @property
    def entry_name(self) -> str:
        """There is one business."""
        return "business"


class AmountEntry(Entry):
    """A fee as data; see `shared.rules.model.FeeAmount`."""

    fixed_minor: Amount = 0
    bps: Annotated[int, Field(ge=0, le=BPS)] = 0
    min_minor: Amount = 0
    max_minor: Amount | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_minor is not None and self.max_minor < self.min_minor:
            raise ValueError("max_minor is below min_minor")
        return self


def _shape_of_amount(value: object) -> str:
    return "expression" if isinstance(value, str) else "data"


AMOUNT_SHAPES: Final = frozenset({"expression", "data"})
FeeAmountField = Annotated[
    Annotated[AmountEntry, Tag("data")] | Annotated[Source, Tag("expression")], Discriminator(_shape_of_amount)
]


class FeeEntry(Entry):
    """What some payments cost besides."""

    name: Name
    operations: RuleOperations
    currency: CurrencyCode
    tags: Tags = []
    timing: Literal["PRE", "POST"]
    condition: Source = "true"
    amount: FeeAmountField
    beneficiary: Annotated[str, Field(min_length=1, max_length=140)]
    priority: Priority = 100
    final: bool = False
    active_from: Moment | None = None
    active_until: Moment | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.active_from is not None and self.active_until is not None and self.active_until <= self.active_from:
            raise ValueError("active_until does not lie after active_from")
        return self


class LimitEntry(Entry):
    """How much may go."""

    name: Name
    operations: RuleOperations
    currency: CurrencyCode
    tags: Tags = []
    transaction_max_minor: Annotated[int, Field(ge=1, le=AMOUNT_MINOR_MAX)] | None = None
    daily_max_minor: Cap | None = None
    daily_max_count: Cap | None = None
    monthly_max_minor: Cap | None = None
    monthly_max_count: Cap | None = None

    @property
    def allowances(self) -> int:
        """How many ledger accounts it needs for an intent."""
        caps = (self.daily_max_minor, self.daily_max_count, self.monthly_max_minor, self.monthly_max_count)
        return sum(cap is not None for cap in caps)

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.allowances == 0 and self.transaction_max_minor is None:
            raise ValueError("a limit bounds something: transaction, daily or monthly")
        return self


class VelocityEntry(Entry):
    """What looks like fraud."""

    name: Name
    operations: RuleOperations
    currency: CurrencyCode
    tags: Tags = []
    condition: Source = "true"
    per: Literal["user", "destination"]
    window_s: Annotated[int, Field(ge=1, le=WINDOW_S_MAX)]
    max_count: Annotated[int, Field(ge=0, le=COUNT_MAX)] | None = None
    max_sum_minor: Cap | None = None
    action: Literal["reject", "monitor"]

    @model_validator(mode="after")
    def _counts_something(self) -> Self:
        if self.max_count is None and self.max_sum_minor is None:
            raise ValueError("a velocity rule has a max_count, a max_sum_minor, or both")
        return self


class RouteEntry(Entry):
    """Which channel carries which operation."""

    name: Name
    operation_type: Operation
    currency: CurrencyCode | None = None
    amount_min: Annotated[int, Field(ge=1, le=AMOUNT_MINOR_MAX)] = 1
    amount_max: Annotated[int, Field(ge=1, le=AMOUNT_MINOR_MAX)] = AMOUNT_MINOR_MAX
    channel: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,62}\z")]
    priority: Priority = 100
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    tags: Tags = []
    error_max_pct: Annotated[int, Field(ge=0, le=100)] | None = None
    p95_max_ms: Annotated[int, Field(ge=1, le=COUNT_MAX)] | None = None
    active: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.amount_max < self.amount_min:
            raise ValueError("amount_max is below amount_min")
        return self


class SwitchEntry(Entry):
    """A pause: of an operation of a PSP, of all of it (``*``), or of whatever is new (``+``)."""

    psp: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{1,15}\z")]
    operation: Annotated[str, Field(pattern=r"^(?:[*+]|[A-Z][A-Z0-9_]{0,62})\z")] = "*"
    reason: Annotated[str, Field(min_length=1, max_length=REASON_MAX, pattern=r"\S")]

    @property
    def entry_name(self) -> str:
        """PSP and operation; there is one pause of each."""
        return f"{self.psp}:{self.operation}"


def _understood(permissions: Body) -> Body:
    try:
        parse_permissions(json.dumps(permissions))
    except BadInput as error:
        raise ValueError(str(error)) from None
    return permissions


class KeyEntry(Entry):
    """A service key that is there: whose it is and what it may do; its secrets are no part of it."""

    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}\z")]
    owner: Annotated[str, Field(min_length=1, max_length=200)]
    permissions: Annotated[Body, AfterValidator(_understood)]
    disabled: bool = False

    @property
    def entry_name(self) -> str:
        """Its id."""
        return self.key


RuleKind = Literal["business", "fee", "limit", "velocity", "route", "key", "switch"]

SECTIONS: Final[Mapping[str, tuple[RuleKind, type[Entry]]]] = {
    "business": ("business", BusinessEntry),
    "fees": ("fee", FeeEntry),
    "limits": ("limit", LimitEntry),
    "velocity": ("velocity", VelocityEntry),
    "routes": ("route", RouteEntry),
    "keys": ("key", KeyEntry),
    "switches": ("switch", SwitchEntry),
}
"""The sections of a file, in the order in which they are shown: the kind of their entries, and their shape."""
SECTION_OF: Final[Mapping[str, str]] = {kind: section for section, (kind, _) in SECTIONS.items()}


def parse_entry(section: str, value: object) -> Entry:
    """Read an entry as a file says it; JSON's rules decide what a value may stand for.

    Raises:
        ValidationError: with the place and kind of every fault.
    """
    return SECTIONS[section][1].model_validate_json(json.dumps(value))


def entry_of(kind: str, name: str, body: Mapping[str, Any]) -> Entry:
    """Read an entry out of its stored body.

    Raises:
        ValidationError: it was stored under other bounds than there are now.
    """
    section = SECTION_OF[kind]
    named = "name" in SECTIONS[section][1].model_fields
    return parse_entry(section, {"name": name, **body} if named else body)


def written(kind: str, name: str, body: Mapping[str, Any]) -> Body:
    """Return an entry as a person would write it: its name first, and nothing that goes without saying."""
    try:
        entry = entry_of(kind, name, body)
    except ValidationError:
        return {"name": name, **body}
    return entry.model_dump(mode="json", exclude_defaults=True)
