"""PSPs of an embedded stack: for each a sandbox, and the adapter that deals with it, as processes of their own.

::

    sandbox-ipps ──callbacks──▶ adapter-ipps ──▶ Valkey        key and callback secret: made for this run
         ▲ control (people, tests)   │ API
         └───────────────────────────┘

Each is told what it needs and nothing else of our environment: an adapter knows Valkey, the key ring and its PSP; a
sandbox knows its books and where to call back. This module must never tell an adapter of a database or a ledger, nor
a sandbox of the key ring.
"""

import asyncio
import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ops.audit import actor
from ops.embedded.server import Server, ServerFailed
from ops.embedded.services import Stores, answers_ready, python_service
from ops.psps import find_layout, find_manifest, register
from ops.stores import open_stores
from shared.psp import Manifest, PollSchedule
from shared.streams import keys

PSPS: Final = ("ipps", "qp")
"""The PSPs that come with a sandbox."""

POLL: Final = PollSchedule(first_s=2, factor=1.5, max_s=30, until_s=259_200)
"""A sandbox minds no questions, and whoever develops against one minds waiting."""
CALL_TIMEOUT_S: Final = 2
"""Long for a sandbox on the same machine, and short for whoever watches a time-out."""

BOOKS: Final = "sandboxes"
_SETTLEMENT: Final = "settlement"
_SILENT_MS: Final = 3_000
"""An adapter that is alive looks for jobs more often."""
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
_PORTS: Final = ("sandbox-{}", "sandbox-{}-control", "adapter-{}", "adapter-{}-callbacks")


@dataclass(frozen=True, slots=True)
class PspPlace:
    """Where one PSP's sandbox and adapter are; the secrets are this run's."""

    psp: str
    api_port: int
    control_port: int
    health_port: int
    callback_port: int
    api_key: str = field(repr=False)
    callback_secret: str = field(repr=False)

    @property
    def folder(self) -> str:
        """The folder of its adapter and its sandbox: several agreements may be with one PSP (``ipps2``)."""
        return self.psp.rstrip("0123456789")

    @property
    def api_url(self) -> str:
        """Where the adapter finds the PSP."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def control_url(self) -> str:
        """Where people and tests tell the sandbox how to behave."""
        return f"http://127.0.0.1:{self.control_port}"


def port_names(psps: Sequence[str]) -> list[str]:
    """Name the ports that the PSPs need."""
    return [name.format(psp) for psp in psps for name in _PORTS]


def places(psps: Sequence[str], ports: Mapping[str, int]) -> tuple[PspPlace, ...]:
    """Give each PSP its ports, and secrets that nobody has had before."""
    return tuple(
        PspPlace(
            psp=psp,
            api_port=ports[f"sandbox-{psp}"],
            control_port=ports[f"sandbox-{psp}-control"],
            health_port=ports[f"adapter-{psp}"],
            callback_port=ports[f"adapter-{psp}-callbacks"],
            api_key=secrets.token_hex(24),
            callback_secret=secrets.token_hex(24),
        )
        for psp in psps
    )


def sandbox(place: PspPlace, *, base: Mapping[str, str], logs: Path, books: Path) -> Server:
    """Describe the sandbox of a PSP, with its books in a file that outlives it."""
    books.mkdir(exist_ok=True)
    own = {
        "SANDBOX_HOST": "127.0.0.1",
        "SANDBOX_PORT": str(place.api_port),
        "SANDBOX_CONTROL_PORT": str(place.control_port),
        "SANDBOX_BOOKS": str((books / place.psp).resolve()),
        "SANDBOX_API_KEY": place.api_key,
        "SANDBOX_CALLBACK_URL": f"http://127.0.0.1:{place.callback_port}/callbacks/{place.folder}",
        "SANDBOX_CALLBACK_SECRET": place.callback_secret,
    }
    return python_service(
        f"sandbox-{place.psp}",
        f"adapters.sandbox.{place.folder}",
        env=_plain(base) | own,
        ready=partial(answers_ready, place.control_port),
        logs=logs,
    )


def adapter(place: PspPlace, *, stores: Stores, base: Mapping[str, str], logs: Path) -> Server:
    """Describe the adapter of a PSP."""
    own = {
        "REDIS_URL": stores.redis_url,
        "ADAPTER_BASE_URL": place.api_url,
        **({} if place.psp == place.folder else {"ADAPTER_PSP": place.psp}),
        "ADAPTER_API_KEY": place.api_key,
        "ADAPTER_HEALTH_PORT": str(place.health_port),
        "ADAPTER_CALLBACK_HOST": "127.0.0.1",
        "ADAPTER_CALLBACK_PORT": str(place.callback_port),
        "ADAPTER_CALLBACK_SECRETS": place.callback_secret,
        "ADAPTER_CALLBACK_NETWORKS": "127.0.0.0/8",
        "ADAPTER_CALL_TIMEOUT_S": str(CALL_TIMEOUT_S),
        "ADAPTER_FORWARD_TEST_SCENARIO": "true",
    }
    if stores.keyring_file is None:
        own["PAYMESH_KEYRING"] = base["PAYMESH_KEYRING"]
    else:
        own["PAYMESH_KEYRING_FILE"] = str(stores.keyring_file)
    return python_service(
        f"adapter-{place.psp}",
        f"adapters.{place.folder}.main",
        env=_plain(base) | own,
        ready=partial(answers_ready, place.health_port),
        logs=logs,
    )


def settlement_folders(folder: Path, psps: Sequence[str], number: int) -> dict[str, str]:
    """Make the folders where settlement files are delivered, and where a reconciler copies them; return its variables.

    A file of ``ipps`` is dropped into ``settlement/ipps`` of the data folder, and read within seconds.
    """
    root = (folder / _SETTLEMENT).resolve()
    spool = root / f".spool-{number}"
    for made in (spool, *(root / psp for psp in psps)):
        made.mkdir(parents=True, exist_ok=True)
    sources = [{"kind": "folder", "psp": psp, "folder": str(root / psp)} for psp in psps]
    return {
        "RECONCILER_SETTLEMENT_SOURCES": json.dumps(sources),
        "RECONCILER_SETTLEMENT_SPOOL": str(spool),
        "RECONCILER_SETTLEMENT_S": "2",
        "RECONCILER_SETTLEMENT_WORDS_S": "2",
    }


def forget_sandboxes(folder: Path) -> None:
    """Delete the books of the sandboxes and the files they delivered: they are about payments of an earlier mesh."""
    for name in (BOOKS, _SETTLEMENT):
        if (folder / name).exists():
            shutil.rmtree(folder / name)


async def register_psps(stores: Stores, psps: Sequence[str]) -> None:
    """Register the PSPs with what their adapters promise, to be asked as often as a sandbox may be.

    Raises:
        StoreMismatch: the stores do not belong together, or Redis has lost the mark of a PSP's slot.
        Transient, OutcomeUnknown: a store is out of reach.
    """
    async with open_stores(stores.settings()) as opened:
        for psp in psps:
            await register(opened, sandboxed(find_manifest(psp)), actor=actor(), settlement=find_layout(psp))


async def refuse_company(stores: Stores, psps: Sequence[str]) -> None:
    """Make sure that no other adapter serves the PSPs: its payments would be made up here, or ours be real.

    Raises:
        ServerFailed: one does.
    """
    async with open_stores(stores.settings()) as opened:
        for psp in psps:
            if await _served(opened.redis, psp):
                await asyncio.sleep(_SILENT_MS / 1000)  # unless it has just gone
                if await _served(opened.redis, psp):
                    raise ServerFailed(f"another adapter serves {psp} on that Redis; a sandbox must not join it")


async def _served(redis: Redis, psp: str) -> bool:
    try:
        consumers = await redis.xinfo_consumers(keys.jobs(psp), keys.ADAPTER_GROUP)
    except ResponseError:  # no stream or no group: nobody has ever read from it
        return False
    return any(consumer["idle"] < _SILENT_MS for consumer in consumers)


def sandboxed(manifest: Manifest) -> Manifest:
    """Return what is registered for a PSP whose sandbox it is."""
    return replace(manifest, poll=POLL)


def _plain(base: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that any program may need, and how ours are to behave."""
    env = {name: base[name] for name in _PASSED_ON if name in base}
    if "PAYMESH_LOG_LEVEL" in base:
        env["PAYMESH_LOG_LEVEL"] = base["PAYMESH_LOG_LEVEL"]
    return env | {"PAYMESH_ENVIRONMENT": base.get("PAYMESH_ENVIRONMENT", "development")}
