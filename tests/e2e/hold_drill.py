"""Runs the mesh of the on-call drill until it is ended, as a process of its own: what dies in it is started again.

It prints one JSON line once the mesh is up. Times are short, so that nobody waits for a breaker or a lease; the PSP
promises no fence, so that doubts stay for people. Usage: ``python -m tests.e2e.hold_drill FOLDER``.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from adapters.ipps.manifest import Terms, manifest_of
from ops.embedded.services import Stores
from ops.embedded.stack import Stack, StackPlan, running_stack
from ops.install import install
from ops.keys import NewSecret, create_key
from ops.psps import register
from ops.stores import open_stores
from shared.psp import FenceKind, PollSchedule

_SHORT: Final = {
    "ORCHESTRATOR_RECLAIM_IDLE_MS": "6000",
    # People put back what is dead here: nobody else does within the hour.
    "RECONCILER_REDRIVE_FIRST_S": "3600",
}
_ADAPTER: Final = {
    "ADAPTER_SUBMIT_FENCE": "none",
    "ADAPTER_CALL_TIMEOUT_S": "0.5",
    "ADAPTER_BREAKER_OPEN_MS_MIN": "3000",
    "ADAPTER_BREAKER_OPEN_MS_MAX": "3000",
    "ADAPTER_RETRY_FIRST_MS": "200",
    "ADAPTER_RETRY_MAX_MS": "500",
}
_SANDBOX: Final = {"SANDBOX_SUBMIT_FENCE": "none"}
_POLL: Final = PollSchedule(first_s=1, factor=1.0, max_s=1)
_PERMISSIONS: Final = {
    "operations": ["P2P_TRANSFER", "ADJUSTMENT", "IPPS_WITHDRAWAL"],
    "accounts": ["user:*"],
    "open_accounts": True,
    "adjustment": {"max_minor": 1_000_000_000, "alone_max_minor": 1_000_000_000},
}


async def hold(folder: Path) -> None:
    """Run the mesh until cancelled."""
    keys: list[NewSecret] = []

    async def prepare(stores: Stores) -> None:
        settings = stores.settings()
        await install(settings, partitions=1, embedded="test")
        async with open_stores(settings) as opened:
            ring = settings.keyring()
            keys.append(
                await create_key(opened.pool, ring, key="drill", owner="test", permissions=_PERMISSIONS, actor="test")
            )

    plan = StackPlan(
        folder=folder,
        environ={**os.environ, **_SHORT},
        ledger="postgres",
        gateways=1,
        orchestrators=2,
        psps=("ipps",),
    )
    async with running_stack(plan, prepare=prepare, say=lambda _: None) as stack:
        await _agree_on_no_fence(stack)
        told = {"url": stack.url, "key": keys[0].key, "secret": keys[0].secret, "ipps": stack.psp("ipps").control_url}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await asyncio.Event().wait()


async def _agree_on_no_fence(stack: Stack) -> None:
    """Agree with the sandbox on terms without a fence, and tell everybody."""
    async with open_stores(stack.stores.settings()) as stores:
        manifest = replace(manifest_of(Terms(submit_fence=FenceKind.NONE)), poll=_POLL)
        await register(stores, manifest, actor="test")
    _restart(stack, "sandbox-ipps", _SANDBOX)
    _restart(stack, "adapter-ipps", _ADAPTER)


def _restart(stack: Stack, name: str, more: Mapping[str, str]) -> None:
    child = stack.child(name)
    child.stop()
    child.env = {**(child.env or {}), **more}
    child.start()


if __name__ == "__main__":
    asyncio.run(hold(Path(sys.argv[1])))
