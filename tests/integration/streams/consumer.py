"""A worker as a process of its own, for tests that kill, stop and crash it.

Usage: ``python -m tests.integration.streams.consumer <url> <consumer> <mode>``. Modes: ``plain`` finishes everything;
``stall`` touches the key ``stalled`` when its handler is first called and answers once the key ``go`` exists. An
entry whose body is ``exit`` ends the process where it stands. On leaving it prints what its metrics counted as lost.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence

from redis.asyncio import Redis

from shared.streams.client import connect
from shared.streams.metrics import StreamMetrics
from shared.streams.worker import Entry, Verdict, Worker, WorkerClients
from tests.integration.streams.crew import QUICK, finished
from tests.integration.streams.scene import GROUP, STREAM

EXIT_CODE = 9


async def handle(client: Redis, mode: str, entries: Sequence[Entry]) -> list[Verdict]:
    """Judge a batch as the mode says."""
    if any(entry.fields[b"body"] == b"exit" for entry in entries):
        os._exit(EXIT_CODE)
    if mode == "stall":
        await client.set("stalled", len(entries))
        # A key to wait on: another process says when.
        while not await client.exists("go"):
            await client.blpop(["nothing"], timeout=0.05)
    return [finished(entry) for entry in entries]


async def main(url: str, consumer: str, mode: str) -> None:
    """Consume until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    clients, client, metrics = WorkerClients.open(url), connect(url), StreamMetrics()
    worker = Worker(
        clients=clients,
        stream=STREAM,
        group=GROUP,
        consumer=consumer,
        handler=lambda entries: handle(client, mode, entries),
        settings=QUICK,
        metrics=metrics,
    )
    await worker.run(stop)
    await clients.aclose()
    await client.aclose()
    lost = {
        sample.labels["step"]: sample.value
        for family in metrics.lost.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    sys.stdout.write(json.dumps({"lost": lost}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
