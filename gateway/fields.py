"""What a field of a posted body may hold: account names, amounts, people's words, codes as scanned.

A type that is marked `PERSONAL` is somebody's: what it holds is sealed before it is stored and masked before it is
shown, and both go by this mark alone. This module must never put a value into a fault.
"""

import re
from functools import lru_cache
from typing import Annotated, Any, Final, get_args, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from shared.accounts import parse_account
from shared.errors import BadInput
from shared.money import AMOUNT_MINOR_MAX, currency

WORDS_CHARS_MAX: Final = 140
TAGS_MAX: Final = 16
TAG_CHARS_MAX: Final = 64
NAME_CHARS_MAX: Final = 160
PROXY_CHARS_MAX: Final = 64
QR_CHARS_MAX: Final = 512
SCENARIO_CHARS_MAX: Final = 512
TTL_S_MIN: Final = 60
TTL_S_MAX: Final = 259_200

ACCOUNTS_REMEMBERED_MAX: Final = 16_384

account_of: Final = lru_cache(maxsize=ACCOUNTS_REMEMBERED_MAX)(parse_account)
"""`parse_account` for the names that come again and again."""

PERSONAL: Final = "personal"
"""The mark of a type whose values are sealed at rest and masked in answers."""

# C0 and C1 controls, line and paragraph separators, and the marks that make a text read other than it is written.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_PRINTABLE: Final = re.compile(r"[ -~]*")
_BANK_CODE: Final = re.compile(r"[0-9]{3}")


def _no_controls(text: str) -> str:
    if _CONTROLS.search(text):
        raise PydanticCustomError("control_characters", "control characters are not allowed")
    return text


def _printable_ascii(text: str) -> str:
    if not _PRINTABLE.fullmatch(text):
        raise PydanticCustomError("not_printable_ascii", "only printable ASCII is allowed")
    return text


def _bank_code(text: str) -> str:
    if not _BANK_CODE.fullmatch(text):
        raise PydanticCustomError("bad_bank_code", "a bank code is three digits")
    return text


def _ttl(seconds: int) -> int:
    if not TTL_S_MIN <= seconds <= TTL_S_MAX:
        raise PydanticCustomError("ttl_out_of_range", f"a code can be paid for {TTL_S_MIN} to {TTL_S_MAX} seconds")
    return seconds


def _account_name(name: str) -> str:
    try:
        account_of(name)
    except BadInput as error:
        raise PydanticCustomError(error.code, "{reason}", {"reason": str(error)}) from None
    return name


def _currency_code(code: str) -> str:
    try:
        currency(code)
    except BadInput as error:
        raise PydanticCustomError(error.code, "{reason}", {"reason": str(error)}) from None
    return code


AccountName = Annotated[
    str,
    Field(max_length=NAME_CHARS_MAX, examples=["user:alice:THB"]),
    AfterValidator(_account_name),
]
CurrencyCode = Annotated[
    str,
    AfterValidator(_currency_code),
    WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$", "examples": ["THB"]}),
]
AmountMinor = Annotated[int, Field(ge=1, le=AMOUNT_MINOR_MAX, examples=[1000])]
Words = Annotated[str, Field(min_length=1, max_length=WORDS_CHARS_MAX), AfterValidator(_no_controls), PERSONAL]
TagText = Annotated[str, Field(min_length=1, max_length=TAG_CHARS_MAX), AfterValidator(_no_controls)]
ProxyText = Annotated[str, Field(min_length=1, max_length=PROXY_CHARS_MAX), PERSONAL]
QrText = Annotated[
    str,
    Field(min_length=1, max_length=QR_CHARS_MAX, json_schema_extra={"pattern": "^[ -~]+$"}),
    AfterValidator(_printable_ascii),
    PERSONAL,
]
BankCode = Annotated[
    str,
    AfterValidator(_bank_code),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{3}$", "examples": ["014"]}),
]
TtlSeconds = Annotated[
    int,
    AfterValidator(_ttl),
    WithJsonSchema({"type": "integer", "minimum": TTL_S_MIN, "maximum": TTL_S_MAX}),
]
ScenarioText = Annotated[
    str,
    Field(min_length=1, max_length=SCENARIO_CHARS_MAX, json_schema_extra={"pattern": "^[ -~]+$"}),
    AfterValidator(_printable_ascii),
]


LabelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", max_length=32)]


class RequestModel(BaseModel):
    """A posted JSON object: no unknown field, no conversion between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class MetadataRequest(RequestModel):
    """What the caller wants to find its intents by, and what rules may ask for by name; never personal data."""

    # JSON has lists only; a tuple keeps the model hashable, without which pydantic copies the default every time.
    tags: Annotated[tuple[TagText, ...], Field(strict=False, max_length=TAGS_MAX)] = ()
    labels: Annotated[dict[LabelName, TagText], Field(min_length=1, max_length=TAGS_MAX)] | None = None


def personal_fields(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the names of a model's fields whose type is marked `PERSONAL`, in their order."""
    return tuple(name for name, hint in get_type_hints(model, include_extras=True).items() if _is_personal(hint))


def _is_personal(hint: Any) -> bool:
    return PERSONAL in getattr(hint, "__metadata__", ()) or any(_is_personal(part) for part in get_args(hint))
