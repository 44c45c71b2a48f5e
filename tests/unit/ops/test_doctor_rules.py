"""The doctor's rules on what servers say of themselves: versions and states that no test server can be put into."""

from collections.abc import Mapping
from typing import Any

import pytest

from ops.doctor.findings import Diagnosis, Finding, Severity, critical, note
from ops.doctor.postgres_server import migration_faults
from ops.doctor.postgres_server import setting_faults as postgres_faults
from ops.doctor.redis_server import setting_faults, state_faults, version_faults
from ops.doctor.streams import Consumer, Seen, consumer_faults, ghost_faults, stubborn_faults
from shared.db.migrations import Migration

SOUND = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no", "maxmemory": "1000",
         "maxmemory-policy": "noeviction", "min-replicas-to-write": "1"}  # fmt: skip
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "server_version_num": "170002",
           "server_version": "17.2", "synchronous_standby_names": "other"}  # fmt: skip


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"redis_version": "6.2.20"}, "ghosts"),
        ({"redis_version": "7.0.15"}, "CVE-2025-49844"),
        ({"redis_version": "7.2.10"}, "CVE-2025-49844"),
        ({"redis_version": "7.4.5"}, "CVE-2025-49844"),
        ({"redis_version": "8.0.3"}, "CVE-2025-49844"),
        ({"redis_version": "8.2.2"}, "CVE-2025-62507"),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.3"}, "CVE-2025-49844"),
    ],
)
def test_faulty_versions_are_named_with_what_is_wrong_and_what_to_install(info: Mapping[str, Any], said: str) -> None:
    """Valkey calls itself Redis 7.2.4 too; its own version decides."""
    (found,) = version_faults(info)
    assert (found.severity, found.check) == (Severity.CRITICAL, "redis.version")
    assert said in found.detail
    assert "install" in found.mend


@pytest.mark.parametrize(
    "info",
    [{"redis_version": "7.2.11"}, {"redis_version": "7.4.6"}, {"redis_version": "8.2.3"}, {"redis_version": "8.4.0"},
     {"redis_version": "7.2.4", "valkey_version": "8.1.4"}, {"redis_version": "7.2.4", "valkey_version": "9.0.1"},
     {"redis_version": "8.6.2-rc1"}],
)  # fmt: skip
def test_sound_versions_pass(info: Mapping[str, Any]) -> None:
    """The mended ones, and what came after."""
    assert not list(version_faults(info))


@pytest.mark.parametrize(
    ("info", "check"),
    [
        ({"role": "slave"}, "redis.role"),
        ({"aof_last_write_status": "err"}, "redis.aof"),
        ({"aof_last_bgrewrite_status": "err"}, "redis.aof"),
        ({"maxmemory": 100, "used_memory": 76}, "redis.memory"),
    ],
)
def test_a_server_in_trouble_says_so(info: Mapping[str, Any], check: str) -> None:
    """A replica, a full disk, short memory."""
    (found,) = state_faults(info)
    assert (found.check, found.severity) == (check, Severity.CRITICAL)
    assert found.mend


def test_a_sound_server_has_no_faults() -> None:
    """With a replica that counts, not even a note."""
    assert not list(
        state_faults({"role": "master", "aof_last_write_status": "ok", "maxmemory": 100, "used_memory": 75})
    )
    assert not list(setting_faults(SOUND, {"connected_slaves": 1}))
    assert not list(postgres_faults(DURABLE, standby=False))


@pytest.mark.parametrize(
    ("changed", "info", "check", "severity"),
    [
        ({"appendonly": "no"}, {}, "redis.appendonly", Severity.CRITICAL),
        ({"appendfsync": "everysec"}, {}, "redis.appendfsync", Severity.CRITICAL),
        ({"maxmemory-policy": "allkeys-lru"}, {}, "redis.maxmemory-policy", Severity.CRITICAL),
        ({"no-appendfsync-on-rewrite": "yes"}, {}, "redis.rewrite", Severity.CRITICAL),
        ({"maxmemory": "0"}, {}, "redis.maxmemory", Severity.WARNING),
        ({"min-replicas-to-write": "0"}, {"connected_slaves": 2}, "redis.min-replicas", Severity.WARNING),
        ({"min-replicas-to-write": "0"}, {"connected_slaves": 0}, "redis.replicas", Severity.NOTE),
    ],
)
def test_settings_that_lose_payments_are_found(
    changed: Mapping[str, str], info: Mapping[str, Any], check: str, severity: Severity
) -> None:
    """Each by itself."""
    (found,) = setting_faults({**SOUND, **changed}, info)
    assert (found.check, found.severity) == (check, severity)


@pytest.mark.parametrize(
    ("changed", "check", "severity"),
    [
        ({"server_version_num": "160009"}, "postgres.version", Severity.CRITICAL),
        ({"fsync": "off"}, "postgres.fsync", Severity.CRITICAL),
        ({"full_page_writes": "off"}, "postgres.full_page_writes", Severity.CRITICAL),
        ({"synchronous_commit": "off"}, "postgres.synchronous_commit", Severity.CRITICAL),
        ({"synchronous_commit": "local"}, "postgres.synchronous_commit", Severity.CRITICAL),
        ({"synchronous_standby_names": ""}, "postgres.standby", Severity.NOTE),
    ],
)
def test_settings_that_lose_commits_are_found(changed: Mapping[str, str], check: str, severity: Severity) -> None:
    """Each by itself."""
    (found,) = postgres_faults({**DURABLE, **changed}, standby=False)
    assert (found.check, found.severity) == (check, severity)


def test_a_standby_is_no_place_to_write() -> None:
    """A failover has moved the primary, and the address has not."""
    assert [found.check for found in postgres_faults(DURABLE, standby=True)] == ["postgres.role"]


def test_migrations_that_are_pending_changed_or_unknown_are_told_apart() -> None:
    """Each asks for something else."""
    files = [Migration("0001_a.sql", "", "aa"), Migration("0002_b.sql", "", "bb")]

    def said(*applied: tuple[str, str]) -> list[tuple[str, str]]:
        return [(found.detail.split(",")[0], found.mend) for found in migration_faults("m", applied, files)]

    assert said(("0001_a.sql", "aa"), ("0002_b.sql", "bb")) == []
    assert said(("0001_a.sql", "aa")) == [("1 are pending: 0002_b.sql", "paymesh migrate")]
    ((changed, _),) = said(("0001_a.sql", "zz"), ("0002_b.sql", "bb"))
    assert "0001_a.sql was changed after it was applied" in changed
    ((newer, mend),) = said(("0001_a.sql", "aa"), ("0002_b.sql", "bb"), ("0003_c.sql", "cc"))
    assert "0003_c.sql was applied and is not part of this release" in newer
    assert "install the release" in mend


def seen(**changed: Any) -> Seen:
    """A stream that is read and has one entry under way."""
    plain: dict[str, Any] = {"stream": "s", "group": "g", "length": 1, "pending": 1, "consumers": (), "dead": {}}
    return Seen(**(plain | changed))


def test_more_pending_than_there_are_entries_proves_ghosts_without_looking() -> None:
    """However many are pending."""
    (found,) = ghost_faults(seen(length=10, pending=100_000, sampled=500))
    assert "at least 99990 of 100000" in found.detail
    assert not list(ghost_faults(seen()))


def test_consumers_that_are_gone_are_told_from_those_that_live() -> None:
    """Handed-back entries belong to nobody, and that is right; a name without entries is only untidy."""
    hour = 3_600_000
    names = (Consumer("alive", 3, 10), Consumer("_released", 2, hour), Consumer("_released", 0, 2 * hour))
    assert not list(consumer_faults(seen(consumers=names)))
    (held,) = consumer_faults(seen(consumers=(Consumer("dead", 3, hour),)))
    assert (held.check, "holds 3 entries" in held.detail) == ("streams.stale_consumer", True)
    (gone,) = consumer_faults(seen(consumers=(Consumer("dead", 0, hour + 1),)))
    assert (gone.check, "--reap" in gone.mend) == ("streams.gone_consumers", True)


@pytest.mark.parametrize(
    ("findings", "left_out", "ok"),
    [
        ((), (), True),
        ((note("a", "b", "c"),), (), True),
        ((critical("a", "b", "c", "d"),), (), False),
        ((), ("x",), False),
    ],
)
def test_notes_are_no_faults_and_what_was_not_seen_is(
    findings: tuple[Finding, ...],
    left_out: tuple[str, ...],
    ok: bool,  # noqa: FBT001 - a table
) -> None:
    """The exit status says so."""
    assert Diagnosis(findings, (), left_out, 0.0).ok is ok


def test_intents_that_die_again_and_again_are_named_with_where_to_look() -> None:
    """How many, of what, and the command that lists them."""
    seen = Seen("intents.{i0}", "orchestrator", 0, 0, (), {"permanent": 2}, stubborn=("permanent (Broken)",) * 2)
    (found,) = stubborn_faults(seen)
    assert (found.severity, found.subject) == (Severity.WARNING, "intents.{i0}")
    assert found.detail.startswith("2 intents")
    assert "permanent (Broken)" in found.detail
    assert "paymesh dlq list" in found.mend
