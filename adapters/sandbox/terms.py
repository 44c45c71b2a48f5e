"""The terms on which a sandbox deals: what its provider's manifest would promise, and where callbacks go.

They start from the environment and may be changed through the control API; a restarted sandbox starts from its
environment again. This module must never show the callback secret.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic.alias_generators import to_camel


class SubmitFence(StrEnum):
    """What bars a transfer whose request may still be under way.

    ==============  =================================================================================================
    resubmit        a reference gets the same answer, declines included, for `idempotency_ms`; later it pays again
    cancel          a cancellation bars the reference, seen or not; a reference is refused when it comes again
    reference_ttl   a transfer is refused at its commit once its look-up has expired; so is a reference that comes again
    none            nothing: expiry is looked at on arrival only, and a reference that comes again pays again
    ==============  =================================================================================================
    """

    RESUBMIT = "resubmit"
    CANCEL = "cancel"
    REFERENCE_TTL = "reference_ttl"
    NONE = "none"


Milliseconds = Annotated[int, Field(ge=0, le=31 * 86_400_000)]


class Terms(BaseModel):
    """What is agreed; its JSON is in camel case."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )

    submit_fence: SubmitFence = SubmitFence.RESUBMIT
    """IPPS only; QP takes money in, and its refunds are idempotent."""
    lookup_ttl_ms: Milliseconds = 120_000
    """IPPS: how long a look-up may be used."""
    idempotency_ms: Milliseconds = 86_400_000
    """IPPS with the fence `resubmit`: how long a reference is remembered."""
    amount_max_minor: int = Field(default=70_000_000, ge=1)
    """The most a single transfer or QR code may ask for; more is declined as OVER_LIMIT."""
    decline_tries_max: int = Field(default=3, ge=1, le=100)
    """QP: after so many declined payments a dynamic code is cancelled."""
    callback_url: str | None = None
    callback_secret: SecretStr | None = Field(default=None, exclude=True)
    callback_attempts_max: int = Field(default=8, ge=1, le=100)
    callback_retry_ms: Milliseconds = 250
    """The pause before the second attempt; it doubles up to a minute."""

    @model_validator(mode="after")
    def _callbacks_are_signed(self) -> Self:
        if self.callback_url is not None and self.callback_secret is None:
            raise ValueError("a callback URL needs a secret: callbacks are signed")
        return self


class Contract:
    """The terms in force."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms

    def change(self, changes: dict[str, object]) -> Terms:
        """Put changed terms in force; names as in JSON.

        Raises:
            pydantic.ValidationError: a name or value is wrong; the old terms stay in force.
        """
        current = self.terms.model_dump(by_alias=True) | {"callbackSecret": self.terms.callback_secret}
        self.terms = Terms.model_validate(current | changes)
        return self.terms
