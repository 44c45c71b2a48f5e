"""Runs an embedded stack until it is ended, as a process of its own: the one that tests kill.

It prints one JSON line once the stack is up. Usage: ``python -m tests.integration.ops.hold_stack FOLDER [PLAN JSON]``.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from ops.embedded.services import Stores
from ops.embedded.stack import StackPlan, running_stack
from ops.install import install


async def hold(plan: StackPlan) -> None:
    """Run the stack until cancelled."""

    async def prepare(stores: Stores) -> None:
        if plan.gateways:
            await install(stores.settings())

    async with running_stack(plan, prepare=prepare, say=lambda _: None) as stack:
        pids = {child.name: child.pid for child in (*stack.servers, *stack.services)}
        sys.stdout.write(json.dumps({"url": stack.url, "pids": pids, "environ": stack.stores.environ({})}) + "\n")
        sys.stdout.flush()
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asked = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    settings = {"ledger": "postgres", "gateways": 0, "orchestrators": 0, "reconcilers": 0, "fsync": False, **asked}
    asyncio.run(hold(StackPlan(folder=Path(sys.argv[1]), environ=dict(os.environ), **settings)))
