"""What is answered: the documents, as models for OpenAPI and as the plain dicts that are sent.

The models are the promise and the dicts are quick; a test holds every answer against its model. What is personal
leaves this process masked, always. This module must never show any of it in full.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal
from uuid import UUID

import structlog
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, RootModel

from gateway.operations import INSTANT, OPERATIONS, PERSONAL_FIELDS, OperationRequest
from gateway.problems import Retry, refusal
from shared.contracts import NextAction
from shared.ids import IntentId, unix_ms_of
from shared.operations import ChildType
from shared.sealing import CannotUnseal, KeyRing, mask, unseal
from shared.states import TERMINAL, Funds, IntentState

REPLAYED_HEADER: Final = "Idempotent-Replayed"
UNREADABLE: Final = "***"
_HEADERS: Final = {"Content-Type": "application/json", "Cache-Control": "no-store", "Server": "paymesh"}
_ENCODE: Final = json.JSONEncoder(separators=(",", ":")).encode

_log = structlog.get_logger(__name__)


class View(BaseModel):
    """A document that is answered."""

    model_config = ConfigDict(extra="forbid")


class LimitReachedView(View):
    """The limit that refused an intent, and what was `left` of it then.

    `period` is `transaction` where the amount alone is beyond what may go at once; that never resets.
    """

    rule: str
    version: int
    measure: Literal["amount", "count"]
    period: str
    cap: int
    left: int | None = None
    resets_at: datetime | None


class RuleView(View):
    """The rule that refused an intent."""

    name: str
    version: int


class RefusalView(View):
    """Why an accepted intent was refused or has failed; where a limit or another rule did it, which one."""

    code: str
    detail: str
    retry: Retry
    retryable: bool
    limit: LimitReachedView | None = None
    rule: RuleView | None = None


class MetadataView(View):
    """What the caller wants to find its intents by, and `labels` that rules may ask for by name."""

    tags: list[str]
    labels: dict[str, str] | None = None


class OperationView(View):
    """The operation as accepted, what is personal masked. Which fields there are depends on the type.

    Some types are never posted: they are money that a provider moved later, or took back.
    """

    operation_type: Literal["P2P_TRANSFER", "ADJUSTMENT", "IPPS_WITHDRAWAL", "THAI_QR_PAY", "QP_TOPUP"] | ChildType
    from_account: str | None = None
    to_account: str | None = None
    account: str | None = None
    direction: Literal["CREDIT", "DEBIT", "in", "out"] | None = None
    amount_minor: int
    currency: str
    from_name: str | None = None
    to_name: str | None = None
    proxy_type: str | None = None
    proxy: str | None = None
    bank_code: str | None = None
    recipient_name: str | None = None
    qr: str | None = None
    ttl_s: int | None = None
    static: bool | None = None
    psp: str | None = None
    psp_transaction_id: str | None = None
    comment: str | None = None
    approved_by: str | None = None
    test_scenario: str | None = None
    metadata: MetadataView | None = None
    requires_monitoring: bool | None = None


class NextActionView(View):
    """What somebody has to do: open the link, or pay the code, before it expires."""

    kind: Literal["qr"]
    link: str | None = None
    qr: str | None = None
    expires_ms: int
    expires_at: datetime


class ChildView(View):
    """An intent that this one has led to: a late credit, a reversal."""

    id: str
    operation_type: ChildType
    state: IntentState


class IntentView(View):
    """Where an intent stands. `operation` is absent for a moment after acceptance; `children` are newest first."""

    id: str
    state: IntentState
    funds: Funds
    created_at: datetime
    updated_at: datetime
    operation: OperationView | None = None
    next_action: NextActionView | None = None
    error: RefusalView | None = None
    parent_id: str | None = None
    children: list[ChildView] | None = None


class StepView(View):
    """An event `state`: a step that an intent has taken. `seq` is the event's id; a `final` one is the last."""

    id: str
    seq: int
    from_state: IntentState
    state: IntentState
    final: bool
    at: datetime
    error: RefusalView | None = None


class AskedView(View):
    """An event `next_action`, which has no id of its own: what somebody has to do before anything else happens."""

    id: str
    next_action: NextActionView


class FollowedView(RootModel[StepView | AskedView]):
    """The data of one event."""


class EventView(View):
    """Something that happened to an intent: `source` is who says so, `detail` what the sentence is made of."""

    at: datetime
    source: str
    text: str
    detail: dict[str, Any]


class NextView(View):
    """What happens next, or who has to do what; `at` where that is known."""

    code: str
    text: str
    at: datetime | None


class EffectView(View):
    """What an intent does to a customer's account at present, in minor units; credits are positive."""

    account: str
    currency: str
    posted_minor: int
    held_minor: int


class ChildTimelineView(View):
    """An intent that this one has led to, in short."""

    id: str
    operation_type: str
    state: IntentState
    events: list[EventView]


class TimelineView(View):
    """Everything that happened to an intent, oldest first; `missing` says what could not be read.

    `next_cursor` is null on the last page. `source` and `code` may get new words at any time.
    """

    id: str
    state: IntentState
    funds: Funds
    headline: str
    next: list[NextView]
    events: list[EventView]
    next_cursor: str | None
    effects: list[EffectView]
    children: list[ChildTimelineView]
    missing: list[str]


class AccountView(View):
    """An account; `opened_at` is null while it is being opened."""

    name: str
    currency: str
    opened_at: datetime | None


class BalanceView(View):
    """What a wallet holds, in minor units: `available_minor` is what is not held for payments under way."""

    name: str
    currency: str
    balance_minor: int
    held_minor: int
    available_minor: int
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
    violated_policies: list[str] | None = Field(default=None, alias="violated-policies")


class HealthView(View):
    """Whether the gateway lives, or is ready, and by which checks."""

    status: Literal["ok", "failed"]
    checks: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ChildRow:
    """An intent that another one has led to."""

    id: IntentId
    operation_type: str
    state: IntentState


@dataclass(frozen=True, slots=True)
class IntentRow:
    """An intent as PostgreSQL has it; of an alias, the intent that it is an alias of."""

    id: IntentId
    service_key_id: str
    user_id: str | None
    operation_type: str
    state: IntentState
    funds: Funds
    error_code: str | None
    error_detail: str | None
    error_data: str | None
    """As JSON: which limit, or which rule."""
    parent_id: UUID | None
    next_action: str | None
    operation: str
    requires_monitoring: bool
    updated_at: datetime
    is_alias: bool
    children: tuple[ChildRow, ...] = ()

    @property
    def error(self) -> dict[str, object] | None:
        """Why it was refused or has failed, None where it has not."""
        if self.error_code is None:
            return None
        return refusal(self.error_code, self.error_detail, json.loads(self.error_data or "{}"))

    @property
    def is_terminal(self) -> bool:
        """Whether its state is final."""
        return self.state in TERMINAL

    @property
    def waits_for_somebody(self) -> bool:
        """Whether somebody has to act before anything else happens."""
        return self.state is IntentState.AUTHORIZED and self.next_action is not None

    @property
    def ends_a_wait(self) -> bool:
        """Whether whoever waits for the intent learns nothing more by waiting on."""
        return self.is_terminal or self.waits_for_somebody

    @property
    def may_have_children(self) -> bool:
        """Whether a PSP has a part in it, so that money may come or go again."""
        return self.operation_type not in INSTANT


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


def masked_request(request: OperationRequest, *, approved_by: str | None) -> dict[str, Any]:
    """Return the operation view of a request that has just been accepted."""
    view = request.model_dump(exclude_none=True)
    for name in OPERATIONS[request.operation_type].personal:
        if name in view:
            view[name] = mask(view[name])
    if approved_by is not None:
        view["approved_by"] = approved_by
    return view


def masked_operation(ring: KeyRing, intent: IntentId, stored: str) -> dict[str, Any]:
    """Return the operation view of a stored operation; what cannot be unsealed is masked altogether."""
    view = _said(json.loads(stored))
    if "metadata" in view:
        view["metadata"] = _said(view["metadata"])
    for name in PERSONAL_FIELDS:
        if name in view:
            view[name] = _masked(ring, intent, name, view[name])
    return view


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


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
    if operation is not None and row.requires_monitoring:
        # A velocity rule may want watched what its caller did not mark.
        operation = {**operation, "requires_monitoring": True}
    document: dict[str, Any] = {
        "id": str(row.id),
        "state": row.state,
        "funds": row.funds,
        "created_at": accepted_at(row.id),
        "updated_at": write_time(row.updated_at),
        "operation": operation,
    }
    if row.waits_for_somebody:
        document["next_action"] = next_action_view(row)
    if (error := row.error) is not None:
        document["error"] = error
    if row.parent_id is not None:
        document["parent_id"] = str(row.parent_id)
    if row.children:
        document["children"] = [
            {"id": str(child.id), "operation_type": child.operation_type, "state": child.state}
            for child in row.children
        ]
    return document


def next_action_view(row: IntentRow) -> dict[str, Any]:
    """Return what somebody has to do about an intent that waits for it."""
    action = NextAction.model_validate_json(row.next_action or "")
    expires_at = datetime.fromtimestamp(action.expires_ms / 1000, UTC)
    return {**action.model_dump(exclude_none=True), "expires_at": write_time(expires_at)}


def json_response(status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer a JSON document that nobody may keep."""
    return web.Response(
        status=status,
        body=_ENCODE(document).encode(),
        headers=_HEADERS if headers is None else {**_HEADERS, **headers},
    )
