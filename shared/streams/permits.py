"""Permits: the one key per submission that everybody contends for who wants to say something about it.

A permit is absent, TAKEN (somebody may be submitting, or has) or CANCELLED (nobody ever will)::

              begin_submit                      win_cancelled, or begin_submit past the job's time
    absent ───────────────→ TAKEN     absent ───────────────────────────────→ CANCELLED
       ↑                    │ ↑ │                                                │  ↑
       │                    │ └─┘ take_over (nobody frees it any more)           └──┘ found: written again
       ├── free_and_retry ──┤     own token, own entry, proven non-event
       └── give_up ─────────┘     own token, nothing was sent

``bar`` makes an absent or TAKEN permit TAKEN by a token that submits nothing and frees nothing, and that nobody takes
over.

Either value is won only in the mesh's present epoch and while the job is younger than `AGE_MAX_MS`; otherwise all
that may be done is to inquire. The value outlives the job by `LIFE_MS` from its last write, which is longer than any
copy of the job can still win it. All of this is decided by the server's clock, in one script each. With replicas, a
value counts only once `WAIT` has counted them on the same connection.

This module must never let two tokens submit, and never let anybody say "never submitted" beside a token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from shared.errors import OutcomeUnknown, Transient, require
from shared.streams import keys
from shared.streams.client import refused, unreachable
from shared.streams.group import app_version, retrying_keys
from shared.streams.script import Argument, Script
from shared.streams.verdicts import Member

AGE_MAX_MS: Final = 12 * 3_600_000
"""How old a job may be to win its permit, either way."""
LIFE_MS: Final = 24 * 3_600_000
"""How long a permit lives from its last write."""
SKEW_MS: Final = 300_000
"""How far in the future a job may have been created; beyond it the age of the job means nothing."""

BARRED_BY: Final = "barred."
"""What the token begins with under which a permit was barred; the scripts write and read it."""

_BEGIN: Final = Script("begin_submit", "pending", "permit")
_TAKE_OVER: Final = Script("take_over", "pending", "permit")
_WIN_CANCELLED: Final = Script("win_cancelled", "pending", "permit")
_LOOK: Final = Script("look_at_permit", "pending", "permit")
_FREE: Final = Script("free_and_retry", "pending", "dead_letter_books", "bury", "put_off", "permit")
_GIVE_UP: Final = Script("give_up", "permit")
_BAR: Final = Script("bar_submission", "pending", "permit")


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many replicas must have acknowledged a permit before anybody acts on it, and how long to wait for them."""

    least: int = 0
    timeout_ms: int = 1000


ALONE: Final = Replicas()
"""A server without replicas."""


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

    def rule(self) -> tuple[Argument, ...]:
        """Return what every script must know to say whether the permit can still be won."""
        return (self.created_ms, self.epoch, AGE_MAX_MS, SKEW_MS, LIFE_MS)

    def mesh(self) -> str:
        """Return the key of the mark of the permit's slot."""
        return keys.mesh(keys.hash_tag(self.key)[1:-1])


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
    """The answer to `begin_submit` and `take_over`.

    Attributes:
        status: what may be done.
        reason: with INQUIRE: ``taken``, ``absent``, ``barred``, ``epoch``, ``age`` or ``clock``; otherwise empty.
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


class PermitState(StrEnum):
    """How a permit stands."""

    ABSENT = "ABSENT"
    TAKEN = "TAKEN"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Seen:
    """The answer to `look`; a glance, which nothing may be concluded from that another script would have to win.

    Attributes:
        state: how it stands.
        stale: why it cannot be won any more, ``epoch``, ``age`` or ``clock``; empty where it can.
        won_ms: when it was won first; None where it is absent.
        now_ms: the server's clock.
        written_ms: when it was written last, or barred first; what `bar` alone tells.
    """

    state: PermitState
    stale: str
    won_ms: int | None
    now_ms: int
    written_ms: int | None = None


async def begin_submit(
    client: Redis,
    member: Member,
    entry_id: bytes,
    *,
    permit: PermitFor,
    token: str,
    job_ttl_ms: int,
    replicas: Replicas = ALONE,
) -> Begun:
    """Win the permit for one submission by `token`; asking again with the same token is answered GO again.

    A job older than `job_ttl_ms` that nobody has taken is CANCELLED instead.

    Raises:
        OutcomeUnknown: the reply was lost; ask again with the same token, or `give_up` it.
        Transient: too few replicas acknowledged, or the server takes no writes; nothing may be sent or said.
    """
    _check_word(token)
    script_keys = [member.stream, permit.mesh(), permit.key]
    args = (member.group, member.consumer, entry_id, token, job_ttl_ms, *permit.rule())
    reply, short = await _written(client, _BEGIN, script_keys, args, replicas)
    begun = _begun(reply)
    if short and begun.status is Begin.GO:
        await give_up(client, permit=permit, token=token)
    if short and begun.status in (Begin.GO, Begin.CANCELLED):
        raise Transient(short, code="too_few_replicas")
    return begun


async def take_over(client: Redis, *, permit: PermitFor, token: str, replicas: Replicas = ALONE) -> Begun:
    """Make a TAKEN permit one's own, so that its former owner cannot free it any more.

    That must precede every conclusion from an absence at the PSP, and every resubmission: a permit that is freed
    after it would let the job be submitted, or called never submitted, beside them. GO says that it is ours;
    `taken_ms` stays that of the first submission. Whoever took a permit over must never free it.

    Raises:
        OutcomeUnknown, Transient: as `begin_submit`; nothing may be concluded.
    """
    _check_word(token)
    reply, short = await _written(client, _TAKE_OVER, [permit.mesh(), permit.key], (token, *permit.rule()), replicas)
    begun = _begun(reply)
    if short and begun.status in (Begin.GO, Begin.CANCELLED):
        raise Transient(short, code="too_few_replicas")
    return begun


async def win_cancelled(client: Redis, *, permit: PermitFor, who: str, replicas: Replicas = ALONE) -> Cancelled:
    """Win the right to say that it was never submitted; `who` is one word, for the records.

    Raises:
        OutcomeUnknown: the reply was lost; ask again.
        Transient: too few replicas acknowledged, or the server takes no writes; nothing may be said.
    """
    _check_word(who)
    reply, short = await _written(client, _WIN_CANCELLED, [permit.mesh(), permit.key], (who, *permit.rule()), replicas)
    cancelled = Cancelled(reply.decode())
    if short and cancelled is Cancelled.CANCELLED:
        raise Transient(short, code="too_few_replicas")
    return cancelled


async def bar(client: Redis, *, permit: PermitFor, token: str, replicas: Replicas = ALONE) -> Seen:
    """Make sure that nobody submits from now on, without saying that nobody has; for verdicts that people give.

    Whoever has it TAKEN may be submitting at this moment, and cannot free it any more. CANCELLED stays.

    Returns:
        How it stood before.

    Raises:
        OutcomeUnknown: the reply was lost; bar it again.
        Transient: too few replicas acknowledged, or the server takes no writes; nothing may be concluded.
    """
    _check_word(token)
    reply, short = await _written(client, _BAR, [permit.key], (token, LIFE_MS), replicas)
    if short:
        raise Transient(short, code="too_few_replicas")
    state, won_ms, now_ms, written_ms = reply
    return Seen(PermitState(state.decode()), "", _ms(won_ms), int(now_ms), _ms(written_ms))


async def free_and_retry(
    client: Redis, member: Member, entry_id: bytes, *, permit: PermitFor, token: str, delay_ms: int
) -> bool:
    """Free the permit and put the entry into the delay set, in one script; for a *proven* non-event only.

    Returns:
        False if the permit or the entry is not the token's any more: nothing was done, and only an inquiry is right.

    Raises:
        OutcomeUnknown: the reply was lost; whether it was done is for the next look at the entry to find out.
        Transient: the server takes no writes.
    """
    require(delay_ms >= 0, f"a delay of {delay_ms} ms")
    args = (member.group, member.consumer, app_version(), entry_id, delay_ms, token)
    try:
        return bool(await _FREE.run(client, [*retrying_keys(member), permit.key], args))
    except (RedisError, OSError) as error:
        raise _translated(error) from error


async def give_up(client: Redis, *, permit: PermitFor, token: str) -> bool:
    """Delete a permit that `token` has taken and under which nothing was sent, nor will be; say whether it was ours.

    Raises:
        OutcomeUnknown: the reply was lost.
        Transient: the server takes no writes.
    """
    try:
        return bool(await _GIVE_UP.run(client, [permit.key], [token]))
    except (RedisError, OSError) as error:
        raise _translated(error) from error


async def look(client: Redis, *, permit: PermitFor) -> Seen:
    """Say how a permit stands.

    Raises:
        OutcomeUnknown, Transient: the server did not answer.
    """
    try:
        state, stale, won_ms, now_ms = await _LOOK.run(client, [permit.mesh(), permit.key], permit.rule())
    except (RedisError, OSError) as error:
        raise _translated(error) from error
    return Seen(PermitState(state.decode()), stale.decode(), _ms(won_ms), int(now_ms))


def _begun(reply: Sequence[bytes]) -> Begun:
    status, reason, taken_ms, now_ms = reply
    return Begun(Begin(status.decode()), reason.decode(), _ms(taken_ms), int(now_ms))


def _ms(number: bytes) -> int | None:
    return None if int(number) < 0 else int(number)


def _check_word(word: str) -> None:
    require(word and not any(character.isspace() for character in word), "a permit names its owner in one word")


async def _written(
    client: Redis, script: Script, script_keys: Sequence[str], args: Sequence[Argument], replicas: Replicas
) -> tuple[Any, str]:
    """Run a script and wait for replicas; return its reply, and what is short of them or nothing."""
    try:
        if replicas.least <= 0:
            return await script.run(client, script_keys, args), ""
        reply, acknowledged = await _run_and_wait(client, script, script_keys, args, replicas)
    except (RedisError, OSError) as error:
        raise _translated(error) from error
    if isinstance(acknowledged, int) and acknowledged >= replicas.least:
        return reply, ""
    return reply, f"{acknowledged} of {replicas.least} replicas acknowledged the permit"


async def _run_and_wait(
    client: Redis, script: Script, script_keys: Sequence[str], args: Sequence[Argument], replicas: Replicas
) -> tuple[Any, Any]:
    # WAIT counts the writes of its own connection only; a pipeline is sent on one.
    for verb, text in (("EVALSHA", script.sha), ("EVAL", script.text)):
        async with client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command(verb, text, len(script_keys), *script_keys, *args)
            pipeline.execute_command("WAIT", replicas.least, replicas.timeout_ms)
            reply, acknowledged = await pipeline.execute(raise_on_error=False)
        if isinstance(reply, NoScriptError):
            continue
        if isinstance(reply, Exception):
            raise reply
        return reply, "an unknown number" if isinstance(acknowledged, Exception) else acknowledged
    raise Transient("the server forgets scripts faster than they are sent")


def _translated(error: Exception) -> Exception:
    if unreachable(error):
        return OutcomeUnknown(f"the server's reply was lost: {type(error).__name__}", code="redis_lost")
    if refused(error):
        return Transient(f"the server takes no writes for now: {type(error).__name__}", code="redis_unavailable")
    return error
