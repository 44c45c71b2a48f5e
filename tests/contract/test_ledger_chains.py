"""Chains on both ledgers: together or not at all, once however often they are sent, and burned for good."""

import asyncio
import secrets
import time
from dataclasses import replace

import pytest
import tigerbeetle as tb

from shared.accounts import parse_account
from shared.errors import InvariantViolation
from shared.ids import IntentId, Phase, intent_id
from shared.ledger.accounts import ledger_account
from shared.ledger.chain import build_chain, build_post, build_void
from shared.ledger.codes import LegCode
from shared.ledger.outcome import ChainOutcome
from shared.ledger.port import Ledger
from shared.ledger.submit import burn_attempt, submit_chains
from shared.plans import Leg
from tests.contract.books import AMOUNT_MAX, CREATED, FAILED, A, Books, F, Status, linked, values


@pytest.fixture
async def books(ledger: Ledger) -> Books:
    """Account 1 may not overdraw and holds 100; 2 and 3 are plain."""
    books = Books(ledger)
    await books.open(
        books.account(1, flags=A.DEBITS_MUST_NOT_EXCEED_CREDITS),
        books.account(2),
        books.account(3),
    )
    await books.sure(books.transfer(1000, 2, 1, 100))
    return books


def _three(books: Books, first: int, amount: int) -> list[tb.Transfer]:
    """1 → 2 → 3, and 1 → 3 for a fee."""
    return linked(
        [
            books.transfer(first, 1, 2, amount),
            books.transfer(first + 1, 2, 3, amount),
            books.transfer(first + 2, 1, 3, 1),
        ]
    )


class TestSentAgain:
    """What a chain answers the first time, and what it answers when it is sent again."""

    async def test_a_chain_that_was_made(self, books: Books) -> None:
        """EXISTS on the first leg, and the others fail for its sake."""
        chain = _three(books, 10, 20)
        assert await books.send(*chain) == [CREATED] * 3
        assert await books.send(*chain) == [Status.EXISTS, FAILED, FAILED]
        assert await books.balance(1) == (0, 21, 0, 100)

    async def test_a_chain_whose_payer_is_short(self, books: Books) -> None:
        """The leg that was refused is spent; nothing moved."""
        chain = _three(books, 10, 200)
        assert await books.send(*chain) == [Status.EXCEEDS_CREDITS, FAILED, FAILED]
        assert await books.send(*chain) == [Status.ID_ALREADY_FAILED, FAILED, FAILED]
        assert await books.balance(2) == (0, 100, 0, 0)

    async def test_a_chain_whose_last_leg_is_refused(self, books: Books) -> None:
        """The legs before it are taken back, and only its own id is spent."""
        chain = _three(books, 10, 100)
        assert await books.send(*chain) == [FAILED, FAILED, Status.EXCEEDS_CREDITS]
        assert await books.send(*chain) == [FAILED, FAILED, Status.ID_ALREADY_FAILED]
        assert await books.found(10, 11, 12) == []
        assert await books.send(replace(chain[0], flags=F.NONE)) == [CREATED]

    async def test_a_hold_its_post_and_its_void(self, books: Books) -> None:
        """Each phase is known again; a void after the post is told so."""
        hold = linked([books.hold(10, 1, 2, 30), books.hold(11, 2, 3, 30), books.hold(12, 1, 3, 1)])
        assert await books.send(*hold) == [CREATED] * 3
        assert await books.send(*hold) == [Status.EXISTS, FAILED, FAILED]
        assert await books.balance(1) == (31, 0, 0, 100)
        post = linked([books.post(20, 10), books.post(21, 11), books.post(22, 12)])
        assert await books.send(*post) == [CREATED] * 3
        assert await books.send(*post) == [Status.EXISTS, FAILED, FAILED]
        assert await books.balance(1) == (0, 31, 0, 100)
        void = linked([books.void(30, 10), books.void(31, 11)])
        assert await books.send(*void) == [Status.PENDING_TRANSFER_ALREADY_POSTED, FAILED]
        assert await books.send(*void) == [Status.PENDING_TRANSFER_ALREADY_POSTED, FAILED]

    async def test_a_void_and_a_post_after_it(self, books: Books) -> None:
        """The hold is given back whole, and a post is told so."""
        await books.sure(*linked([books.hold(10, 1, 2, 30), books.hold(11, 2, 3, 30)]))
        void = linked([books.void(20, 10), books.void(21, 11)])
        assert await books.send(*void) == [CREATED] * 2
        assert await books.send(*void) == [Status.EXISTS, FAILED]
        assert await books.balance(1) == (0, 0, 0, 100)
        post = linked([books.post(30, 10), books.post(31, 11)])
        assert await books.send(*post) == [Status.PENDING_TRANSFER_ALREADY_VOIDED, FAILED]

    async def test_a_chain_sent_twice_in_one_call(self, books: Books) -> None:
        """The second copy meets the first."""
        chain = _three(books, 10, 20)
        assert await books.send(*chain, *chain) == [CREATED] * 3 + [Status.EXISTS, FAILED, FAILED]

    async def test_the_time_of_what_exists_is_the_time_it_was_made(self, books: Books) -> None:
        """Every other answer has a time of its own, later than all before it."""
        (first,) = await books.ledger.create_transfers([books.transfer(10)])
        (again, refused, later) = await books.ledger.create_transfers(
            [books.transfer(10), books.transfer(11, 1, 1), books.transfer(12)]
        )
        assert values([again, refused, later]) == [Status.EXISTS, Status.ACCOUNTS_MUST_BE_DIFFERENT, CREATED]
        assert again.timestamp == first.timestamp < refused.timestamp < later.timestamp
        (found,) = await books.ledger.lookup_transfers([books.id(12)])
        assert found.timestamp == later.timestamp


class TestWithinOneCall:
    """What a broken chain did is undone before the next event of the same call is looked at."""

    async def test_an_account_that_a_broken_chain_used_twice(self, books: Books) -> None:
        """Both changes are taken back, the later one first."""
        broken = linked([books.transfer(10, 1, 2, 30), books.transfer(11, 1, 2, 40), books.transfer(12, 1, 1)])
        assert await books.send(*broken, books.transfer(13, 1, 2, 100)) == [
            *(FAILED, FAILED, Status.ACCOUNTS_MUST_BE_DIFFERENT),
            CREATED,
        ]
        assert await books.balance(1) == (0, 100, 0, 100)

    async def test_an_id_that_a_broken_chain_gave_back(self, books: Books) -> None:
        """It was never used, and stands in the books once."""
        broken = linked([books.transfer(10), books.transfer(11, 1, 1)])
        assert await books.send(*broken, books.transfer(10), books.transfer(10)) == [
            *(FAILED, Status.ACCOUNTS_MUST_BE_DIFFERENT),
            *(CREATED, Status.EXISTS),
        ]
        assert await books.found(10, 11) == [10]

    async def test_an_id_that_a_refusal_spent(self, books: Books) -> None:
        """Spent at once, within its chain or without, and for the rest of the chain's life."""
        broken = linked([books.transfer(10), books.transfer(11, 1, 2, 500)])
        short = books.transfer(12, 1, 2, 500)
        assert await books.send(*broken, replace(broken[1], amount=1), short, replace(short, amount=1)) == [
            *(FAILED, Status.EXCEEDS_CREDITS, Status.ID_ALREADY_FAILED),
            *(Status.EXCEEDS_CREDITS, Status.ID_ALREADY_FAILED),
        ]

    async def test_a_hold_that_a_broken_chain_resolved(self, books: Books) -> None:
        """It is pending again, and can be posted or voided once."""
        await books.sure(books.hold(10, 1, 2, 30))
        broken = linked([books.void(20, 10), books.transfer(21, 1, 1)])
        assert await books.send(*broken, books.post(22, 10), books.void(23, 10)) == [
            *(FAILED, Status.ACCOUNTS_MUST_BE_DIFFERENT),
            *(CREATED, Status.PENDING_TRANSFER_ALREADY_POSTED),
        ]

    async def test_an_account_that_a_broken_chain_closed(self, books: Books) -> None:
        """It is open to the next event."""
        broken = linked([books.hold(10, 1, 3, 0, flags=F.CLOSING_DEBIT), books.transfer(11, 1, 2)])
        assert await books.send(*broken, books.transfer(12, 1, 2)) == [
            *(FAILED, Status.DEBIT_ACCOUNT_ALREADY_CLOSED),
            CREATED,
        ]


class TestTwoPhases:
    """Holds, and what becomes of them."""

    async def test_a_post_of_less_releases_the_rest(self, books: Books) -> None:
        """The amount is the stored one, the remainder goes back."""
        await books.sure(books.hold(10, 1, 2, 30))
        await books.sure(books.post(11, 10, 12))
        assert await books.balance(1) == (0, 12, 0, 100)
        assert await books.balance(2) == (0, 100, 0, 12)
        (posted,) = await books.ledger.lookup_transfers([books.id(11)])
        assert posted.amount == 12

    async def test_a_post_of_nothing_moves_nothing_and_ends_the_hold(self, books: Books) -> None:
        """Zero is an amount, not a default."""
        await books.sure(books.hold(10, 1, 2, 30))
        await books.sure(books.post(11, 10, 0))
        assert await books.balance(1) == (0, 0, 0, 100)
        assert await books.send(books.post(12, 10)) == [Status.PENDING_TRANSFER_ALREADY_POSTED]

    async def test_a_post_of_everything_may_be_said_without_knowing_the_amount(self, books: Books) -> None:
        """The largest amount stands for all of it; the books show what it was."""
        await books.sure(books.hold(10, 1, 2, 30))
        await books.sure(books.post(11, 10, AMOUNT_MAX))
        (posted,) = await books.ledger.lookup_transfers([books.id(11)])
        assert posted.amount == 30
        assert await books.balance(1) == (0, 30, 0, 100)

    async def test_a_post_takes_from_the_hold_what_it_leaves_out(self, books: Books) -> None:
        """Accounts, ledger, code and user data, unless it brings user data of its own."""
        await books.sure(books.hold(10, 1, 2, 30, code=9, user_data_128=1, user_data_64=2, user_data_32=3))
        await books.sure(books.post(11, 10, user_data_64=7))
        (posted,) = await books.ledger.lookup_transfers([books.id(11)])
        assert (posted.debit_account_id, posted.credit_account_id) == (books.id(1), books.id(2))
        assert (posted.ledger, posted.code) == (1, 9)
        assert (posted.user_data_128, posted.user_data_64, posted.user_data_32) == (1, 7, 3)

    async def test_what_is_held_cannot_be_spent_and_what_is_promised_cannot_either(self, books: Books) -> None:
        """A hold counts against the payer at once, and for the payee only when it is posted."""
        await books.sure(books.hold(10, 1, 2, 60))
        assert await books.send(books.transfer(11, 1, 2, 41)) == [Status.EXCEEDS_CREDITS]
        await books.sure(books.hold(12, 2, 1, 500))
        assert await books.send(books.transfer(13, 1, 2, 41)) == [Status.EXCEEDS_CREDITS]
        await books.sure(books.transfer(14, 1, 2, 40))

    async def test_hold_post_and_void_within_one_chain(self, books: Books) -> None:
        """A limit is tested by holding and giving back within the chain that moves the money."""
        chain = linked([books.transfer(10, 1, 2, 60), books.hold(11, 1, 3, 40), books.void(12, 11)])
        assert await books.send(*chain) == [CREATED] * 3
        assert await books.balance(1) == (0, 60, 0, 100)
        over = linked([books.transfer(20, 1, 2, 1), books.hold(21, 1, 3, 40), books.void(22, 21)])
        assert await books.send(*over) == [FAILED, Status.EXCEEDS_CREDITS, FAILED]
        assert await books.balance(1) == (0, 60, 0, 100)
        assert await books.send(*linked([books.hold(30, 2, 3), books.post(31, 30, 4)])) == [CREATED] * 2

    async def test_a_broken_chain_gives_its_resolutions_back(self, books: Books) -> None:
        """The hold is pending again, and can be posted."""
        await books.sure(books.hold(10, 1, 2, 30))
        broken = linked([books.post(20, 10, 10), books.transfer(21, 1, 1)])
        assert await books.send(*broken) == [FAILED, Status.ACCOUNTS_MUST_BE_DIFFERENT]
        assert await books.balance(1) == (30, 0, 0, 100)
        await books.sure(books.post(22, 10))

    async def test_a_closed_account_takes_nothing_but_its_holds_back(self, books: Books) -> None:
        """Voids work, posts and movements do not; voiding what closed it opens it again."""
        await books.sure(books.hold(10, 1, 2, 30), books.hold(11, 1, 2, 20))
        await books.sure(books.hold(12, 1, 3, 0, flags=F.CLOSING_DEBIT))
        assert A.CLOSED in await books.flags(1)
        assert await books.send(books.transfer(13, 1, 2), books.transfer(14, 2, 1), books.post(15, 10)) == [
            Status.DEBIT_ACCOUNT_ALREADY_CLOSED,
            Status.CREDIT_ACCOUNT_ALREADY_CLOSED,
            Status.DEBIT_ACCOUNT_ALREADY_CLOSED,
        ]
        await books.sure(books.void(16, 11))
        assert await books.balance(1) == (30, 0, 0, 100)
        await books.sure(books.void(17, 12))
        assert A.CLOSED not in await books.flags(1)
        await books.sure(books.post(18, 10))

    async def test_a_balancing_transfer_moves_no_more_than_there_is(self, books: Books) -> None:
        """The stored amount is what moved; sent again with a larger bound it is the same transfer."""
        await books.sure(books.transfer(10, 1, 2, 250, flags=F.BALANCING_DEBIT))
        assert await books.balance(1) == (0, 100, 0, 100)
        (moved,) = await books.ledger.lookup_transfers([books.id(10)])
        assert moved.amount == 100
        assert await books.send(
            books.transfer(10, 1, 2, 300, flags=F.BALANCING_DEBIT),
            books.transfer(10, 1, 2, 99, flags=F.BALANCING_DEBIT),
        ) == [Status.EXISTS, Status.EXISTS_WITH_DIFFERENT_AMOUNT]
        await books.sure(books.transfer(11, 3, 2, AMOUNT_MAX, flags=F.BALANCING_CREDIT))
        assert await books.balance(2) == (0, 100, 0, 100)

    async def test_a_balancing_transfer_leaves_what_is_held_alone(self, books: Books) -> None:
        """Held money counts as spent on either side."""
        await books.sure(books.hold(10, 1, 2, 30), books.transfer(11, 1, 3, AMOUNT_MAX, flags=F.BALANCING_DEBIT))
        assert await books.balance(1) == (30, 70, 0, 100)
        await books.sure(books.transfer(12, 3, 2, AMOUNT_MAX, flags=F.BALANCING_CREDIT))
        assert await books.balance(2) == (0, 100, 30, 70)


def _intent() -> IntentId:
    return intent_id(time.time_ns() // 1000, 3, secrets.randbits(38))


class Wallets:
    """A payer and a payee nobody else has, and how a payment between them is planned."""

    def __init__(self, ledger: Ledger) -> None:
        suffix = secrets.token_hex(8)
        self.ledger = ledger
        self.payer, self.payee = f"user:payer-{suffix}:THB", f"user:payee-{suffix}:THB"
        self.equity, self.transit = f"fee:{suffix}:THB", f"suspense:{suffix}:THB"

    async def open(self, funds: int) -> None:
        """Open both and give the payer funds."""
        names = (self.payer, self.payee, self.equity, self.transit)
        results = await self.ledger.create_accounts([ledger_account(parse_account(name)) for name in names])
        assert {result.status for result in results} == {tb.CreateAccountStatus.CREATED}
        grant = Leg(self.equity, self.payer, funds, LegCode.ADJUSTMENT_GIVE)
        (outcome,) = await submit_chains(self.ledger, [build_chain(_intent(), 1, Phase.MOVE, [grant])])
        assert outcome.done

    def payment(self, intent: IntentId, amount: int, *, attempt: int = 1, pending: bool = False) -> list[tb.Transfer]:
        """Plan a payment."""
        legs = [
            Leg(self.payer, self.transit, amount, LegCode.P2P_PAY),
            Leg(self.transit, self.payee, amount, LegCode.P2P_RECEIVE),
        ]
        return build_chain(intent, attempt, Phase.MOVE, legs, pending=pending)

    async def balances(self) -> tuple[int, int, int]:
        """Return what payer, transit and payee have."""
        ids = [parse_account(name).id for name in (self.payer, self.transit, self.payee)]
        payer, transit, payee = (
            account.credits_posted - account.debits_posted for account in await self.ledger.lookup_accounts(ids)
        )
        return payer, transit, payee


@pytest.fixture
async def wallets(ledger: Ledger) -> Wallets:
    """A payer with 100 and a payee with nothing."""
    wallets = Wallets(ledger)
    await wallets.open(100)
    return wallets


class TestSubmission:
    """`submit_chains` and `burn_attempt` against real books."""

    async def test_a_payment_sent_again_is_done_at_the_same_time_as_before(self, wallets: Wallets) -> None:
        """Done means done, however often it is asked, and the second answer is confirmed by a look-up."""
        chain = wallets.payment(_intent(), 40)
        (first,) = await submit_chains(wallets.ledger, [chain])
        (again,) = await submit_chains(wallets.ledger, [chain])
        assert first == again
        assert first.done
        assert await wallets.balances() == (60, 0, 40)

    async def test_thirty_two_submitters_of_one_payment_move_its_money_once(self, wallets: Wallets) -> None:
        """Whoever comes second, third or last finds it done."""
        chain = wallets.payment(_intent(), 40)
        outcomes = await asyncio.gather(*(submit_chains(wallets.ledger, [chain]) for _ in range(32)))
        assert {outcome.verdict.outcome for (outcome,) in outcomes} == {ChainOutcome.DONE}
        assert len({outcome.timestamp_ns for (outcome,) in outcomes}) == 1
        assert await wallets.balances() == (60, 0, 40)

    async def test_payments_that_race_for_the_same_funds_never_overdraw(self, wallets: Wallets) -> None:
        """Of twenty payments of 30 out of 100, three are done and the others declined; again says the same."""
        chains = [wallets.payment(_intent(), 30) for _ in range(20)]
        outcomes = [
            outcome for (outcome,) in await asyncio.gather(*(submit_chains(wallets.ledger, [c]) for c in chains))
        ]
        assert sorted(outcome.verdict.outcome for outcome in outcomes) == ["declined"] * 17 + ["done"] * 3
        assert {o.verdict.code for o in outcomes if not o.done} == {"insufficient_funds"}
        again = await submit_chains(wallets.ledger, chains)
        assert [outcome.done for outcome in again] == [outcome.done for outcome in outcomes]
        assert {o.verdict.code for o in again if not o.done} == {"attempt_burned"}
        assert await wallets.balances() == (10, 0, 90)

    async def test_a_mixed_batch_is_answered_chain_by_chain(self, wallets: Wallets) -> None:
        """Known, new, unfunded and unknown, all in one request."""
        known = wallets.payment(_intent(), 10)
        await submit_chains(wallets.ledger, [known])
        stranger = build_chain(_intent(), 1, Phase.MOVE, [Leg("user:nobody-here:THB", wallets.transit, 1, 101)])
        outcomes = await submit_chains(
            wallets.ledger, [known, wallets.payment(_intent(), 20), wallets.payment(_intent(), 1000), stranger]
        )
        assert [(outcome.verdict.outcome, outcome.verdict.code) for outcome in outcomes] == [
            (ChainOutcome.DONE, None),
            (ChainOutcome.DONE, None),
            (ChainOutcome.DECLINED, "insufficient_funds"),
            (ChainOutcome.DECLINED, "unknown_account"),
        ]
        assert outcomes[3].verdict.leg == 0
        assert await wallets.balances() == (70, 0, 30)

    async def test_a_declined_attempt_stays_declined_when_funds_arrive(self, wallets: Wallets) -> None:
        """A late copy of it must not move money; the next attempt may."""
        intent = _intent()
        chain = wallets.payment(intent, 150)
        (declined,) = await submit_chains(wallets.ledger, [chain])
        assert declined.verdict.outcome is ChainOutcome.DECLINED
        grant = build_chain(_intent(), 1, Phase.MOVE, [Leg(wallets.equity, wallets.payer, 100, 202)])
        await submit_chains(wallets.ledger, [grant])
        (late,) = await submit_chains(wallets.ledger, [chain])
        assert (late.verdict.outcome, late.verdict.code) == (ChainOutcome.DECLINED, "attempt_burned")
        (second,) = await submit_chains(wallets.ledger, [wallets.payment(intent, 150, attempt=2)])
        assert second.done
        assert await wallets.balances() == (50, 0, 150)

    async def test_a_burned_attempt_never_moves_money_however_late_it_comes(self, wallets: Wallets) -> None:
        """Burn first, chain afterwards; burning again says the same."""
        chain = wallets.payment(_intent(), 40)
        assert await burn_attempt(wallets.ledger, chain[0]) is ChainOutcome.BURNED
        (late,) = await submit_chains(wallets.ledger, [chain])
        assert (late.verdict.outcome, late.verdict.code, late.verdict.leg) == (
            ChainOutcome.DECLINED,
            "attempt_burned",
            0,
        )
        assert await burn_attempt(wallets.ledger, chain[0]) is ChainOutcome.BURNED
        assert await wallets.balances() == (100, 0, 0)

    @pytest.mark.parametrize("pending", [False, True])
    async def test_an_attempt_that_has_happened_cannot_be_burned(self, wallets: Wallets, *, pending: bool) -> None:
        """The burn finds it in the books, moved or held, and changes nothing."""
        chain = wallets.payment(_intent(), 40, pending=pending)
        await submit_chains(wallets.ledger, [chain])
        assert await burn_attempt(wallets.ledger, chain[0]) is ChainOutcome.HAD_COMMITTED
        (again,) = await submit_chains(wallets.ledger, [chain])
        assert again.done

    async def test_a_chain_of_one_that_has_happened_cannot_be_burned_either(self, wallets: Wallets) -> None:
        """It differs from its burn in its accounts only."""
        chain = build_chain(_intent(), 1, Phase.MOVE, [Leg(wallets.payer, wallets.transit, 5, 101)])
        await submit_chains(wallets.ledger, [chain])
        assert await burn_attempt(wallets.ledger, chain[0]) is ChainOutcome.HAD_COMMITTED

    async def test_burn_and_chain_in_a_race_agree_on_one_story(self, wallets: Wallets) -> None:
        """Either it happened and could not be burned, or it was burned and never happens."""
        for _ in range(20):
            chain = wallets.payment(_intent(), 1)
            before = await wallets.balances()
            burned, (sent,), burned_too = await asyncio.gather(
                burn_attempt(wallets.ledger, chain[0]),
                submit_chains(wallets.ledger, [chain]),
                burn_attempt(wallets.ledger, chain[0]),
            )
            moved = before[0] - (await wallets.balances())[0]
            assert burned is burned_too or sent.done
            assert (burned is ChainOutcome.HAD_COMMITTED) <= sent.done
            assert moved == (1 if sent.done else 0)
            assert await burn_attempt(wallets.ledger, chain[0]) is (
                ChainOutcome.HAD_COMMITTED if sent.done else ChainOutcome.BURNED
            )

    async def test_a_hold_is_posted_or_voided_once_and_the_other_is_told(self, wallets: Wallets) -> None:
        """The state follows the ledger: posted means settled, voided before a post is a critical break."""
        posted, voided = _intent(), _intent()
        holds = {intent: wallets.payment(intent, 20, pending=True) for intent in (posted, voided)}
        await submit_chains(wallets.ledger, list(holds.values()))
        ids = {intent: [transfer.id for transfer in hold] for intent, hold in holds.items()}
        posts = [build_post(intent, 1, ids[intent], [20, 20]) for intent in (posted, voided)]
        voids = [build_void(intent, 1, ids[intent]) for intent in (posted, voided)]
        first = await submit_chains(wallets.ledger, [posts[0], voids[1]])
        assert [outcome.done for outcome in first] == [True, True]
        again = await submit_chains(wallets.ledger, [posts[0], voids[1]])
        assert again == first
        crossed = await submit_chains(wallets.ledger, [voids[0], posts[1]])
        assert [(outcome.verdict.outcome, outcome.verdict.critical) for outcome in crossed] == [
            (ChainOutcome.ALREADY_POSTED, False),
            (ChainOutcome.ALREADY_VOIDED, True),
        ]
        assert await wallets.balances() == (80, 0, 20)

    async def test_a_post_of_a_hold_that_never_was_is_stuck_and_changes_nothing(self, wallets: Wallets) -> None:
        """Refused with spent ids: a person has to look, the next attempt's ids may try again."""
        intent = _intent()
        hold = wallets.payment(intent, 20, pending=True)
        ids = [transfer.id for transfer in hold]
        (stuck,) = await submit_chains(wallets.ledger, [build_post(intent, 1, ids, [20, 20])])
        assert (stuck.verdict.outcome, stuck.verdict.code) == (ChainOutcome.STUCK, "hold_not_found")
        await submit_chains(wallets.ledger, [hold])
        (still,) = await submit_chains(wallets.ledger, [build_post(intent, 1, ids, [20, 20])])
        assert (still.verdict.outcome, still.verdict.code) == (ChainOutcome.STUCK, "attempt_burned")
        (mended,) = await submit_chains(wallets.ledger, [build_post(intent, 2, ids, [20, 20])])
        assert mended.done

    async def test_a_plan_that_changed_under_its_ids_is_a_violation(self, wallets: Wallets) -> None:
        """The first leg is compared by the ledger, the others by us."""
        intent = _intent()
        chain = wallets.payment(intent, 40)
        await submit_chains(wallets.ledger, [chain])
        with pytest.raises(InvariantViolation, match="EXISTS_WITH_DIFFERENT_AMOUNT"):
            await submit_chains(wallets.ledger, [wallets.payment(intent, 41)])
        with pytest.raises(InvariantViolation, match="other contents"):
            await submit_chains(wallets.ledger, [[chain[0], replace(chain[1], amount=41)]])
