"""One run: post every scenario at once, strike, let others decide, let the struck go on, and reckon."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

from shared.psp import FenceKind
from shared.states import TERMINAL, IntentState
from shared.streams import keys
from tests.matrix.intents import Posted, grant, open_account, payout, post, topup
from tests.matrix.reckoning import Reckoning, reckon
from tests.matrix.scenarios import Payout, Topup
from tests.matrix.stack import Adapter, Stack, Strike, end
from tests.waiting import pace, until

DECIDED_TIMEOUT_S: Final = 60.0
RECKONED_TIMEOUT_S: Final = 30.0
_AHEAD_MS: Final = 40_000
"""Beyond everything that a scenario puts off."""
_POLLS_AFTER: Final = 2
_OUTAGE_S: Final = 0.7
_PACE_S: Final = 0.2
_EXPIRY_MS: Final = 61_000
_STATES: Final = "SELECT id, state, next_action IS NOT NULL AS shown FROM pm.intent WHERE id = ANY ($1)"
_ABSENT: Final = {"state": "absent", "shown": False}


async def play(stack: Stack, payouts: Sequence[Payout], topups: Sequence[Topup], strike: Strike | None) -> Reckoning:
    """Play all scenarios on a stack, striking the first adapters; return the verdict."""
    posted = [payout(stack.ring, number, played) for number, played in enumerate(payouts, start=1)]
    posted += [topup(number, played) for number, played in enumerate(topups, start=1)]
    psps = [psp for psp, wanted in (("ipps", payouts), ("qp", topups)) if wanted]
    first = [stack.start_adapter(psp, 1 if strike else 2, strike) for psp in psps]
    await _fund(stack, posted)
    await until(lambda: all(adapter.ready for adapter in first), "the adapters", timeout_s=60)
    async with _payers(stack, posted):
        for one in posted:
            await post(stack.redis, one.intent, one.operation)
        await until(lambda: _planned(stack, posted), "plans", timeout_s=30)
        if strike is None:
            await _outage(stack)
        second: list[Adapter] = []
        if strike is not None:
            await until(lambda: all(adapter.struck for adapter in first), f"adapters struck: {strike}", timeout_s=30)
            second = [stack.start_adapter(psp, 2) for psp in psps]
            await until(lambda: all(adapter.ready for adapter in second), "other adapters", timeout_s=60)
            await _outage(stack)
            if strike.how == "nap":
                for adapter in first:
                    adapter.server.send(signal.SIGCONT)
        await _all_decided(stack, posted)
    if strike is not None:
        await asyncio.gather(*(_leave(adapter, strike) for adapter in first))
    verdict = await _reckoned(stack, posted)
    await asyncio.gather(*(_leave(adapter, None) for adapter in second or first))
    return verdict


async def _leave(adapter: Adapter, strike: Strike | None) -> None:
    """Let a struck adapter go on with what it was at, and end in the orderly way."""
    if strike is not None and strike.how == "kill":
        # Nobody but the step has ended it.
        assert adapter.server.exit_code == -signal.SIGKILL, adapter.server.log_tail()
        return
    await end([adapter.server])
    assert adapter.server.exit_code == 0, adapter.server.log_tail()


async def _planned(stack: Stack, posted: Sequence[Posted]) -> bool:
    """Say whether every intent is in the log, so that an outage refuses none of them."""
    rows = await stack.stores.pool.fetch(_STATES, [one.intent for one in posted])
    return len([row for row in rows if row["state"] != IntentState.VALIDATED]) == len(posted)


async def _outage(stack: Stack) -> None:
    """Put the PSPs out of order for a moment: nobody listens at the one, the other asks to come again later."""
    for psp, control in stack.control.items():
        if psp == "ipps":
            await control.begin_outage(seconds=_OUTAGE_S, mode="refuse")
        else:
            await control.begin_outage(seconds=_OUTAGE_S, mode="unavailable", retry_after_s=1)


async def _fund(stack: Stack, posted: Sequence[Posted]) -> None:
    for one in posted:
        await open_account(stack.redis, one.wallet)
    names = [one.wallet for one in posted]

    async def opened() -> bool:
        known = "SELECT count(*) FROM pm.tb_account_map WHERE name = ANY ($1)"
        return bool(await stack.stores.pool.fetchval(known, names) == len(names))

    await until(opened, "open wallets", timeout_s=30)
    grants = [grant(one.wallet) for one in posted]
    for intent, operation in grants:
        await post(stack.redis, intent, operation)
    settled = "SELECT count(*) FROM pm.intent WHERE state = 'SETTLED'"

    async def funded() -> bool:
        return bool(await stack.stores.pool.fetchval(settled) == len(grants))

    await until(funded, "funded wallets", timeout_s=30)


@asynccontextmanager
async def _payers(stack: Stack, posted: Sequence[Posted]) -> AsyncIterator[None]:
    """Have payers come by as soon as there is a code for them."""
    waiting = [
        asyncio.create_task(_pay(stack, one, one.played.pays))
        for one in posted
        if isinstance(one.played, Topup) and one.played.pays
    ]
    try:
        yield
        await asyncio.gather(*waiting)
    finally:
        for task in waiting:
            task.cancel()


async def _pay(stack: Stack, one: Posted, pays: Sequence[dict[str, object]]) -> None:
    async def code() -> str | None:
        reference = await stack.stores.pool.fetchval(
            "SELECT reference FROM pm.psp_reference WHERE intent_id = $1", one.intent
        )
        if reference is None or not (await stack.control["qp"].books(reference))["qrs"]:
            return None
        return str(reference)

    order = await until(code, f"a code for {one.name}", timeout_s=DECIDED_TIMEOUT_S)
    for wish in pays:
        await stack.control["qp"].call("POST", "/control/pay", {"order": order, **wish})


async def _all_decided(stack: Stack, posted: Sequence[Posted]) -> None:
    """Wait until every intent is terminal, or in doubt where the fence leaves it there.

    Time passes at QP for codes that nobody pays, once nothing else is left.
    """
    final = {*TERMINAL} | ({IntentState.IN_DOUBT} if stack.fence is FenceKind.NONE else set())
    expired: set[UUID] = set()

    async def left() -> list[str]:
        rows = await stack.stores.pool.fetch(_STATES, [one.intent for one in posted])
        known = {row["id"]: row for row in rows}
        undecided = [one for one in posted if one.intent not in known or known[one.intent]["state"] not in final]
        shown = {one.intent for one in undecided if _ends_by_time(one) and known.get(one.intent, _ABSENT)["shown"]}
        if len(shown) == len(undecided) and shown - expired:
            expired.update(shown)
            await stack.control["qp"].advance(_EXPIRY_MS)
        return [f"{one.name}: {known.get(one.intent, _ABSENT)['state']}" for one in undecided]

    async def decided() -> bool:
        return not await left()

    try:
        await until(decided, "a decision about every intent", timeout_s=DECIDED_TIMEOUT_S)
    except AssertionError as error:
        raise AssertionError(f"{error}: {await left()}") from None


def _ends_by_time(one: Posted) -> bool:
    return isinstance(one.played, Topup) and one.played.ttl_s is not None


async def _reckoned(stack: Stack, posted: Sequence[Posted]) -> Reckoning:
    """Let everything happen that is still to come, and reckon until the books agree or time is up."""
    for control in stack.control.values():
        await control.advance(_AHEAD_MS)
    await until(lambda: _quiet(stack), "quiet sandboxes and streams", timeout_s=RECKONED_TIMEOUT_S)
    await _asked_again(stack)
    deadline = asyncio.get_running_loop().time() + RECKONED_TIMEOUT_S
    while True:
        verdict = await reckon(stack, posted)
        if not verdict.all_faults and await _quiet(stack):
            return verdict
        if asyncio.get_running_loop().time() > deadline:
            return verdict
        await pace(_PACE_S)


async def _quiet(stack: Stack) -> bool:
    """Say whether nothing is under way: no call, no callback, no result that nobody has read."""
    for psp, control in stack.control.items():
        if any(call["outcome"] is None for call in await control.calls()):
            return False
        if any(callback["state"] == "waiting" for callback in await control.callbacks()):
            return False
        if await stack.redis.xlen(keys.results(psp)):
            return False
    return True


async def _asked_again(stack: Stack) -> None:
    """Wait until whatever is in doubt has been asked about anew."""
    query = "SELECT id, polls FROM pm.intent WHERE state = 'IN_DOUBT'"
    before: dict[Any, int] = {row["id"]: row["polls"] for row in await stack.stores.pool.fetch(query)}

    async def asked() -> bool:
        now = {row["id"]: row["polls"] for row in await stack.stores.pool.fetch(query)}
        return all(polls >= before[intent] + _POLLS_AFTER for intent, polls in now.items() if intent in before)

    await until(asked, "new answers about what is in doubt", timeout_s=RECKONED_TIMEOUT_S)
