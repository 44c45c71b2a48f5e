"""What an adapter implements, and the words in which it answers.

A PSP's folder knows the PSP's words and errors; the runtime knows when it may be called, how often, and what an
answer means for the money. The line between them is *what happened at the PSP*: a `Definite` answer is a fact about
our reference, `NotSent` proves that nothing happened, and everything else is `Ambiguous`. When in doubt, an adapter
says `Ambiguous`: it costs an inquiry, while a wrong `NotSent` pays twice. This module must never do I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shared.contracts import JobMessage, NextAction, Outcome
from shared.errors import BadInput
from shared.psp import Manifest


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the PSP.

    Attributes:
        job: what it is about; `job.reference` is the reference to use.
        opened: the job's destination, unsealed. Never to be logged or put into an answer unmasked.
        prepared: what `prepare` returned; empty for inquiries and cancellations.
        timeout_s: how long the whole call may take.
        test_scenario: to be forwarded to a sandbox; None unless the settings allow it.
    """

    job: JobMessage
    opened: Mapping[str, str] = field(repr=False)
    prepared: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 5.0
    test_scenario: str | None = None


@dataclass(frozen=True, slots=True)
class Definite:
    """The PSP said what became of our reference; the fields are those of `ResultMessage`.

    `outcome` is PAID, DECLINED, PENDING, NEXT_ACTION, EXPIRED, REVERSED or NOT_FOUND. NOT_FOUND says that the PSP
    does not know the reference; whether that proves anything is for the manifest. After `cancel`, EXPIRED says that
    the PSP has confirmed the cancellation, and bars the reference if its fence promises so.
    """

    outcome: Outcome
    psp_transaction_id: str | None = None
    psp_ids: Mapping[str, str] = field(default_factory=dict)
    amount_minor: int | None = None
    currency: str | None = None
    code: str | None = None
    """With DECLINED: a stable word of ours."""
    detail: str | None = None
    """A sentence of ours, never the PSP's text."""
    final: bool = False
    """The PSP calls this its last word."""
    next_action: NextAction | None = None
    retry_after_s: int | None = None
    summary: Mapping[str, str] = field(default_factory=dict)
    """What people may see, masked."""
    more: tuple["Definite", ...] = ()
    """What else the same answer said about our reference: a code that was paid twice has two payments.

    A job has one result, which is this answer; each of these, none with a `more` of its own, is told beside it as an
    observation, in the same step. They are facts by themselves, so telling one again does no harm.
    """


@dataclass(frozen=True, slots=True)
class NotSent:
    """*Proven*: this call changed nothing at the PSP and never will.

    No connection was made; or the PSP answered, in words its contract gives that meaning, that it did not take the
    request. A 5xx, a lost connection and a time-out prove nothing.
    """

    reason: str
    retry_after_s: float | None = None
    """When the PSP wants to hear from us again."""
    throttled: bool = False
    """The PSP is well and only asks for patience, so the breaker does not count it."""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """It may have happened; ask."""

    reason: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything is prepared; `data` is handed to `submit` as `Call.prepared`."""

    data: Mapping[str, str] = field(default_factory=dict, repr=False)


Answer = Definite | NotSent | Ambiguous


@dataclass(frozen=True, slots=True)
class Observation:
    """What a genuine callback says.

    Attributes:
        answer: the fact.
        reference: ours, where the callback names it.
    """

    answer: Definite
    reference: str | None = None


class BadCallback(BadInput):
    """The callback makes no sense, although it is genuine; answered 400 and counted."""

    code = "bad_callback"


@dataclass(frozen=True, slots=True)
class CallbackRules:
    """Where callbacks come in and how they are signed: hex HMAC-SHA256 over timestamp, ``.`` and the raw body.

    Attributes:
        path: such as ``/callbacks/ipps``.
        timestamp_header: unix seconds.
        signature_header: the HMAC; several, separated by commas, are accepted while a secret is being rotated.
        secrets: those agreed with the PSP, all of them tried.
        networks: CIDR blocks that callbacks may come from; empty refuses everybody.
        age_max_s: how old a timestamp may be, either way.
        acknowledgement: the body that the PSP wants to read.
    """

    path: str
    timestamp_header: str
    signature_header: str
    secrets: tuple[bytes, ...] = field(repr=False)
    networks: tuple[str, ...]
    age_max_s: int = 300
    acknowledgement: bytes = b'{"status":"ok"}'


class Psp(Protocol):
    """One PSP, as the runtime sees it. No method raises for anything the PSP or the network does."""

    @property
    def manifest(self) -> Manifest:
        """What the PSP promises."""
        ...

    @property
    def callbacks(self) -> CallbackRules | None:
        """How its callbacks come in; None if it sends none, or if this process does not receive them."""
        ...

    async def prepare(self, call: Call) -> Ready | Answer:
        """Do what must precede a submission and moves nothing, such as a look-up; `Ready()` where nothing must.

        Called *before* the permit is taken, so whatever it obtains is older than the permit: that is what makes the
        fence `reference_ttl` hold, and `submit` must therefore never obtain such a thing anew. A DECLINED answer
        ends the job (unknown proxy, say); NotSent and Ambiguous put it off, since nothing can have happened.
        """
        ...

    async def submit(self, call: Call) -> Answer:
        """Make one submission under our reference, with `call.prepared`; one HTTP request that may move money."""
        ...

    async def inquire(self, call: Call) -> Answer:
        """Ask by our reference, or by the PSP's ids of the job; NOT_FOUND only if the PSP says just that."""
        ...

    async def cancel(self, call: Call) -> Answer:
        """Give the reference up at the PSP.

        EXPIRED: confirmed. PAID, PENDING, DECLINED: too late, this is how it stands. NOT_FOUND: the PSP does not
        know it, and has barred nothing.
        """
        ...

    def parse_callback(self, headers: Mapping[str, str], raw: bytes) -> Observation:
        """Read a callback whose address and signature have been verified; pure.

        Raises:
            BadCallback: it makes no sense.
        """
        ...
