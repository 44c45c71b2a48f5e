"""From an authorised post to its stream entry. Pure.

This module must never let a person's words into an entry unsealed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.operations import OperationRequest, destination_of, sealed_message
from shared.contracts import INTENT_VERSION, VERSION, Envelope, IntentMessage, Kind
from shared.ids import IntentId
from shared.sealing import KeyRing
from shared.streams import keys
from shared.streams.accept import AcceptEntry


@dataclass(frozen=True, slots=True)
class Offer:
    """One authorised post: all that its stream entry is made of, except the id."""

    service_key: str
    user_id: str | None
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


def intent_entry(ring: KeyRing, intent: IntentId, offer: Offer, *, waiter: str | None) -> AcceptEntry:
    """Return the entry that offers an intent under an id; `waiter` is the gateway instance to tell of the decision."""
    intent_text = str(intent)
    message = IntentMessage(
        service_key=offer.service_key,
        user_id=offer.user_id,
        idempotency_key=offer.key,
        fingerprints=offer.fingerprints,
        operation=sealed_message(ring, context=intent_text, request=offer.request, approved_by=offer.approved_by),
        waiter=waiter,
        destination=destination_of(ring, offer.request),
    )
    says_more = message.destination is not None or offer.request.metadata.labels is not None
    return AcceptEntry(
        envelope=Envelope(
            kind=Kind.INTENT,
            id=intent_text,
            body=message.model_dump_json(exclude_none=True).encode(),
            traceparent=offer.traceparent,
            version=INTENT_VERSION if says_more else VERSION,
        ),
        idem_key=keys.idem(offer.partition, offer.service_key, offer.key),
        fingerprints=offer.fingerprints,
        owner=owner_of(offer.service_key, offer.user_id),
    )
