"""Intents over HTTP: post, read, cancel.

The order of a post is the order of its promises: who is it, may they, what exactly is meant, sealed, accepted, and
only then answered. Once accepted, every answer is 200 (terminal) or 202 with the state as far as it is known; an
accepted id never answers 404. This module must never let a person's words past sealing and masking.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from redis.asyncio import Redis

from gateway.accept import Door, partition_for
from gateway.auth import IDEMPOTENCY_KEY, Authenticator, Caller
from gateway.calls import Call, traceparent
from gateway.cancelling import Cancellations
from gateway.channels import Channels
from gateway.entries import Offer, intent_entry
from gateway.fields import account_of
from gateway.idempotency_key import parse_idempotency_key
from gateway.operations import OPERATIONS, AdjustmentRequest, OperationRequest, subject_of
from gateway.prefer import wait_seconds
from gateway.problems import Problem
from gateway.reads import Reads
from gateway.requests import parse_nothing, parse_operation
from gateway.views import (
    REPLAYED_HEADER,
    IntentRow,
    created_document,
    intent_document,
    json_response,
    masked_operation,
    masked_request,
)
from gateway.vitals import Vitals
from gateway.waiting import Hints, decided, tolerant
from shared.ids import IntentId, parse_intent_id
from shared.sealing import KeyRing, fingerprint
from shared.streams.accept import AcceptStatus, acc_owner

CLASH_TRIES_MAX: Final = 3
INTENTS_PATH: Final = "/v1/intents"
_FINGERPRINT_START: Final = (b"POST", INTENTS_PATH.encode())
"""Method and path as they enter the fingerprint, whichever alias was called."""

NewIntentId = Callable[[int], IntentId]
"""Makes a fresh intent id for a partition."""


def _owned_by(caller: Caller, owner: str) -> bool:
    service_key_id, _, user_id = owner.partition(":")
    return caller.owns(service_key_id, user_id or None)


@dataclass(frozen=True, slots=True)
class Intents:
    """The handlers of ``/v1/intents``."""

    authenticator: Authenticator
    door: Door
    channels: Channels
    cancellations: Cancellations
    hints: Hints
    reads: Reads
    redis: Redis
    ring: KeyRing
    vitals: Vitals
    new_intent_id: NewIntentId
    wait_max_s: int
    test_scenarios: bool

    async def post(self, call: Call) -> web.Response:
        """Accept an intent."""
        caller = await self.authenticator.caller(call)
        if not caller.signed.idempotency_key:
            raise Problem("idempotency_key_missing", f"name one in {IDEMPOTENCY_KEY}, and keep it for retries")
        key = parse_idempotency_key(caller.signed.idempotency_key)
        request = parse_operation(caller.body)
        approved_by = await self.authorise(caller, request)
        offer = Offer(
            service_key=caller.key.id,
            user_id=caller.user_id,
            key=key,
            request=request,
            approved_by=approved_by,
            fingerprints=fingerprint(self.ring, (*_FINGERPRINT_START, caller.signed.user_id.encode(), caller.body)),
            partition=partition_for(caller.key.id, key, self.vitals.partitions),
            traceparent=traceparent(call.request),
            view=masked_request(request, approved_by=approved_by),
        )
        call.wait_s = self._wait_s(call)
        if not OPERATIONS[request.operation_type].instant:
            closed = self.channels.refusal(subject_of(request, at_ms=0))
            if closed is not None:
                return await self._replay(offer, call.wait_s, closed=closed)
        return await self._offer(offer, call.wait_s)

    async def get(self, call: Call) -> web.Response:
        """Say where an intent stands."""
        caller = await self.authenticator.caller(call)
        intent = parse_intent_id(call.params["id"])
        row = await self.find(caller, intent)
        call.wait_s = self._wait_s(call)
        if call.wait_s and (row is None or not row.ends_a_wait):
            row = await self._watch(intent, call.wait_s) or row
        return self._answer(intent, row, view=None)

    async def cancel(self, call: Call) -> web.Response:
        """Ask for a payment request that waits for its payer to be given up; the provider has the last word."""
        caller = await self.authenticator.caller(call)
        parse_nothing(caller.body)
        intent = parse_intent_id(call.params["id"])
        row = await self.find(caller, intent)
        if row is not None and row.waits_for_somebody and await self.cancellations.ask(row.id):
            return self._answer(intent, row, view=None)
        state = "CREATED" if row is None else row.state
        raise Problem(
            "not_cancellable",
            f"the intent is {state}; only a payment request that waits for its payer can be cancelled",
            intent_id=str(intent if row is None else row.id),
        )

    def _wait_s(self, call: Call) -> int:
        return wait_seconds(call.request, default_s=0, max_s=self.wait_max_s) if self.hints.open else 0

    async def authorise(self, caller: Caller, request: OperationRequest) -> str | None:
        """Check what the key may do; return the second key where one has signed.

        Raises:
            Problem: why not.
        """
        caller.require_operation(request.operation_type)
        kind = OPERATIONS[request.operation_type]
        if kind.debits is not None:
            caller.require_debit(account_of(getattr(request, kind.debits)))
        else:
            for field in kind.wallets:
                caller.require_account(account_of(getattr(request, field)))
        if isinstance(request, AdjustmentRequest):
            return await self._approve(caller, request)
        if not kind.instant and not self.test_scenarios and getattr(request, "test_scenario", None) is not None:
            raise Problem("test_scenario_not_allowed")
        return None

    async def _approve(self, caller: Caller, request: AdjustmentRequest) -> str | None:
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
        follow = not OPERATIONS[offer.request.operation_type].instant
        for _ in range(CLASH_TRIES_MAX):
            intent = self.new_intent_id(offer.partition)
            # Expected before it is offered: the decision may be quicker than the accept's own reply.
            with self.hints.expect(str(intent), follow=follow) if wait_s else nullcontext() as event:
                entry = intent_entry(self.ring, intent, offer, waiter=self.hints.instance if wait_s else None)
                result = await self.door.offer(offer.partition, entry)
                if result.status is AcceptStatus.ACCEPTED:
                    row = await self._decided(intent, event, wait_s) if event is not None else None
                    return self._answer(intent, row, view=offer.view)
            if result.status is AcceptStatus.REPLAYED:
                return await self._replayed(parse_intent_id(result.id), offer, wait_s)
        raise Problem("busy", "no unused intent id was found")

    async def _replay(self, offer: Offer, wait_s: float, *, closed: str) -> web.Response:
        """Answer for what was accepted earlier, and refuse what was not: no channel takes it now.

        Raises:
            Problem: ``psp_unavailable``, or ``idempotency_key_reused``; nothing was accepted.
        """
        entry = intent_entry(self.ring, self.new_intent_id(offer.partition), offer, waiter=None)
        result = await self.door.replay(offer.partition, entry)
        if result is not None:
            return await self._replayed(parse_intent_id(result.id), offer, wait_s)
        # Redis forgets a key after a while; the database does not.
        bound = await tolerant(lambda: self.reads.bound(offer.service_key, offer.key))
        if bound is None:
            raise Problem("psp_unavailable", closed)
        if bound.fingerprint not in offer.fingerprints:
            raise Problem("idempotency_key_reused", intent_id=str(bound.intent))
        return await self._replayed(bound.intent, offer, wait_s)

    async def _replayed(self, intent: IntentId, offer: Offer, wait_s: float) -> web.Response:
        return self._answer(intent, await self._watch(intent, wait_s), view=offer.view, replayed=True)

    async def _watch(self, intent: IntentId, wait_s: float) -> IntentRow | None:
        """Look at an intent accepted earlier, and where it is undecided wait for it."""
        with self.hints.expect(str(intent), follow=wait_s > 0) as event:
            row = await tolerant(lambda: self.reads.intent(intent))
            if wait_s and (row is None or not row.ends_a_wait):
                row = await self._decided(intent, event, wait_s) or row
        return row

    async def find(self, caller: Caller, intent: IntentId) -> IntentRow | None:
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
            final=lambda row: row.ends_a_wait,
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
