"""Every Redis key of the mesh: its name, its type, who writes it, who reads it and how long it lives.

The braces are cluster hash tags: what must change together shares a slot, and one script touches keys of one tag
only. The functions are pure; nothing else in the project may spell a key by hand.
"""

from hashlib import sha256
from typing import Final

from shared.errors import violated

ORCHESTRATOR_GROUP: Final = "orchestrator"
"""The one consumer group of every `intents.{iN}` and `results.{psp}` stream."""

ADAPTER_GROUP: Final = "adapter"
"""The one consumer group of every `jobs.{psp}` stream."""

RELEASED_CONSUMER: Final = "_released"
"""Whom handed-back entries belong to until somebody claims them; never a process, never retired while it holds any."""


def slot(partition: int) -> str:
    """Return the hash tag of an intents partition without its braces, such as ``i0``."""
    return f"i{partition}"


def intents(partition: int) -> str:
    """Stream ``intents.{iN}``: accepted intents.

    Written by the gateway's accept and, ungated, by sweeper and redrive; read by the group `orchestrator`. An entry
    lives until it is finished; the stream is bounded by admission and never trimmed.
    """
    return f"intents.{{i{partition}}}"


def idem(partition: int, service_key: str, key: str) -> str:
    """String ``idem.{iN}:<service key>:<hash of the idempotency key>``: ``<fingerprint> <intent id>``.

    Written and read by accept; expires after the dedupe time, which every replay renews. The caller's key is hashed
    (32 hex digits of SHA-256), since it may be long and may hold anything.
    """
    return f"idem.{{i{partition}}}:{service_key}:{sha256(key.encode()).hexdigest()[:32]}"


def acc(partition: int, intent_id: str) -> str:
    """String ``acc.{iN}:<intent id>``: ``<unix ms> <owner>``, the proof that this id was accepted.

    Written by accept, read by the gateway's GET, deleted by finish once PostgreSQL can answer; no expiry, and kept
    while the intent is dead-lettered.
    """
    return f"acc.{{i{partition}}}:{intent_id}"


def jobs(psp: str) -> str:
    """Stream ``jobs.{psp}``: calls to be made to a PSP.

    Written by the relay and, ungated, by poller and redrive; read by the group `adapter`. An entry lives until it is
    finished; the stream is bounded by admission, together with its delay set, and never trimmed.
    """
    return f"jobs.{{{psp}}}"


def results(psp: str) -> str:
    """Stream ``results.{psp}``: what became of jobs, and what the PSP told of its own accord.

    Written by the adapter's finish, its callback receiver and whoever gives a job up, never gated; read by the group
    `orchestrator`. An entry lives until it is finished.
    """
    return f"results.{{{psp}}}"


def permit(psp: str, intent_id: str, attempt: int, operation: str) -> str:
    """String ``permit.{psp}:<intent>.<attempt>.<operation>``: ``TAKEN <token> <ms>`` or ``CANCELLED <who> <ms>``.

    Written by begin_submit, take_over and win_cancelled, deleted by free_and_retry and give_up; read by everybody who
    says something about a submission. Lives 24 hours from its last write. The ms is when it was won first.
    """
    return f"permit.{{{psp}}}:{intent_id}.{attempt}.{operation}"


def verdicts(psp: str) -> str:
    """String ``verdicts.{psp}``: the id of the last dead letter of `jobs.{psp}` on which a verdict has been given.

    Written and read by the script that appends the verdict to the results. For ever.
    """
    return f"verdicts.{{{psp}}}"


def breaker(psp: str) -> str:
    """Hash ``breaker.{psp}``: state of the PSP's circuit breaker and its calls of the last minute.

    Written by every adapter process of the PSP; read by them, by the gateway and by the orchestrator. Lives an hour
    from its last write; absent means closed.
    """
    return f"breaker.{{{psp}}}"


def control(psp: str) -> str:
    """Hash ``control.{psp}``: the kill switch; operation type, or ``*`` for the whole PSP → ``<who> <unix ms>``.

    Written by the command line and, from the database, by every orchestrator (a field stands while that is paused);
    read by adapters, gateway and orchestrator at least once a second. For ever.
    """
    return f"control.{{{psp}}}"


def mesh(hash_tag: str) -> str:
    """Hash ``mesh.{slot}`` with the fields ``id``, ``epoch`` and ``tick``: which mesh this slot belongs to.

    Written by migrate, recover, the registration of a PSP and the reconciler's tick; read by accept, by whoever
    contends for a permit, and by every start. For ever.
    """
    return f"mesh.{{{hash_tag}}}"


def solo(stream: str) -> str:
    """Hash ``solo.<stream>``: entry id → ``<runs> <token>``, how often an entry has been started alone.

    Written by begin_solo, cleared by finish, retry, dead-letter and hand-back; a field lives as long as its entry
    is pending.
    """
    return f"solo.{stream}"


def delay(stream: str) -> str:
    """Sorted set ``delay.<stream>``: packed entries by the unix ms at which they are due again.

    Written by retry, emptied by promote; a member lives until it is due.
    """
    return f"delay.{stream}"


def dlq(stream: str) -> str:
    """Stream ``dlq.<stream>``: dead letters with every original field.

    Written by dead-letter, by reclaim (ghosts) and by begin_solo (crashes); read by people and by the sweeper.
    A record lives until it is redriven or discarded; never trimmed.
    """
    return f"dlq.{stream}"


def dlq_counts(stream: str) -> str:
    """Hash ``dlq-counts.<stream>``: reason → how many records of it stand in the dead-letter stream at present.

    Written by the scripts that add, redrive or discard a record; read by metrics and the command line. For ever.
    """
    return f"dlq-counts.{stream}"


def dlq_hours(stream: str) -> str:
    """Hash ``dlq-hours.<stream>``: ``<reason>|<hours since 1970>`` → how many records of it died in that hour.

    Written by the scripts that add, redrive or discard a record; read by the command line. A field lives as long as
    such a record stands.
    """
    return f"dlq-hours.{stream}"


def dlq_index(stream: str) -> str:
    """Sorted set ``dlq-index.<stream>``: ``<intent id> <record id>``, all of one score, to be found by their beginning.

    Written by the scripts that add, redrive or discard a record; read by the command line. A member lives as long as
    its record.
    """
    return f"dlq-index.{stream}"


def rate(service_key: str, per_s: int, user_id: str | None = None) -> str:
    """String ``rate.{<service key>}:<seconds>`` and ``rate.{<service key>}:<seconds>:<user>``: a sliding window.

    92 bytes: the number of the newest slice of time, and how many requests were let through in it and in each of the
    twenty before. Written and read by the gateway's rate script, in memory only: neither replicated nor persisted.
    Lives 1.05 of its seconds from its last write. Everything about a service key shares its slot.
    """
    name = f"rate.{{{service_key}}}:{per_s}"
    return name if user_id is None else f"{name}:{user_id}"


def events() -> str:
    """Stream ``events``: what happened, for whoever listens; an entry is ``v``, ``kind`` and ``body`` (JSON).

    Written by `feed.publish` once the database has it, at best effort; read by anybody, without a group. The one stream
    that is trimmed: it keeps about its last 10,000 entries. It shares a slot with nothing.
    """
    return "events"


def intent_channel(intent_id: str) -> str:
    """Pub/sub channel ``intent.<id>``: the new state, as a hint to whoever watches; readers poll too."""
    return f"intent.{intent_id}"


def gateway_channel(instance: str) -> str:
    """Pub/sub channel ``gateway.<instance>``: ``<intent id> <state>``, a hint to the gateway that waits."""
    return f"gateway.{instance}"


def hash_tag(key: str) -> str:
    """Return the key's hash tag with its braces.

    Raises:
        InvariantViolation: the key has none, so nothing can share a slot with it.
    """
    start = key.find("{")
    end = key.find("}", start + 2)
    if start < 0 or end < 0:
        violated("a key without a hash tag shares its slot with nothing")
    return key[start : end + 1]
