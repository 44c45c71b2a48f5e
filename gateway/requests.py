"""What may be posted: the HTTP models, strict to the last field, and their faults in words a caller can act on.

The models say what a request may look like; what the caller may do, and whether accounts exist, is said elsewhere.
This module must never put a value from the request into a fault: names and comments are personal.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from gateway.bodies import parse_object
from gateway.problems import FAULTS_MAX, PROBLEMS, Problem
from shared.accounts import Account, parse_account
from shared.errors import BadInput
from shared.money import AMOUNT_MINOR_MAX, currency

WORDS_CHARS_MAX: Final = 140
TAGS_MAX: Final = 16
TAG_CHARS_MAX: Final = 64
NAME_CHARS_MAX: Final = 160

ACCOUNTS_REMEMBERED_MAX: Final = 16_384

account_of: Final = lru_cache(maxsize=ACCOUNTS_REMEMBERED_MAX)(parse_account)
"""`parse_account` for the names that come again and again."""

# C0 and C1 controls, line and paragraph separators, and the marks that make a text read other than it is written.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _no_controls(text: str) -> str:
    if _CONTROLS.search(text):
        raise PydanticCustomError("control_characters", "control characters are not allowed")
    return text


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
Words = Annotated[str, Field(min_length=1, max_length=WORDS_CHARS_MAX), AfterValidator(_no_controls)]
TagText = Annotated[str, Field(min_length=1, max_length=TAG_CHARS_MAX), AfterValidator(_no_controls)]


class RequestModel(BaseModel):
    """A posted JSON object: no unknown field, no conversion between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class MetadataRequest(RequestModel):
    """What the caller wants to find its intents by; never personal data."""

    # JSON has lists only; a tuple keeps the model hashable, without which pydantic copies the default every time.
    tags: Annotated[tuple[TagText, ...], Field(strict=False, max_length=TAGS_MAX)] = ()


class P2PTransferRequest(RequestModel):
    """Move money from one wallet to another inside the house."""

    operation_type: Literal["P2P_TRANSFER"]
    from_account: AccountName
    to_account: AccountName
    amount_minor: AmountMinor
    currency: CurrencyCode
    from_name: Words | None = None
    to_name: Words | None = None
    comment: Words | None = None
    metadata: MetadataRequest = MetadataRequest()
    requires_monitoring: bool = False


class AdjustmentRequest(RequestModel):
    """Move money between a wallet and the house's equity."""

    operation_type: Literal["ADJUSTMENT"]
    account: AccountName
    direction: Literal["CREDIT", "DEBIT"]
    amount_minor: AmountMinor
    currency: CurrencyCode
    comment: Words | None = None
    metadata: MetadataRequest = MetadataRequest()
    requires_monitoring: bool = False


class OpenAccountRequest(RequestModel):
    """Open a wallet."""

    name: AccountName


OperationRequest = Annotated[P2PTransferRequest | AdjustmentRequest, Field(discriminator="operation_type")]

_OPERATION: Final[TypeAdapter[P2PTransferRequest | AdjustmentRequest]] = TypeAdapter(OperationRequest)
_OPEN_ACCOUNT: Final[TypeAdapter[OpenAccountRequest]] = TypeAdapter(OpenAccountRequest)

_CODES: Final = {
    "extra_forbidden": "unknown_field",
    "missing": "missing_field",
    "greater_than_equal": "amount_out_of_range",
    "less_than_equal": "amount_out_of_range",
    "string_too_long": "too_long",
    "too_long": "too_long",
    "string_too_short": "too_short",
    "literal_error": "unknown_value",
    "union_tag_invalid": "unknown_operation",
    "union_tag_not_found": "missing_field",
    "string_unicode": "bad_text",
}


def parse_operation(body: bytes) -> P2PTransferRequest | AdjustmentRequest:
    """Read the body of ``POST /v1/intents``.

    Raises:
        Problem: naming every fault, the first one's code in front.
    """
    try:
        request = _OPERATION.validate_python(parse_object(body))
    except ValidationError as error:
        raise _problem(error) from None
    match request:
        case P2PTransferRequest():
            _wallet(request.from_account, request.currency)
            _wallet(request.to_account, request.currency)
            if request.from_account == request.to_account:
                raise Problem("self_transfer")
        case AdjustmentRequest():
            _wallet(request.account, request.currency)
    return request


def parse_open_account(body: bytes) -> Account:
    """Read the body of ``POST /v1/accounts`` and return the account it names.

    Raises:
        Problem: naming every fault, the first one's code in front.
    """
    try:
        request = _OPEN_ACCOUNT.validate_python(parse_object(body))
    except ValidationError as error:
        raise _problem(error) from None
    account = account_of(request.name)
    if not account.is_customer:
        raise Problem("account_not_openable")
    return account


def parse_nothing(body: bytes) -> None:
    """Refuse a body where none, or an empty object, is expected.

    Raises:
        Problem: ``unknown_field``, or why it is no JSON object.
    """
    if body and parse_object(body):
        raise Problem("unknown_field", "this request takes no body")


def _wallet(name: str, code: str) -> None:
    account = account_of(name)
    if not account.is_customer:
        raise Problem("account_not_payable")
    if account.currency.code != code:
        raise Problem("currency_mismatch")


def _problem(error: ValidationError) -> Problem:
    faults = tuple(_fault(details) for details in error.errors(include_input=False, include_url=False)[:FAULTS_MAX])
    place, code, sentence = faults[0]
    return Problem(code, f"{place}: {sentence}" if place else sentence, faults=faults)


def _fault(details: ErrorDetails) -> tuple[str, str, str]:
    kind = details["type"]
    code = _CODES.get(kind, kind if kind in PROBLEMS else "wrong_type")
    sentence = "there is no such operation type" if code == "unknown_operation" else details["msg"]
    return _place(details["loc"]), code, sentence


def _place(parts: Sequence[Any]) -> str:
    """Join the path to a field, leaving out the operation type that the union puts in front."""
    steps = [str(part) for part in parts]
    if steps and steps[0] in ("P2P_TRANSFER", "ADJUSTMENT"):
        steps = steps[1:]
    return ".".join(steps)
