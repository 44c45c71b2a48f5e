"""Withdrawals by the thousand over HTTP, as a client posts them that takes no for an answer.

What the mesh as a whole is too busy for is posted again, as it says; what it refuses for the PSP's sake is left at
that, so that it can be counted. Every withdrawal has an amount of its own, by which the PSP's books are read.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.http_connection import Answer, Connection, connect
from ops.client import signed_headers
from ops.keys import NewSecret
from tests.waiting import pace

CURRENCY: Final = "THB"
_TARGET: Final = "/v1/intents"
_AMOUNT_MIN: Final = 100
_ACCEPTED: Final = 202
_UNAVAILABLE: Final = 503


@dataclass(frozen=True, slots=True)
class Door:
    """Where to post, and by whose leave."""

    host: str
    port: int
    key: NewSecret
    wallets: Sequence[str]
    """Who pays, in turn."""


@dataclass(slots=True)
class Posted:
    """What became of every withdrawal at the door, by its number."""

    accepted: dict[int, str] = field(default_factory=dict)
    """Intent ids."""
    refused: list[int] = field(default_factory=list)
    """Turned away with 503 for the PSP's sake, and told when to come again."""
    busy: int = 0
    """How often the mesh was too busy; those were posted again."""


def amount_of(number: int) -> int:
    """Return a withdrawal's amount, which no other has."""
    return _AMOUNT_MIN + number


async def post_all(door: Door, numbers: Iterable[int], *, clients: int, per_s: float, more_minor: int = 0) -> Posted:
    """Post these withdrawals, each by the next client that is free.

    Args:
        door: where.
        numbers: which.
        clients: how many at once.
        per_s: how many a second, at most.
        more_minor: added to every amount, which makes it another request under the same key.
    """
    began = time.monotonic()
    posted, waiting = Posted(), ((began + turn / per_s, number) for turn, number in enumerate(numbers))
    connections = [await connect(door.host, door.port) for _ in range(clients)]
    try:
        async with asyncio.TaskGroup() as tasks:
            for connection in connections:
                tasks.create_task(_client(connection, door, waiting, posted, more_minor))
    finally:
        for connection in connections:
            connection.close()
    return posted


async def _client(
    connection: Connection, door: Door, waiting: Iterator[tuple[float, int]], posted: Posted, more_minor: int
) -> None:
    for due, number in waiting:
        await pace(max(0.0, due - time.monotonic()))
        while not _taken(await connection.ask(_request(door, number, more_minor)), number, posted):
            posted.busy += 1
            await pace(1.0)


def _taken(answer: Answer, number: int, posted: Posted) -> bool:
    """Note an answer; False where the same request is to be made again."""
    document = json.loads(answer.body)
    if answer.status == _ACCEPTED:
        posted.accepted[number] = document["id"]
        return True
    assert answer.status == _UNAVAILABLE, f"{answer.status} {document}"
    assert answer.retry_after_s >= 1, f"a refusal that does not say for how long: {document}"
    if document["code"] == "psp_unavailable":
        posted.refused.append(number)
        return True
    assert document["code"] == "busy", document
    return False


def _request(door: Door, number: int, more_minor: int) -> bytes:
    wallet = door.wallets[number % len(door.wallets)]
    operation = {
        "operation_type": "IPPS_WITHDRAWAL",
        "from_account": wallet,
        "amount_minor": amount_of(number) + more_minor,
        "currency": CURRENCY,
        "proxy_type": "MOBILE",
        "proxy": f"08{number:08d}",
    }
    body = json.dumps(operation).encode()
    headers = signed_headers(
        key=door.key.key,
        secret=door.key.secret,
        method="POST",
        target=_TARGET,
        body=body,
        timestamp=str(int(time.time())),
        idempotency_key=f"withdrawal-{number}",
        user_id=wallet.split(":")[1],
    )
    lines = [f"POST {_TARGET} HTTP/1.1", f"Host: {door.host}:{door.port}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
