"""Allowances on both ledgers: what is used of one account by chains that race, repeat, hold and give back."""

import asyncio
import time

import pytest

from shared.ids import IntentId, intent_id
from shared.ledger.limits import LimitAccounts, id_of_limit, used_of
from shared.ledger.outcome import ChainOutcome
from shared.ledger.planned import closing_chain, first_chain, refused_limit, release_chain
from shared.ledger.port import Ledger
from shared.ledger.submit import Outcome, submit_chains
from shared.plans import Dispatch, Leg, LimitUse, Plan, PlanKind

_CODE = 101


class Allowance:
    """An allowance of its own for each test, and plans that use it."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.name = f"limit:user:ann:THB:day:amount:{time.time_ns():x}"
        self.serial = 0

    def intent(self) -> IntentId:
        """An intent of now."""
        self.serial += 1
        return intent_id(time.time_ns() // 1000, 0, self.serial * 7919 + time.time_ns())

    def plan(self, units: int, cap: int, kind: PlanKind = PlanKind.CREDIT) -> Plan:
        """A plan that asks a PSP first: its first chain has limits only."""
        legs = (Leg("psp:qp:THB", "transit:THB", units, _CODE), Leg("transit:THB", "user:ann:THB", units, _CODE))
        use = LimitUse("day", 1, "amount", self.name, units, cap, 0)
        return Plan("C", 1, 1, legs, kind, Dispatch("qp", "X", "R", units, "THB"), limits=(use,))

    async def reserve(self, units: int, cap: int) -> tuple[IntentId, Outcome]:
        """Reserve some of it."""
        intent = self.intent()
        (outcome,) = await submit_chains(self.ledger, [first_chain(intent, 1, self.plan(units, cap))])
        return intent, outcome

    async def used(self) -> tuple[int, int]:
        """What is used up, and what is reserved."""
        (account,) = await self.ledger.lookup_accounts([id_of_limit(self.name)])
        assert used_of(account) == account.debits_posted + account.debits_pending
        return account.debits_posted, account.debits_pending


@pytest.fixture
async def allowance(ledger: Ledger) -> Allowance:
    """One that stands and is funded."""
    made = Allowance(ledger)
    await LimitAccounts(ledger=ledger).ensure([made.name])
    return made


async def test_it_is_reserved_to_its_cap_and_refused_beyond_by_the_legs_of_its_limit(allowance: Allowance) -> None:
    """Sixty and forty of a hundred; the next unit breaks the chain, and leaves nothing behind."""
    for units in (60, 40):
        assert (await allowance.reserve(units, 100))[1].done
    _, refused = await allowance.reserve(1, 100)
    assert (refused.verdict.outcome, refused.verdict.code) == (ChainOutcome.DECLINED, "insufficient_funds")
    assert refused.verdict.leg is not None
    assert refused_limit(allowance.plan(1, 100), refused.verdict.leg) == 0
    assert await allowance.used() == (0, 100)


async def test_the_cap_is_that_of_each_plan(allowance: Allowance) -> None:
    """Raised and lowered without any new funding."""
    done = [(await allowance.reserve(units, cap))[1].done for units, cap in ((100, 100), (50, 150), (1, 150), (1, 120))]
    assert done == [True, True, False, False]
    assert await allowance.used() == (0, 150)


async def test_the_same_chain_again_uses_nothing_more(allowance: Allowance) -> None:
    """Confirmed leg by leg, its check included, which was given back at once."""
    intent, _ = await allowance.reserve(60, 100)
    (again,) = await submit_chains(allowance.ledger, [first_chain(intent, 1, allowance.plan(60, 100))])
    assert again.done
    assert await allowance.used() == (0, 60)


async def test_what_is_reserved_is_used_up_or_given_back_once(allowance: Allowance) -> None:
    """Posted for what was paid, whatever is left over is free; voided, all of it; each again, nothing more."""
    first, _ = await allowance.reserve(60, 100)
    second, _ = await allowance.reserve(40, 100)
    for _ in range(2):
        chains = [
            release_chain(first, 1, allowance.plan(60, 100), paid_minor=50, number=1),
            release_chain(second, 1, allowance.plan(40, 100), paid_minor=None, number=1),
        ]
        assert all(outcome.done for outcome in await submit_chains(allowance.ledger, chains))
    assert await allowance.used() == (50, 0)
    assert (await allowance.reserve(50, 100))[1].done


async def test_what_was_used_for_nothing_is_posted_as_nothing(allowance: Allowance) -> None:
    """A post of zero ends the reservation."""
    intent, _ = await allowance.reserve(60, 100)
    chain = release_chain(intent, 1, allowance.plan(60, 100), paid_minor=0, number=1)
    (outcome,) = await submit_chains(allowance.ledger, [chain])
    assert outcome.done
    assert await allowance.used() == (0, 0)


async def test_thirty_two_at_once_never_pass_the_cap(allowance: Allowance) -> None:
    """In one call, and in calls of their own."""
    answers = await asyncio.gather(*(allowance.reserve(45, 1000) for _ in range(32)))
    assert sum(outcome.done for _, outcome in answers) == 22
    assert await allowance.used() == (0, 990)


async def test_opening_and_funding_again_changes_nothing(allowance: Allowance) -> None:
    """By another process, which remembers nothing."""
    await allowance.reserve(60, 100)
    await LimitAccounts(ledger=allowance.ledger).ensure([allowance.name, allowance.name])
    assert await allowance.used() == (0, 60)


async def test_the_limits_of_a_hold_are_posted_with_its_money(allowance: Allowance) -> None:
    """The half of the chain that is theirs; the other half is held by the saga's own tests."""
    plan = allowance.plan(60, 100, PlanKind.HOLD)
    intent = allowance.intent()
    (outcome,) = await submit_chains(allowance.ledger, [first_chain(intent, 1, plan)[2:]])
    assert outcome.done
    post = closing_chain(intent, 1, plan, kind="post", amount_minor=60, number=1)[2:]
    (posted,) = await submit_chains(allowance.ledger, [post])
    assert posted.done
    assert await allowance.used() == (60, 0)
