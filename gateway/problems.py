"""Problems: every way in which a request can fail, in one table.

The table is the authority: answers, the OpenAPI document and the list in `docs/api.md` are made from it or checked
against it. An HTTP error always means that nothing was accepted, with `outcome_unknown` and its kin as the honest
exception: the same key asks. Once an intent is accepted, a refusal is part of its answer (`refusal`), not an error.

A problem must never carry a secret, a signature or somebody's words.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from aiohttp import web

from shared.errors import PaymeshError, require

CONTENT_TYPE: Final = "application/problem+json"
DETAIL_CHARS_MAX: Final = 512
FAULTS_MAX: Final = 16


class Retry(StrEnum):
    """What a client may do about a failure."""

    SAME_KEY = "same_key"
    """Send the same request again, under the same idempotency key, signed anew."""
    NEW_KEY = "new_key"
    """The key is spent; once the cause is mended, send a new request under a new key."""
    NEVER = "never"
    """Sending it again changes nothing; the request itself is at fault."""


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One row of the table: `retry_after_s` becomes the ``Retry-After`` header."""

    code: str
    status: int
    title: str
    retry: Retry = Retry.NEVER
    retry_after_s: int | None = None
    type_uri: str | None = None
    """Where the problem has a type that others know; ours otherwise."""


def _table(*kinds: ProblemKind) -> dict[str, ProblemKind]:
    table = {kind.code: kind for kind in kinds}
    require(len(table) == len(kinds), "two problems share a code")
    return table


QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""The type that the draft on RateLimit header fields gives to requests beyond a quota."""
_P = ProblemKind

PROBLEMS: Final = _table(
    # The request cannot be read.
    _P("bad_request", 400, "The request is not valid HTTP"),
    _P("bad_header", 400, "A header has an unusable value"),
    _P("duplicate_header", 400, "A header that must be unique appears twice"),
    _P("bad_parameter", 400, "A query parameter is unknown or has an unusable value"),
    _P("malformed_json", 400, "The body is not JSON in UTF-8"),
    _P("duplicate_field", 400, "A JSON object names a field twice"),
    _P("float_not_allowed", 400, "A number has a fraction or an exponent"),
    _P("number_too_large", 400, "A number has too many digits"),
    _P("bad_text", 400, "A text contains what is not text"),
    _P("unknown_field", 400, "The body has a field that this operation does not know"),
    _P("missing_field", 400, "The body lacks a field"),
    _P("wrong_type", 400, "A field has the wrong type"),
    _P("unknown_value", 400, "A field has a value outside its list"),
    _P("unknown_operation", 400, "There is no such operation type"),
    _P("too_long", 400, "A field is too long"),
    _P("too_short", 400, "A field is too short"),
    _P("control_characters", 400, "A text contains control characters"),
    _P("amount_out_of_range", 400, "The amount is outside 1 to 2^62 minor units"),
    _P("unknown_currency", 400, "Not an active ISO 4217 currency code"),
    _P("bad_account_name", 400, "Not an account name"),
    _P("account_not_payable", 400, "Only user and merchant accounts pay and are paid"),
    _P("account_not_openable", 400, "Only user and merchant accounts can be opened here"),
    _P("currency_mismatch", 400, "An account is kept in another currency"),
    _P("self_transfer", 400, "An account cannot pay itself"),
    _P("proxy_characters", 400, "A proxy has characters that its type does not know"),
    _P("proxy_length", 400, "A proxy is longer or shorter than its type"),
    _P("bad_bank_code", 400, "A bank code is three digits"),
    _P("bank_code_required", 400, "A bank account needs the code of its bank"),
    _P("bank_code_not_allowed", 400, "Only a bank account has a bank code"),
    _P("not_printable_ascii", 400, "A text contains other than printable ASCII"),
    _P("ttl_out_of_range", 400, "A code can be paid for a minute to three days"),
    _P("bad_intent_id", 400, "Not an intent id"),
    _P("idempotency_key_missing", 400, "The Idempotency-Key header is missing"),
    _P("idempotency_key_invalid", 400, "The Idempotency-Key is not 1 to 255 visible ASCII characters"),
    # The caller is not known, or may not.
    _P("signature_missing", 401, "The request is not signed"),
    _P("signature_expired", 401, "The timestamp is more than 300 seconds off", Retry.SAME_KEY),
    _P("unknown_key", 401, "There is no such service key"),
    _P("bad_signature", 401, "The signature does not fit the request"),
    _P("key_disabled", 401, "The service key has been disabled"),
    _P("operation_not_permitted", 403, "The service key may not do this"),
    _P("account_not_permitted", 403, "The service key may not touch this account"),
    _P("address_not_permitted", 403, "The service key may not be used from this address"),
    _P("foreign_user", 403, "The account belongs to another user"),
    _P("amount_not_permitted", 403, "The amount is above what the service key may adjust"),
    _P("approval_required", 403, "The amount asks for a second service key's signature"),
    _P("approval_refused", 403, "The second signature does not approve the request"),
    _P("test_scenario_not_allowed", 403, "Test scenarios are not taken in production"),
    # There is no such thing, or it cannot be done.
    _P("not_found", 404, "There is nothing at this path"),
    _P("intent_not_found", 404, "There is no such intent"),
    _P("account_not_found", 404, "There is no such account"),
    _P("method_not_allowed", 405, "The path does not know this method"),
    _P("body_timeout", 408, "The body did not arrive in time", Retry.SAME_KEY),
    _P("not_cancellable", 409, "The intent can no longer be cancelled"),
    _P("body_too_large", 413, "The body is larger than 64 KiB"),
    _P("unsupported_media_type", 415, "The body is not application/json, or is compressed"),
    _P("expectation_failed", 417, "The Expect header asks for what is not offered"),
    _P("idempotency_key_reused", 422, "The idempotency key belongs to a different request", Retry.NEW_KEY),
    _P("too_many_streams", 429, "The service key follows as many intents as it may", Retry.SAME_KEY, 5),
    _P("rate_limited", 429, "The service key sends more than it may", Retry.SAME_KEY, 1, QUOTA_EXCEEDED),
    # Not now. Nothing was accepted, or the same key will tell.
    _P("internal_error", 500, "Something unforeseen happened", Retry.SAME_KEY),
    _P("busy", 503, "The mesh has as much work as it admits", Retry.SAME_KEY, 1),
    _P("intake_closed", 503, "Nothing new is accepted until operators open the door again", Retry.SAME_KEY, 5),
    _P("streams_exhausted", 503, "This gateway has as many open streams as it admits", Retry.SAME_KEY, 5),
    _P("psp_unavailable", 503, "No provider takes this operation for now", Retry.SAME_KEY, 5),
    _P("outcome_unknown", 503, "The intent may have been accepted; ask with the same key", Retry.SAME_KEY, 1),
    _P("stream_unavailable", 503, "The stream is out of reach", Retry.SAME_KEY, 1),
    _P("database_unavailable", 503, "The database is out of reach", Retry.SAME_KEY, 1),
    _P("keys_unavailable", 503, "The service keys could not be checked for too long", Retry.SAME_KEY, 2),
    _P("clock_skew", 503, "The gateway's clock and the stream's differ", Retry.SAME_KEY, 5),
    _P("wrong_mesh", 503, "The stream belongs to another mesh or epoch", Retry.SAME_KEY, 5),
)

_URN: Final = "urn:problem-type:paymesh:"


class Problem(PaymeshError):
    """A request fails with one of `PROBLEMS`.

    Args:
        code: a code of the table.
        detail: a sentence about this occurrence.
        faults: ``(place, code, sentence)`` for each fault of a body.
        intent_id: the intent the problem is about.
        headers: further response headers; a ``Retry-After`` takes the place of the table's.
        violated_policies: the rate limits that refuse the request, as ``RateLimit-Policy`` names them.
    """

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        faults: tuple[tuple[str, str, str], ...] = (),
        intent_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        violated_policies: tuple[str, ...] = (),
    ) -> None:
        super().__init__(detail, code=code)
        self.kind = PROBLEMS[code]
        self.detail = detail
        self.faults = faults
        self.intent_id = intent_id
        self.headers = headers or {}
        self.violated_policies = violated_policies


def new_correlation_id() -> str:
    """Return 32 hex digits that tie an answer to its log line."""
    return secrets.token_hex(16)


def problem_document(problem: Problem, *, correlation_id: str) -> dict[str, object]:
    """Return the RFC 9457 document of a problem."""
    kind = problem.kind
    document: dict[str, object] = {
        "type": kind.type_uri or _URN + kind.code,
        "title": kind.title,
        "status": kind.status,
        "code": kind.code,
        "retry": kind.retry,
        "retryable": kind.retry is not Retry.NEVER,
        "correlation_id": correlation_id,
    }
    if problem.detail is not None:
        document["detail"] = problem.detail[:DETAIL_CHARS_MAX]
    if problem.intent_id is not None:
        document["intent_id"] = problem.intent_id
    if problem.violated_policies:
        document["violated-policies"] = list(problem.violated_policies)
    if problem.faults:
        document["faults"] = [
            {"field": place[:DETAIL_CHARS_MAX], "code": code, "detail": sentence[:DETAIL_CHARS_MAX]}
            for place, code, sentence in problem.faults[:FAULTS_MAX]
        ]
    return document


def problem_response(problem: Problem, *, correlation_id: str) -> web.Response:
    """Return a problem as the answer to a request."""
    headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store", "Server": "paymesh", **problem.headers}
    if problem.kind.retry_after_s is not None:
        headers.setdefault("Retry-After", str(problem.kind.retry_after_s))
    if problem.kind.status == 401:  # noqa: PLR2004
        headers["WWW-Authenticate"] = 'Paymesh-HMAC-SHA256 realm="paymesh"'
    body = json.dumps(problem_document(problem, correlation_id=correlation_id), separators=(",", ":")).encode()
    return web.Response(status=problem.kind.status, body=body, headers=headers)


_NEVER_PAYABLE: Final = frozenset({"self_transfer", "account_not_payable", "currency_mismatch", "bad_account_name"})


def refusal(code: str, detail: str | None, data: Mapping[str, Any] | None = None) -> dict[str, object]:
    """Return the `error` object of an accepted intent that was refused or has failed.

    Its key is bound to it for good, so that trying again always takes a new one.

    Args:
        code: why.
        detail: in a sentence.
        data: as the orchestrator stored it: ``{"limit": …}``, or ``{"rule": …, "version": …}``.
    """
    retry = Retry.NEVER if code in _NEVER_PAYABLE else Retry.NEW_KEY
    document: dict[str, object] = {
        "code": code,
        "detail": detail or "the intent was refused",
        "retry": retry,
        "retryable": retry is not Retry.NEVER,
    }
    match data:
        case {"limit": limit}:
            document["limit"] = limit
        case {"rule": name, "version": version}:
            document["rule"] = {"name": name, "version": version}
    return document
