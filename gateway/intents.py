"""Intents over HTTP: post, read, cancel.

The order of a post is the order of its promises: who is it, may they, what exactly is meant, sealed, accepted, and
only then answered. Once accepted, every answer is 200 (terminal) or 202 with the state as far as it is known; an
accepted id never answers 404. This module must never let a person's words past sealing and masking.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final, assert_never

from aiohttp import web
from redis.asyncio import Redis

from gateway.accept import Door, partition_for
from gateway.auth import IDEMPOTENCY_KEY, Authenticator, Caller
from gateway.calls import Call, traceparent
from gateway.idempotency_key import parse_idempotency_key
from gateway.prefer import wait_seconds
from gateway.problems import Problem
from gateway.reads import Reads
from gateway.requests import AdjustmentRequest, P2PTransferRequest, account_of, parse_nothing, parse_operation
from gateway.views import (
    REPLAYED_HEADER,
    WORDS,
    IntentRow,
    created_document,
    intent_document,
    json_response,
    masked_operation,
    masked_request,
)
from gateway.vitals import Vitals
from gateway.waiting import Hints, decided, tolerant
from shared.contracts import Adjustment, Envelope, IntentMessage, Kind, Metadata, P2PTransfer
from shared.ids import IntentId, parse_intent_id
from shared.sealing import KeyRing, fingerprint, seal_fields
from shared.streams import keys
from shared.streams.accept import AcceptEntry, AcceptStatus, acc_owner

CLASH_TRIES_MAX: Final = 3
INTENTS_PATH: Final = "/v1/intents"
_FINGERPRINT_START: Final = (b"POST", INTENTS_PATH.encode())
"""Method and path as they enter the fingerprint, whichever alias was called."""

OperationRequest = P2PTransferRequest | AdjustmentRequest
NewIntentId = Callable[[int], IntentId]
"""Makes a fresh intent id for a partition."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One authorised post: all that its stream entry is made of, except the id."""

    caller: Caller
    key: str
    request: OperationRequest
    approved_by: str | None
    fingerprints: tuple[str, ...]
    partition: int
    traceparent: str
    view: Mapping[str, Any]


def owner_of(service_key_id: str, user_id: str | None) -> str:
    """Write whose intent it is for the accepted marker."""
    return f"{service_key_id}:{user_id or ''}"


def _owned_by(caller: Caller, owner: str) -> bool:
    service_key_id, _, user_id = owner.partition(":")
    return caller.owns(service_key_id, user_id or None)


@dataclass(frozen=True, slots=True)
class Intents:
    """The handlers of ``/v1/intents``."""

    authenticator: Authenticator
    door: Door
    hints: Hints
    reads: Reads
    redis: Redis
    ring: KeyRing
    vitals: Vitals
    new_intent_id: NewIntentId
    wait_max_s: int

    async def post(self, call: Call) -> web.Response:
        """Accept an intent."""
        caller = await self.authenticator.caller(call.request)
        if not caller.signed.idempotency_key:
            raise Problem("idempotency_key_missing", f"name one in {IDEMPOTENCY_KEY}, and keep it for retries")
        key = parse_idempotency_key(caller.signed.idempotency_key)
        request = parse_operation(caller.body)
        approved_by = await self._authorise(caller, request)
        offer = Offer(
            caller=caller,
            key=key,
            request=request,
            approved_by=approved_by,
            fingerprints=fingerprint(self.ring, (*_FINGERPRINT_START, caller.signed.user_id.encode(), caller.body)),
            partition=partition_for(caller.key.id, key, self.vitals.partitions),
            traceparent=traceparent(call.request),
            view=masked_request(request, approved_by=approved_by),
        )
        call.wait_s = self._wait_s(call)
        return await self._offer(offer, call.wait_s)

    async def get(self, call: Call) -> web.Response:
        """Say where an intent stands."""
        caller = await self.authenticator.caller(call.request)
        intent = parse_intent_id(call.params["id"])
        row = await self._find(caller, intent)
        call.wait_s = self._wait_s(call)
        if call.wait_s and (row is None or not row.is_terminal):
            row = await self._watch(intent, call.wait_s) or row
        return self._answer(intent, row, view=None)

    async def cancel(self, call: Call) -> web.Response:
        """Refuse to cancel: no channel of today leaves anything to be cancelled."""
        caller = await self.authenticator.caller(call.request)
        parse_nothing(caller.body)
        intent = parse_intent_id(call.params["id"])
        row = await self._find(caller, intent)
        state = "CREATED" if row is None else row.state
        raise Problem(
            "not_cancellable",
            f"the intent is {state}; an instant channel settles or refuses it without a moment to cancel in",
            intent_id=str(intent if row is None else row.id),
        )

    def _wait_s(self, call: Call) -> int:
        return wait_seconds(call.request, default_s=0, max_s=self.wait_max_s) if self.hints.open else 0

    async def _authorise(self, caller: Caller, request: OperationRequest) -> str | None:
        """Check what the key may do; return the second key where one has signed."""
        caller.require_operation(request.operation_type)
        match request:
            case P2PTransferRequest():
                caller.require_debit(account_of(request.from_account))
                return None
            case AdjustmentRequest():
                return await self._approve(caller, request)
            case _ as unreachable:
                assert_never(unreachable)

    async def _approve(self, caller: Caller, request: AdjustmentRequest) -> str | None:
        caller.require_account(account_of(request.account))
        limits = caller.key.permissions.adjustment
        if limits is None:
            raise Problem("operation_not_permitted")
        if request.amount_minor > limits.max_minor:
            raise Problem("amount_not_permitted")
        approver = await self.authenticator.approver(caller)
        if approver is None:
            if request.amount_minor > limits.alone_max_minor:
                raise Problem("approval_required")
            return None
        granted = approver.permissions
        if (
            request.operation_type not in granted.operations
            or not granted.allows_account(request.account)
            or granted.adjustment is None
            or request.amount_minor > granted.adjustment.max_minor
        ):
            raise Problem("approval_refused", "the approver may not make this adjustment either")
        return approver.id

    async def _offer(self, offer: Offer, wait_s: float) -> web.Response:
        for _ in range(CLASH_TRIES_MAX):
            intent = self.new_intent_id(offer.partition)
            # Expected before it is offered: the decision may be quicker than the accept's own reply.
            with self.hints.expect(str(intent)) if wait_s else nullcontext() as event:
                result = await self.door.offer(offer.partition, self._entry(intent, offer, waits=bool(wait_s)))
                if result.status is AcceptStatus.ACCEPTED:
                    row = await self._decided(intent, event, wait_s) if event is not None else None
                    return self._answer(intent, row, view=offer.view)
            if result.status is AcceptStatus.REPLAYED:
                first = parse_intent_id(result.id)
                return self._answer(first, await self._watch(first, wait_s), view=offer.view, replayed=True)
        raise Problem("busy", "no unused intent id was found")

    async def _watch(self, intent: IntentId, wait_s: float) -> IntentRow | None:
        """Look at an intent accepted earlier, and where it is undecided wait for it."""
        with self.hints.expect(str(intent)) as event:
            row = await tolerant(lambda: self.reads.intent(intent))
            if wait_s and (row is None or not row.is_terminal):
                row = await self._decided(intent, event, wait_s) or row
        return row

    def _entry(self, intent: IntentId, offer: Offer, *, waits: bool) -> AcceptEntry:
        caller, intent_text = offer.caller, str(intent)
        message = IntentMessage(
            service_key=caller.key.id,
            user_id=caller.user_id,
            idempotency_key=offer.key,
            fingerprints=offer.fingerprints,
            operation=self._sealed(intent_text, offer),
            waiter=self.hints.instance if waits else None,
        )
        return AcceptEntry(
            envelope=Envelope(
                kind=Kind.INTENT,
                id=intent_text,
                body=message.model_dump_json(exclude_none=True).encode(),
                traceparent=offer.traceparent,
            ),
            idem_key=keys.idem(offer.partition, caller.key.id, offer.key),
            fingerprints=offer.fingerprints,
            owner=owner_of(caller.key.id, caller.user_id),
        )

    def _sealed(self, context: str, offer: Offer) -> P2PTransfer | Adjustment:
        """Return the operation as it is stored: names and comments sealed for this very intent."""
        request = offer.request
        words = {name: text for name in WORDS if (text := getattr(request, name, None)) is not None}
        sealed = seal_fields(self.ring, context=context, texts=words) if words else {}
        metadata = Metadata(tags=request.metadata.tags)
        match request:
            case P2PTransferRequest():
                return P2PTransfer(
                    from_account=request.from_account,
                    to_account=request.to_account,
                    amount_minor=request.amount_minor,
                    currency=request.currency,
                    metadata=metadata,
                    requires_monitoring=request.requires_monitoring,
                    from_name=sealed.get("from_name"),
                    to_name=sealed.get("to_name"),
                    comment=sealed.get("comment"),
                )
            case AdjustmentRequest():
                return Adjustment(
                    account=request.account,
                    direction=request.direction,
                    amount_minor=request.amount_minor,
                    currency=request.currency,
                    approved_by=offer.approved_by,
                    metadata=metadata,
                    requires_monitoring=request.requires_monitoring,
                    comment=sealed.get("comment"),
                )
            case _ as unreachable:
                assert_never(unreachable)

    async def _find(self, caller: Caller, intent: IntentId) -> IntentRow | None:
        """Return the caller's intent; None while it is accepted and the database does not have it yet.

        Primary, accepted marker, primary once more: between the first two looks the intent may have been recorded
        and its marker deleted.

        Raises:
            Problem: ``intent_not_found``, for another's intent as for an unknown one.
        """
        row = await self.reads.intent(intent)
        if row is None:
            marker = await acc_owner(self.redis, str(intent))
            row = await self.reads.intent(intent)
            if row is None:
                if marker is None or not _owned_by(caller, marker[0]):
                    raise Problem("intent_not_found")
                return None
        if not caller.owns(row.service_key_id, row.user_id):
            raise Problem("intent_not_found")
        return row

    async def _decided(self, intent: IntentId, event: asyncio.Event, wait_s: float) -> IntentRow | None:
        return await decided(
            self.hints,
            event,
            wait_s=wait_s,
            look=lambda: self.reads.intent(intent),
            final=lambda row: row.is_terminal,
        )

    def _answer(
        self, intent: IntentId, row: IntentRow | None, *, view: Mapping[str, Any] | None, replayed: bool = False
    ) -> web.Response:
        """Answer with an accepted intent; `view` is the operation as this very request has it."""
        headers = {}
        if replayed or (row is not None and row.is_alias):
            headers[REPLAYED_HEADER] = "true"
        if row is None:
            document = created_document(intent, view)
        else:
            own = view is not None and row.id == intent and not replayed
            document = intent_document(row, view if own else masked_operation(self.ring, row.id, row.operation))
        headers["Location"] = f"{INTENTS_PATH}/{document['id']}"
        return json_response(200 if row is not None and row.is_terminal else 202, document, headers)
