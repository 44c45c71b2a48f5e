"""Redis or Valkey as a server: does it keep what it has acknowledged, and is it a version that can be trusted.

A setting that a mesh depends on is judged from what the server says of itself, never from its name.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from ops.doctor.findings import Finding, critical, note, warning
from shared.streams.client import server

SERVER: Final = "Redis"
_CLI: Final = 'redis-cli -u "$REDIS_URL"'
_NAMES: Final = (
    "appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory", "maxmemory-policy", "min-replicas-to-write",
)  # fmt: skip
_MEMORY_SHARE_MAX: Final = 0.75
_OLDEST: Final = (7, 0, 0)
_Version = tuple[int, int, int]

_BAD_REDIS: Final[tuple[tuple[_Version, _Version, str], ...]] = (
    ((7, 0, 0), (7, 2, 11), "scripts may run foreign code (CVE-2025-49844); 7.2.11 mends it"),
    ((7, 4, 0), (7, 4, 6), "scripts may run foreign code (CVE-2025-49844); 7.4.6 mends it"),
    ((8, 0, 0), (8, 0, 4), "scripts may run foreign code (CVE-2025-49844); 8.0.4 mends it"),
    ((8, 2, 0), (8, 2, 3), "XACKDEL overflows its stack (CVE-2025-62507); 8.2.3 mends it"),
)
_BAD_VALKEY: Final[tuple[tuple[_Version, _Version, str], ...]] = (
    ((7, 2, 0), (7, 2, 11), "scripts may run foreign code (CVE-2025-49844); 7.2.11 mends it"),
    ((8, 0, 0), (8, 0, 6), "scripts may run foreign code (CVE-2025-49844); 8.0.6 mends it"),
    ((8, 1, 0), (8, 1, 4), "scripts may run foreign code (CVE-2025-49844); 8.1.4 mends it"),
)
"""From (inclusive) and before which version, and what is wrong with it."""


async def look_at_redis(redis: Redis) -> list[Finding]:
    """Look at the server's version, settings and state.

    Raises:
        Transient, OutcomeUnknown: it is out of reach.
    """
    with server():
        info: dict[str, Any] = await redis.info()
        try:
            told = [await redis.config_get(name) for name in _NAMES]
        except (ResponseError, NoPermissionError):
            told = None  # a managed server may keep CONFIG to itself
    found = [*version_faults(info), *state_faults(info)]
    if told is None:
        detail = "CONFIG GET is not allowed here, so that nobody knows whether writes are kept"
        return [*found, warning("redis.config", SERVER, detail, f"{_CLI} ACL SETUSER <user> +config|get")]
    config = {_text(name): _text(value) for pair in told for name, value in pair.items()}
    return [*found, *setting_faults(config, info)]


def version_faults(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge the version."""
    valkey = "valkey_version" in info
    name = "Valkey" if valkey else "Redis"
    text = _text(info["valkey_version" if valkey else "redis_version"])
    version = _version(text)
    if version < _OLDEST:
        detail = f"{name} {text} names no ghosts in XAUTOCLAIM; {name} 7.0 is the oldest that does"
        yield critical("redis.version", f"{name} {text}", detail, "install Redis 7.4.6, Valkey 8.1.4, or a later one")
        return
    for since, until, fault in _BAD_VALKEY if valkey else _BAD_REDIS:
        if since <= version < until:
            yield critical("redis.version", f"{name} {text}", fault, f"install {name} {'.'.join(map(str, until))}")


def state_faults(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge how the server is just now."""
    if _text(info.get("role", "master")) != "master":
        detail = "REDIS_URL names a replica: nothing can be written there"
        yield critical("redis.role", SERVER, detail, "point REDIS_URL at the primary")
    for name in ("aof_last_write_status", "aof_last_bgrewrite_status"):
        if _text(info.get(name, "ok")) != "ok":
            yield critical("redis.aof", name, "the append-only file could not be written; is the disk full?", "df -h")
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if limit and used > limit * _MEMORY_SHARE_MAX:
        detail = f"{used / limit:.0%} of maxmemory is used; above 75 % nothing new is accepted"
        yield critical("redis.memory", SERVER, detail, f"{_CLI} CONFIG SET maxmemory {2 * limit}")


def setting_faults(config: Mapping[str, str], info: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge the settings that durability stands on."""
    for name, wanted, why in (
        ("appendonly", "yes", "a restart loses everything"),
        ("appendfsync", "always", "a crash loses payments that were accepted"),
        ("maxmemory-policy", "noeviction", "short of memory, the server deletes permits and keys"),
    ):
        if config.get(name, wanted) != wanted:
            yield critical(f"redis.{name}", name, f"is {config[name]}: {why}", _set(name, wanted))
    if config.get("no-appendfsync-on-rewrite", "no") != "no":
        detail = "is yes: while the file is rewritten, accepted payments are not on disk"
        yield critical("redis.rewrite", "no-appendfsync-on-rewrite", detail, _set("no-appendfsync-on-rewrite", "no"))
    if config.get("maxmemory", "1") == "0":
        detail = "is unlimited: the door cannot see that memory is short before the machine kills the server"
        yield warning("redis.maxmemory", "maxmemory", detail, _set("maxmemory", "2gb"))
    replicas, least = int(info.get("connected_slaves", 0)), int(config.get("min-replicas-to-write", "0"))
    if replicas and not least:
        detail = "is 0: a primary cut off from its replicas goes on accepting what they will never know"
        yield warning("redis.min-replicas", "min-replicas-to-write", detail, _set("min-replicas-to-write", "1"))
    elif not replicas and not least:
        yield note("redis.replicas", SERVER, "no replica: what only this machine has is lost with it")


def _set(name: str, value: str) -> str:
    return f"{_CLI} CONFIG SET {name} {value} && {_CLI} CONFIG REWRITE"


def _version(text: str) -> _Version:
    major, minor, patch = (*map(int, re.findall(r"\d+", text)[:3]), 0, 0, 0)[:3]
    return major, minor, patch


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
