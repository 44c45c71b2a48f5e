"""What the services say to each other: the envelope of a stream entry and the bodies it carries.

Every message names its version. A message of the previous version is still understood; one of a newer version is
handed back, never dead-lettered, since a newer process will come for it. Sensitive text is sealed before it gets
here (see `shared.sealing`), so a body may be stored and dead-lettered as it is.

This module must never hold plaintext personal data.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.errors import BadInput, PaymeshError
from shared.money import AMOUNT_MINOR_MAX

VERSION: Final = 1
VERSIONS_READ: Final = (1,)


class Kind(StrEnum):
    """What an entry of an `intents.{iN}` stream asks for."""

    INTENT = "intent"
    OPEN_ACCOUNT = "open_account"
    RESUME = "resume"
    """Carry on with an intent whose plan is stored already; appended by the sweeper, never gated."""


class NewerVersion(PaymeshError):
    """The message is of a newer version than this process understands."""

    code = "newer_version"


class MalformedMessage(BadInput):
    """The message is not one of ours."""

    code = "decode"


@dataclass(frozen=True, slots=True)
class Envelope:
    """One stream entry, decoded: `body` stays bytes, so that what cannot be read can be kept untouched."""

    kind: str
    id: str
    body: bytes
    attempt: int = 0
    traceparent: str = ""
    version: int = VERSION

    def fields(self) -> dict[bytes, bytes]:
        """Return the flat fields of the stream entry."""
        return {
            b"v": b"%d" % self.version,
            b"id": self.id.encode(),
            b"kind": self.kind.encode(),
            b"body": self.body,
            b"attempt": b"%d" % self.attempt,
            b"traceparent": self.traceparent.encode(),
        }


def read_envelope(fields: dict[bytes, bytes]) -> Envelope:
    """Decode the flat fields of a stream entry.

    Raises:
        NewerVersion: a newer process wrote it.
        MalformedMessage: it is not one of ours.
    """
    try:
        version = int(fields[b"v"])
        envelope = Envelope(
            kind=fields[b"kind"].decode(),
            id=fields[b"id"].decode(),
            body=fields[b"body"],
            attempt=int(fields.get(b"attempt", b"0")),
            traceparent=fields.get(b"traceparent", b"").decode(),
            version=version,
        )
    except (KeyError, ValueError) as error:
        raise MalformedMessage(f"no envelope: {type(error).__name__}") from None
    if version > VERSION:
        raise NewerVersion(f"version {version}; this process reads up to {VERSION}")
    if version not in VERSIONS_READ:
        raise MalformedMessage(f"version {version} is no longer read")
    return envelope


class Message(BaseModel):
    """The base of every body: frozen, strict about types, deaf to nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Amount = Annotated[int, Field(ge=1, le=AMOUNT_MINOR_MAX)]
Tag = Annotated[str, Field(min_length=1, max_length=64)]


class Metadata(Message):
    """What the caller wants to find its intents by; never personal data."""

    tags: tuple[Tag, ...] = Field(default=(), max_length=16)


class P2PTransfer(Message):
    """Move money from one wallet to another inside the house."""

    operation_type: Literal["P2P_TRANSFER"] = "P2P_TRANSFER"
    from_account: str
    to_account: str
    amount_minor: Amount
    currency: str
    from_name: str | None = None
    """Sealed: what the payer is called."""
    to_name: str | None = None
    """Sealed: what the payee is called."""
    comment: str | None = None
    """Sealed: what the payer writes to the payee."""
    metadata: Metadata = Metadata()
    requires_monitoring: bool = False


class Adjustment(Message):
    """Move money between a wallet and the house's equity; only for keys with that permission."""

    operation_type: Literal["ADJUSTMENT"] = "ADJUSTMENT"
    account: str
    direction: Literal["CREDIT", "DEBIT"]
    amount_minor: Amount
    currency: str
    comment: str | None = None
    """Sealed: why."""
    approved_by: str | None = None
    """The second service key, where the amount asks for two people."""
    metadata: Metadata = Metadata()
    requires_monitoring: bool = False


Operation = Annotated[P2PTransfer | Adjustment, Field(discriminator="operation_type")]


class IntentMessage(Message):
    """The body of an `intent` entry: an accepted operation and whose it is."""

    service_key: str
    user_id: str | None = None
    idempotency_key: str
    fingerprints: tuple[str, ...]
    """``<key id>:<hex HMAC>``, one per live key of the ring; the first is the one to store."""
    operation: Operation
    waiter: str | None = None
    """The gateway instance to poke when the intent has been decided."""


class OpenAccountMessage(Message):
    """The body of an `open_account` entry."""

    service_key: str
    name: str
    waiter: str | None = None


class ResumeMessage(Message):
    """The body of a `resume` entry; the intent's id stands in the envelope."""

    reason: str


Body = IntentMessage | OpenAccountMessage | ResumeMessage

_BODIES: Final[dict[str, TypeAdapter[Body]]] = {
    Kind.INTENT: TypeAdapter(IntentMessage),
    Kind.OPEN_ACCOUNT: TypeAdapter(OpenAccountMessage),
    Kind.RESUME: TypeAdapter(ResumeMessage),
}


def read_body(envelope: Envelope) -> Body:
    """Decode the body by its kind.

    Raises:
        MalformedMessage: naming the field at fault, never its value.
    """
    adapter = _BODIES.get(envelope.kind)
    if adapter is None:
        raise MalformedMessage("unknown kind")
    try:
        UUID(envelope.id)
        return adapter.validate_json(envelope.body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise MalformedMessage(f"{place}: {first['type']}") from None
    except ValueError:
        raise MalformedMessage("the envelope's id is not a UUID") from None
