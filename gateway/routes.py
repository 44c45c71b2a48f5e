"""The routes: what can be called, with what, and what is answered. Data, read by the dispatcher and by OpenAPI alike.

A route that is not in this table does not exist; a promise that is not in this table is not made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from gateway.auth import IDEMPOTENCY_KEY, X_APPROVER_KEY, X_APPROVER_SIGNATURE, X_USER_ID
from gateway.operations import OPERATIONS
from gateway.reads import HISTORY_PAGE_MAX
from gateway.requests import OpenAccountRequest
from gateway.rule_views import DryRunView, LimitsView
from gateway.timeline import PAGE_MAX as TIMELINE_PAGE_MAX
from gateway.views import AccountView, BalanceView, FollowedView, HealthView, HistoryView, IntentView, TimelineView


@dataclass(frozen=True, slots=True)
class Parameter:
    """A header or query parameter that a route knows beside those of every signed request."""

    name: str
    place: str
    description: str
    required: bool = False
    schema: str = "string"


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. `bodies` are told apart by `operation_type` where there are several."""

    name: str
    method: str
    path: str
    summary: str
    answers: Mapping[int, tuple[str, type[BaseModel] | None]]
    problems: tuple[str, ...] = ()
    bodies: tuple[type[BaseModel], ...] = ()
    parameters: tuple[Parameter, ...] = ()
    aliases: tuple[str, ...] = ()
    signed: bool = True
    media_type: str = "application/json"

    @property
    def query(self) -> frozenset[str]:
        """The query parameters it knows."""
        return frozenset(parameter.name for parameter in self.parameters if parameter.place == "query")


_PREFER: Final = Parameter("Prefer", "header", "`wait=N`: answer once the intent is decided, or after N seconds")
_USER: Final = Parameter(X_USER_ID, "header", "The user on whose behalf; part of the signature")
_KEY: Final = Parameter(IDEMPOTENCY_KEY, "header", "1 to 255 visible ASCII characters, quoted or bare", required=True)
_APPROVER: Final = (
    Parameter(X_APPROVER_KEY, "header", "A second service key, of another owner, that approves the request"),
    Parameter(X_APPROVER_SIGNATURE, "header", "Its signature of the same string"),
)

SIGNED_PROBLEMS: Final = (
    "bad_request", "bad_header", "duplicate_header", "bad_parameter", "signature_missing", "signature_expired",
    "unknown_key", "bad_signature", "key_disabled", "address_not_permitted", "body_timeout", "body_too_large",
    "unsupported_media_type", "expectation_failed", "rate_limited", "internal_error", "keys_unavailable",
)  # fmt: skip
"""What any signed request may be refused with."""

BODY_PROBLEMS: Final = (
    "malformed_json", "duplicate_field", "float_not_allowed", "number_too_large", "bad_text", "unknown_field",
    "missing_field", "wrong_type", "too_long", "bad_account_name", "unknown_currency", "operation_not_permitted",
    "account_not_permitted", "foreign_user",
)  # fmt: skip
"""What any request with a body may be refused with."""

STREAM_PROBLEMS: Final = (
    "busy", "outcome_unknown", "stream_unavailable", "clock_skew", "wrong_mesh", "intake_closed",
)  # fmt: skip
"""What any request that enters a stream may be refused with."""

OPERATION_PROBLEMS: Final = (
    *BODY_PROBLEMS, "unknown_value", "unknown_operation", "too_short", "control_characters", "amount_out_of_range",
    "account_not_payable", "currency_mismatch", "self_transfer", "proxy_characters", "proxy_length", "bad_bank_code",
    "bank_code_required", "bank_code_not_allowed", "not_printable_ascii", "ttl_out_of_range",
    "test_scenario_not_allowed", "amount_not_permitted", "approval_required", "approval_refused",
)  # fmt: skip
"""What an operation may be refused with before anybody looks at the rules."""

_ACCOUNT_PROBLEMS: Final = (
    "bad_account_name", "unknown_currency", "account_not_permitted", "foreign_user", "account_not_found",
    "database_unavailable",
)  # fmt: skip
_INTENT_PROBLEMS: Final = ("bad_intent_id", "intent_not_found", "database_unavailable", "stream_unavailable")

ROUTES: Final = (
    Route(
        name="post_intent",
        method="POST",
        path="/v1/intents",
        aliases=("/intents",),
        summary="Post a payment intent",
        bodies=tuple(kind.request for kind in OPERATIONS.values()),
        parameters=(_KEY, _USER, _PREFER, *_APPROVER),
        answers={
            200: ("The intent is decided", IntentView),
            202: ("The intent is accepted, durably", IntentView),
        },
        problems=(
            *OPERATION_PROBLEMS,
            *STREAM_PROBLEMS,
            "idempotency_key_missing",
            "idempotency_key_invalid",
            "idempotency_key_reused",
            "psp_unavailable",
        ),
    ),
    Route(
        name="get_intent",
        method="GET",
        path="/v1/intents/{id}",
        summary="Say where an intent stands",
        parameters=(_USER, _PREFER),
        answers={
            200: ("The intent is decided", IntentView),
            202: ("The intent is accepted and on its way", IntentView),
        },
        problems=_INTENT_PROBLEMS,
    ),
    Route(
        name="cancel_intent",
        method="POST",
        path="/v1/intents/{id}/cancel",
        summary="Ask for a payment request that waits for its payer to be given up; every other intent refuses",
        parameters=(_USER,),
        answers={202: ("The provider is asked; the state changes when it confirms", IntentView)},
        problems=(*_INTENT_PROBLEMS, "not_cancellable", "malformed_json", "wrong_type", "unknown_field"),
    ),
    Route(
        name="follow_intent",
        method="GET",
        path="/v1/intents/{id}/events",
        summary="Follow an intent live, as Server-Sent Events, until its state is final",
        parameters=(
            _USER,
            Parameter("Last-Event-ID", "header", "The last event that was received; what follows it is sent"),
        ),
        answers={
            200: ("Events `state`, whose ids count the intent's steps, and `next_action`", FollowedView),
            204: ("There is nothing after `Last-Event-ID`, and never will be", None),
        },
        problems=(*_INTENT_PROBLEMS, "too_many_streams", "streams_exhausted"),
        media_type="text/event-stream",
    ),
    Route(
        name="get_timeline",
        method="GET",
        path="/v1/intents/{id}/timeline",
        summary="Tell everything that happened to an intent, and what happens next; for keys that may read it",
        parameters=(
            _USER,
            Parameter("limit", "query", f"Events per page, 1 to {TIMELINE_PAGE_MAX}", schema="integer"),
            Parameter("cursor", "query", "`next_cursor` of the page before"),
        ),
        answers={200: ("A page of events, oldest first, and what they come to", TimelineView)},
        problems=(*_INTENT_PROBLEMS, "operation_not_permitted"),
    ),
    Route(
        name="open_account",
        method="POST",
        path="/v1/accounts",
        summary="Open a wallet",
        bodies=(OpenAccountRequest,),
        parameters=(_USER, _PREFER),
        answers={
            200: ("The account was open already", AccountView),
            201: ("The account is open", AccountView),
            202: ("The account will be opened", AccountView),
        },
        problems=(*BODY_PROBLEMS, *STREAM_PROBLEMS, "account_not_openable", "database_unavailable"),
    ),
    Route(
        name="get_balance",
        method="GET",
        path="/v1/accounts/{name}/balance",
        summary="Say what a wallet holds",
        parameters=(_USER,),
        answers={200: ("The balance", BalanceView)},
        problems=_ACCOUNT_PROBLEMS,
    ),
    Route(
        name="get_history",
        method="GET",
        path="/v1/accounts/{name}/history",
        summary="List a wallet's movements, newest first",
        parameters=(
            _USER,
            Parameter("limit", "query", f"Movements per page, 1 to {HISTORY_PAGE_MAX}", schema="integer"),
            Parameter("cursor", "query", "`next_cursor` of the page before"),
        ),
        answers={200: ("A page of movements", HistoryView)},
        problems=_ACCOUNT_PROBLEMS,
    ),
    Route(
        name="get_limits",
        method="GET",
        path="/v1/accounts/{name}/limits",
        summary="Say what is left of the allowances of a wallet's owner",
        parameters=(_USER,),
        answers={200: ("Every limit in the wallet's currency", LimitsView)},
        problems=_ACCOUNT_PROBLEMS,
    ),
    Route(
        name="dry_run",
        method="POST",
        path="/v1/fees/dry-run",
        summary="Say what an operation would cost, over which channel it would go and what it would use; moves nothing",
        bodies=tuple(kind.request for kind in OPERATIONS.values()),
        parameters=(_USER, *_APPROVER),
        answers={200: ("What it would come to, a refusal included", DryRunView)},
        problems=(*OPERATION_PROBLEMS, "database_unavailable"),
    ),
    Route(
        name="livez",
        method="GET",
        path="/livez",
        summary="Whether the process lives",
        signed=False,
        answers={200: ("It does", HealthView)},
    ),
    Route(
        name="readyz",
        method="GET",
        path="/readyz",
        summary="Whether the process may be sent requests",
        signed=False,
        answers={200: ("It may", HealthView), 503: ("It may not", HealthView)},
    ),
    Route(
        name="metrics",
        method="GET",
        path="/metrics",
        summary="Metrics in the Prometheus text format",
        signed=False,
        answers={200: ("The metrics", None)},
    ),
    Route(
        name="openapi",
        method="GET",
        path="/openapi.json",
        summary="This description",
        signed=False,
        answers={200: ("The OpenAPI document", None)},
    ),
)

ROUTES_BY_NAME: Final[dict[str, Any]] = {route.name: route for route in ROUTES}
