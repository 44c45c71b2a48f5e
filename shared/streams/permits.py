"""Permits: the one key per submission that everybody contends for who wants to say something about it.

A permit is absent, TAKEN (somebody may be submitting, or has) or CANCELLED (nobody ever will)::

              begin_submit                      win_cancelled, or begin_submit past the job's time
    absent ───────────────→ TAKEN     absent ───────────────────────────────→ CANCELLED
       ↑                      │                                                  │  ↑
       └── free_and_retry ────┘ (own token, own entry, proven non-event)         └──┘ found: written again
       └── give_up ───────────┘ (own token, nothing was sent)

Either value is won only in the mesh's present epoch and while the job is younger than `AGE_MAX_MS`; otherwise all
that may be done is to inquire. The value outlives the job by `LIFE_MS` from its last write, which is longer than any
copy of the job can still win it. All of this is decided by the server's clock, in one script each. With replicas, a
value counts only once `WAIT` has counted them on the same connection.

This module must never let two tokens submit, and never let anybody say "never submitted" beside a token.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from redis.asyncio import Redis

from shared.streams.verdicts import Member

AGE_MAX_MS: Final = 12 * 3_600_000
"""How old a job may be to win its permit, either way."""
LIFE_MS: Final = 24 * 3_600_000
"""How long a permit lives from its last write."""


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many replicas must have acknowledged a permit before anybody acts on it, and how long to wait for them."""

    least: int = 0
    timeout_ms: int = 1000


@dataclass(frozen=True, slots=True)
class PermitFor:
    """Which permit, and what decides whether it can still be won.

    Attributes:
        key: see `keys.permit`.
        created_ms: the job's, from its outbox row.
        epoch: the job's, ``<mesh id>:<epoch>``.
    """

    key: str
    created_ms: int
    epoch: str


class Begin(StrEnum):
    """Whether a submission may begin."""

    GO = "GO"
    INQUIRE = "INQUIRE"
    """Somebody may have submitted it, or the permit cannot be won any more: ask the PSP, nothing else."""
    CANCELLED = "CANCELLED"
    """It will never be submitted, and saying so is right."""
    LOST = "LOST"
    """The entry belongs to somebody else, who decides."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The answer to `begin_submit` or `look`.

    Attributes:
        status: what may be done.
        reason: with INQUIRE: ``taken``, ``epoch``, ``age`` or ``clock``; otherwise empty.
        taken_ms: when the permit was TAKEN first, by the server's clock; None where it is not TAKEN.
        now_ms: the server's clock.
    """

    status: Begin
    reason: str
    taken_ms: int | None
    now_ms: int


class Cancelled(StrEnum):
    """Whether "never submitted" may be said."""

    CANCELLED = "CANCELLED"
    """It may: nobody has submitted it, and nobody will."""
    TAKEN = "TAKEN"
    """Somebody may have submitted it: inquire."""
    STALE = "STALE"
    """The job is too old, or of another epoch: inquire."""


async def begin_submit(
    client: Redis,
    member: Member,
    entry_id: bytes,
    *,
    permit: PermitFor,
    token: str,
    job_ttl_ms: int,
    replicas: Replicas = Replicas(),
) -> Begun:
    """Win the permit for one submission by `token`; asking again with the same token is answered GO again.

    A job older than `job_ttl_ms` that nobody has taken is CANCELLED instead.

    Raises:
        OutcomeUnknown: the reply was lost; ask again with the same token, or `give_up` it.
        Transient: too few replicas acknowledged, or the server takes no writes; nothing may be sent.
    """
    raise NotImplementedError


async def win_cancelled(client: Redis, *, permit: PermitFor, who: str, replicas: Replicas = Replicas()) -> Cancelled:
    """Win the right to say that it was never submitted; `who` is one word, for the records.

    Raises:
        OutcomeUnknown: the reply was lost; ask again.
        Transient: too few replicas acknowledged, or the server takes no writes; nothing may be said.
    """
    raise NotImplementedError


async def take_over(client: Redis, *, permit: PermitFor, token: str, replicas: Replicas = Replicas()) -> Begun:
    """Make a TAKEN permit one's own, so that its former owner cannot free it any more, in order to submit *again*.

    Only for a PSP whose fence is `resubmit`. GO says so; `taken_ms` stays that of the first submission. Whoever took
    a permit over must never free it.

    Raises:
        OutcomeUnknown, Transient: as `begin_submit`.
    """
    raise NotImplementedError


async def free_and_retry(
    client: Redis, member: Member, entry_id: bytes, *, permit: PermitFor, token: str, delay_ms: int
) -> bool:
    """Free the permit and put the entry into the delay set, in one script; for a *proven* non-event only.

    Returns:
        False if the permit or the entry is not the token's any more: nothing was done, and only an inquiry is right.

    Raises:
        OutcomeUnknown: the reply was lost.
        Transient: the server takes no writes.
    """
    raise NotImplementedError
