"""Limits while orchestrators and servers are killed: no cap is passed by one unit, and none is left unused."""

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from ops.client import Client
from ops.invariants.run import check_invariants
from tests.chaos.havoc import moments, strike
from tests.chaos.load import adjust, pay
from tests.chaos.mesh import ORCHESTRATORS, Mesh
from tests.integration.orchestrator.ruled import limit
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="package")

AT_ONCE = 64
AMOUNT = 45
TAG = "capped"


async def test_a_cap_shared_by_sixty_four_is_reached_to_the_unit_whoever_is_killed(
    mesh: Mesh, rng: Random, tell: Callable[[object], None]
) -> None:
    """Then it is raised in the middle of the day, and reached to the unit again."""
    payer, payee = f"user:capped-{rng.randrange(10**9)}:THB", f"user:pays-{rng.randrange(10**9)}:THB"
    rule = f"day-{rng.randrange(10**9)}"
    for name in (payer, payee):
        assert (await mesh.client.open_account(name)).accepted
    await settle(mesh.client, adjust(payer, "CREDIT", 10**6), "fund")
    settled = 0
    for cap in (1000, 1500):
        await mesh.all_up()
        await put_in_force(mesh, rule, cap)
        ended = await under_fire(mesh, rng, payer, payee, str(cap))
        settled += ended["SETTLED"]
        assert settled == cap // AMOUNT, f"{ended} under a cap of {cap}"
        assert ended["SETTLED"] + ended["REJECTED"] == AT_ONCE
    await mesh.all_up()
    assert await until(lambda: balance_of(mesh.client, payee), "the payee's balance") == settled * AMOUNT
    report = await check_invariants(
        ledger=mesh.stores.ledger(), pool=mesh.stores.pool, redis=mesh.stores.redis,
        begin=lambda _title, _total: lambda _count: None,
    )  # fmt: skip
    assert [check.name for check in report.checks if not check.holds] == []
    assert not mesh.failures
    mesh.sound = True
    tell(f"killed {dict(mesh.kills)}; {settled} of {2 * AT_ONCE} settled")


async def under_fire(mesh: Mesh, rng: Random, payer: str, payee: str, key: str) -> Counter[str]:
    """Post all at once, and kill orchestrators and servers until they have been decided."""
    victims = [*ORCHESTRATORS, *ORCHESTRATORS, "postgres", *(["tigerbeetle"] if mesh.kind == "tigerbeetle" else [])]

    async def fire() -> None:
        async for victim in moments(victims, rng, shortest_s=0.05, longest_s=0.4):
            await strike(mesh, victim, rng)

    operation: dict[str, Any] = {**pay(payer, payee, AMOUNT), "metadata": {"tags": [TAG]}}
    answers, _ = await asyncio.gather(
        asyncio.gather(*(settle(mesh.client, operation, f"{key}-{number}") for number in range(AT_ONCE))), fire()
    )
    return Counter(answers)


async def settle(client: Client, operation: dict[str, Any], key: str) -> str:
    """Post until answered, and wait for the end; return the state."""
    user_id = operation["from_account"].split(":")[1] if "from_account" in operation else ""
    key = f"{operation.get('from_account', operation.get('account'))}-{key}"
    answer = await client.send_until_answered(operation, idempotency_key=key, user_id=user_id, timeout_s=150)
    assert answer.accepted, answer.document
    return str((await client.decided(answer.document["id"], timeout_s=150)).document["state"])


async def balance_of(client: Client, account: str) -> int | None:
    """Return what an account holds, in minor units, or None while nobody can say."""
    return (await client.balance(account)).document.get("balance_minor")


async def put_in_force(mesh: Mesh, rule: str, cap: int) -> None:
    """Change the rule, and wait until both orchestrators say that they plan by it."""
    logs = {name: mesh.child(name).log for name in ORCHESTRATORS}
    before = {name: log.stat().st_size for name, log in logs.items()}
    await limit(mesh.stores.pool, rule, "P2P_TRANSFER", "THB", tags=[TAG], daily_max_minor=cap)
    for name, log in logs.items():
        await until(lambda: b"rules_loaded" in log.read_bytes()[before[name] :], f"{name} to plan by it")  # noqa: B023
