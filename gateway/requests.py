"""Reading what was posted: strict to the last field, with faults in words that a caller can act on.

The models (`operations`) say what a request may look like; what the caller may do, and whether accounts exist, is
said elsewhere.
This module must never put a value from the request into a fault: names and comments are personal.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from gateway.bodies import parse_object
from gateway.fields import AccountName, RequestModel, account_of
from gateway.operations import OPERATIONS, IppsWithdrawalRequest, OperationRequest, check_payee
from gateway.problems import FAULTS_MAX, PROBLEMS, Problem
from shared.accounts import Account


class OpenAccountRequest(RequestModel):
    """Open a wallet."""

    name: AccountName


_OPERATION: Final[TypeAdapter[OperationRequest]] = TypeAdapter(
    Annotated[OperationRequest, Field(discriminator="operation_type")]
)
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


def parse_operation(body: bytes) -> OperationRequest:
    """Read the body of ``POST /v1/intents``.

    Raises:
        Problem: naming every fault, the first one's code in front.
    """
    try:
        request = _OPERATION.validate_python(parse_object(body))
    except ValidationError as error:
        raise _problem(error) from None
    wallets = OPERATIONS[request.operation_type].wallets
    for field in wallets:
        _wallet(getattr(request, field), request.currency)
    if len({getattr(request, field) for field in wallets}) < len(wallets):
        raise Problem("self_transfer")
    if isinstance(request, IppsWithdrawalRequest):
        check_payee(request)
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
    if steps and steps[0] in OPERATIONS:
        steps = steps[1:]
    return ".".join(steps)
