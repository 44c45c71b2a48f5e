"""What is answered: the documents, as models for OpenAPI and as the plain dicts that are sent.

The models are the promise and the dicts are quick; a test holds every answer against its model. Names and comments
leave this process masked, always. This module must never show one of them in full.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal

import structlog
from aiohttp import web
from pydantic import BaseModel, ConfigDict

from gateway.problems import Retry, refusal
from gateway.requests import AdjustmentRequest, P2PTransferRequest
from shared.ids import IntentId, unix_ms_of
from shared.sealing import CannotUnseal, KeyRing, mask, unseal
from shared.states import TERMINAL, Funds, IntentState

WORDS: Final = ("from_name", "to_name", "comment")
"""The fields that are people's words: sealed at rest, masked in answers."""
REPLAYED_HEADER: Final = "Idempotent-Replayed"
UNREADABLE: Final = "***"
_HEADERS: Final = {"Content-Type": "application/json", "Cache-Control": "no-store", "Server": "paymesh"}
_ENCODE: Final = json.JSONEncoder(separators=(",", ":")).encode

_log = structlog.get_logger(__name__)


class View(BaseModel):
    """A document that is answered."""

    model_config = ConfigDict(extra="forbid")


class RefusalView(View):
    """Why an accepted intent was refused or has failed."""

    code: str
    detail: str
    retry: Retry
    retryable: bool


class MetadataView(View):
    """What the caller wants to find its intents by."""

    tags: list[str]


class OperationView(View):
    """The operation as accepted, names and comments masked. Which fields there are depends on the type."""

    operation_type: Literal["P2P_TRANSFER", "ADJUSTMENT"]
    from_account: str | None = None
    to_account: str | None = None
    account: str | None = None
    direction: Literal["CREDIT", "DEBIT"] | None = None
    amount_minor: int
    currency: str
    from_name: str | None = None
    to_name: str | None = None
    comment: str | None = None
    approved_by: str | None = None
    metadata: MetadataView
    requires_monitoring: bool


class IntentView(View):
    """Where an intent stands. `operation` is absent for a moment after acceptance."""

    id: str
    state: IntentState
    funds: Funds
    created_at: datetime
    updated_at: datetime
    operation: OperationView | None = None
    error: RefusalView | None = None


class AccountView(View):
    """An account; `opened_at` is null while it is being opened."""

    name: str
    currency: str
    opened_at: datetime | None


class BalanceView(View):
    """What a wallet holds, in minor units."""

    name: str
    currency: str
    balance_minor: int
    updated_at: datetime


class MovementView(View):
    """One movement on a wallet; credits are positive."""

    transfer_id: str
    intent_id: str
    amount_minor: int
    kind: str
    at: datetime


class HistoryView(View):
    """Movements, newest first; `next_cursor` is null on the last page."""

    name: str
    currency: str
    movements: list[MovementView]
    next_cursor: str | None


class FaultView(View):
    """One fault of a body."""

    field: str
    code: str
    detail: str


class ProblemView(View):
    """An RFC 9457 problem."""

    type: str
    title: str
    status: int
    code: str
    retry: Retry
    retryable: bool
    correlation_id: str
    detail: str | None = None
    intent_id: str | None = None
    faults: list[FaultView] | None = None


class HealthView(View):
    """Whether the gateway lives, or is ready, and by which checks."""

    status: Literal["ok", "failed"]
    checks: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class IntentRow:
    """An intent as PostgreSQL has it; of an alias, the intent that it is an alias of."""

    id: IntentId
    service_key_id: str
    user_id: str | None
    state: IntentState
    funds: Funds
    error_code: str | None
    error_detail: str | None
    operation: str
    updated_at: datetime
    is_alias: bool

    @property
    def is_terminal(self) -> bool:
        """Whether its state is final."""
        return self.state in TERMINAL


def write_time(moment: datetime) -> str:
    """Write a time in UTC to the millisecond, as in ``2026-01-31T12:00:00.000Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


@lru_cache(maxsize=64)
def _second(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def accepted_at(intent: IntentId) -> str:
    """Write the acceptance time that an id carries."""
    unix_s, ms = divmod(unix_ms_of(intent), 1000)
    return f"{_second(unix_s)}.{ms:03d}Z"


def masked_request(request: P2PTransferRequest | AdjustmentRequest, *, approved_by: str | None) -> dict[str, Any]:
    """Return the operation view of a request that has just been accepted."""
    view = request.model_dump(exclude_none=True)
    for name in WORDS:
        if name in view:
            view[name] = mask(view[name])
    if approved_by is not None:
        view["approved_by"] = approved_by
    return view


def masked_operation(ring: KeyRing, intent: IntentId, stored: str) -> dict[str, Any]:
    """Return the operation view of a stored operation; what cannot be unsealed is masked altogether."""
    view = {name: value for name, value in json.loads(stored).items() if value is not None}
    for name in WORDS:
        if name in view:
            view[name] = _masked(ring, intent, name, view[name])
    return view


def _masked(ring: KeyRing, intent: IntentId, name: str, sealed: str) -> str:
    try:
        return mask(unseal(ring, context=str(intent), field=name, sealed=sealed))
    except CannotUnseal as error:
        _log.error("field_cannot_be_unsealed", intent_id=str(intent), field=name, reason=error.code)
        return UNREADABLE


def created_document(intent: IntentId, operation: Mapping[str, Any] | None) -> dict[str, Any]:
    """Describe an intent that has been accepted and that nobody has looked at yet."""
    at = accepted_at(intent)
    document: dict[str, Any] = {
        "id": str(intent),
        "state": IntentState.CREATED,
        "funds": Funds.NONE,
        "created_at": at,
        "updated_at": at,
    }
    if operation is not None:
        document["operation"] = operation
    return document


def intent_document(row: IntentRow, operation: Mapping[str, Any] | None) -> dict[str, Any]:
    """Describe an intent as stored."""
    document: dict[str, Any] = {
        "id": str(row.id),
        "state": row.state,
        "funds": row.funds,
        "created_at": accepted_at(row.id),
        "updated_at": write_time(row.updated_at),
        "operation": operation,
    }
    if row.error_code is not None:
        document["error"] = refusal(row.error_code, row.error_detail)
    return document


def json_response(status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer a JSON document that nobody may keep."""
    return web.Response(
        status=status,
        body=_ENCODE(document).encode(),
        headers=_HEADERS if headers is None else {**_HEADERS, **headers},
    )
