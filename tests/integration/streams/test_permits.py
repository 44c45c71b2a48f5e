"""Permits: whatever the order of events, nobody submits beside another, and nobody says "never" beside a token."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from shared.errors import OutcomeUnknown
from shared.streams import group as calls
from shared.streams import keys, permits
from shared.streams.client import connect
from shared.streams.dead_letters import read_page, redrive
from shared.streams.permits import AGE_MAX_MS, LIFE_MS, Begin, Begun, Cancelled, PermitFor, PermitState
from shared.streams.verdicts import DeadLetter, Done
from tests.integration.streams.lossy import LossyProxy
from tests.integration.streams.permits_scene import (
    JOBS,
    PSP,
    TTL_MS,
    Held,
    a_permit,
    a_token,
    begin,
    cancel,
    consumer,
    delivered,
    moved,
    now_ms,
    prepare,
)

HOUR_MS = 3_600_000


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty server whose slot belongs to the mesh and whose job stream has its group."""
    client = connect(redis_url)
    await prepare(client)
    yield client
    await client.aclose()


async def remaining_ms(client: Redis, permit: PermitFor) -> int:
    """Return how long the permit still lives."""
    left: int = await client.pttl(permit.key)
    return left


async def test_the_owner_of_the_entry_wins_a_permit_for_a_day(client: Redis) -> None:
    """And it reads as documented."""
    permit, token = a_permit(), a_token()
    begun = await begin(client, await delivered(client, "a"), permit, token)
    assert begun.status is Begin.GO
    assert begun.taken_ms == begun.now_ms
    assert abs(begun.now_ms - now_ms()) < 2_000
    assert await client.get(permit.key) == f"TAKEN {token} {begun.taken_ms}".encode()
    assert LIFE_MS - 5_000 < await remaining_ms(client, permit) <= LIFE_MS


async def test_a_lost_reply_is_answered_go_again_and_the_permit_lives_on(client: Redis) -> None:
    """The same token asks twice; when it was won first stays."""
    permit, token, held = a_permit(), a_token(), await delivered(client, "a")
    first = await begin(client, held, permit, token)
    await client.pexpire(permit.key, 1_000)
    again = await begin(client, held, permit, token)
    assert (again.status, again.taken_ms) == (Begin.GO, first.taken_ms)
    assert await remaining_ms(client, permit) > LIFE_MS - 5_000


async def test_a_second_copy_of_a_job_inquires_while_the_first_is_at_it(client: Redis) -> None:
    """The relay may add a job twice; the copy has another entry id."""
    permit, first, copy = a_permit(), await delivered(client, "a"), await delivered(client, "b")
    begun = await begin(client, first, permit, a_token())
    second = await begin(client, copy, permit, a_token())
    assert (second.status, second.reason, second.taken_ms) == (Begin.INQUIRE, "taken", begun.taken_ms)


async def test_a_second_copy_of_a_job_inquires_after_the_first_was_finished(client: Redis) -> None:
    """Finish leaves the permit standing."""
    permit, first = a_permit(), await delivered(client, "a")
    await begin(client, first, permit, a_token())
    assert await calls.finish(client, first.member, [(first.id, Done())]) == []
    copy = await begin(client, await delivered(client, "b"), permit, a_token())
    assert (copy.status, copy.reason) == (Begin.INQUIRE, "taken")


async def test_a_redelivered_job_inquires_since_its_first_consumer_may_have_sent(client: Redis) -> None:
    """A crash between permit and answer."""
    permit, held = a_permit(), await delivered(client, "a")
    await begin(client, held, permit, a_token())
    begun = await begin(client, await moved(client, held, "b"), permit, a_token())
    assert (begun.status, begun.reason) == (Begin.INQUIRE, "taken")


async def test_a_consumer_that_woke_up_before_its_permit_is_told_that_the_entry_is_lost(client: Redis) -> None:
    """It was paused while its job was dead-lettered and called never submitted."""
    permit, held = a_permit(), await delivered(client, "a")
    taken_over = await moved(client, held, "b")
    letter = DeadLetter("max_deliveries", "Crash", "three times")
    assert await calls.dead_letter(client, taken_over.member, [(held.id, letter)]) == []
    assert await cancel(client, permit) is Cancelled.CANCELLED
    assert (await begin(client, held, permit, a_token())).status is Begin.LOST


async def test_a_consumer_that_lost_its_entry_never_begins_even_where_no_permit_stands(client: Redis) -> None:
    """Whoever has the entry now decides."""
    permit, held = a_permit(), await delivered(client, "a")
    await moved(client, held, "b")
    assert (await begin(client, held, permit, a_token())).status is Begin.LOST
    assert await client.get(permit.key) is None


async def test_a_job_voided_in_the_backlog_is_never_submitted_when_it_arrives(client: Redis) -> None:
    """The poller gave it up first."""
    permit = a_permit()
    assert await cancel(client, permit) is Cancelled.CANCELLED
    for name in ("a", "b"):
        assert (await begin(client, await delivered(client, name), permit, a_token())).status is Begin.CANCELLED


async def test_a_replayed_dead_letter_that_was_called_never_submitted_stays_so(client: Redis) -> None:
    """Replay puts the job back on its stream; its permit says no."""
    permit, held = a_permit(), await delivered(client, "a")
    await calls.dead_letter(client, held.member, [(held.id, DeadLetter("permanent", "Bug", "a bug"))])
    assert await cancel(client, permit, "dead_letters") is Cancelled.CANCELLED
    (record,) = await read_page(client, JOBS)
    assert await redrive(client, JOBS, record.entry_id)
    (entry,) = await calls.read(client, consumer("b"), count=10, block_ms=50)
    begun = await begin(client, Held(consumer("b"), entry.id), permit, a_token())
    assert begun.status is Begin.CANCELLED


async def test_nobody_says_never_submitted_beside_a_token(client: Redis) -> None:
    """Its owner may be about to send."""
    permit = a_permit()
    await begin(client, await delivered(client, "a"), permit, a_token())
    assert await cancel(client, permit) is Cancelled.TAKEN


async def test_finding_it_cancelled_counts_as_winning_and_writes_it_again(client: Redis) -> None:
    """Both for who says it and for who would submit; who said it first stays."""
    permit = a_permit()
    await cancel(client, permit, "operator")
    said = str(await client.get(permit.key))
    assert "CANCELLED operator " in said
    await client.pexpire(permit.key, 1_000)
    assert await cancel(client, permit, "poller") is Cancelled.CANCELLED
    assert await remaining_ms(client, permit) > LIFE_MS - 5_000
    await client.pexpire(permit.key, 1_000)
    assert (await begin(client, await delivered(client, "a"), permit, a_token())).status is Begin.CANCELLED
    assert await remaining_ms(client, permit) > LIFE_MS - 5_000
    assert str(await client.get(permit.key)) == said


async def test_a_job_that_nobody_took_in_its_time_is_cancelled_instead(client: Redis) -> None:
    """It lay in outbox or stream for longer than the manifest allows."""
    permit = a_permit(age_ms=TTL_MS)
    assert (await begin(client, await delivered(client, "a"), permit, a_token())).status is Begin.CANCELLED
    assert await cancel(client, permit) is Cancelled.CANCELLED


async def test_a_job_taken_in_its_time_may_go_on_after_it(client: Redis) -> None:
    """The limit is on being taken; the owner asks again before it sends."""
    permit, token, held = a_permit(), a_token(), await delivered(client, "a")
    await begin(client, held, permit, token)
    late = PermitFor(permit.key, permit.created_ms - 2 * TTL_MS, permit.epoch)
    assert (await begin(client, held, late, token)).status is Begin.GO


@pytest.mark.parametrize(
    ("age_ms", "reason"), [(AGE_MAX_MS, "age"), (AGE_MAX_MS + 20 * HOUR_MS, "age"), (-HOUR_MS, "clock")]
)
@pytest.mark.parametrize("stands", ["", "TAKEN", "CANCELLED"])
async def test_a_job_of_the_wrong_age_may_only_inquire(client: Redis, age_ms: int, reason: str, stands: str) -> None:
    """Its permit may have expired, so neither value can be won, whatever stands there."""
    permit, held = a_permit(age_ms=age_ms), await delivered(client, "a")
    if stands:
        await client.set(permit.key, f"{stands} t0 1000")
    begun = await begin(client, held, permit, a_token())
    assert (begun.status, begun.reason) == (Begin.INQUIRE, reason)
    assert begun.taken_ms == (1000 if stands == "TAKEN" else None)
    assert await cancel(client, permit) is Cancelled.STALE
    assert (await permits.take_over(client, permit=permit, token="t9")).status is Begin.INQUIRE
    assert await client.get(permit.key) == (f"{stands} t0 1000".encode() or None if stands else None)


async def test_just_young_enough_still_wins(client: Redis) -> None:
    """The age limit is twelve hours, not less."""
    assert await cancel(client, a_permit(age_ms=AGE_MAX_MS - 60_000)) is Cancelled.CANCELLED


@pytest.mark.parametrize("mark", ["gone", "raised", "other"])
async def test_in_another_epoch_nothing_is_submitted_and_nothing_is_called_never_submitted(
    client: Redis, mark: str
) -> None:
    """Redis was restored or emptied: what the permit said is lost, though the job is still there."""
    permit, held = a_permit(), await delivered(client, "a")
    if mark == "gone":
        await client.delete(keys.mesh(PSP))
    else:
        await client.hset(keys.mesh(PSP), "epoch" if mark == "raised" else "id", "2")
    begun = await begin(client, held, permit, a_token())
    assert (begun.status, begun.reason) == (Begin.INQUIRE, "epoch")
    assert await cancel(client, permit) is Cancelled.STALE
    assert await client.get(permit.key) is None


async def test_a_proven_non_event_frees_the_permit_and_puts_the_job_off_at_once(client: Redis) -> None:
    """Whoever gets the job next may submit, with the next attempt number."""
    permit, token, held = a_permit(), a_token(), await delivered(client, "a")
    await begin(client, held, permit, token)
    assert await permits.free_and_retry(client, held.member, held.id, permit=permit, token=token, delay_ms=0)
    assert await client.get(permit.key) is None
    assert await client.xlen(JOBS) == 0
    assert (await calls.promote(client, JOBS)).moved == 1
    (entry,) = await calls.read(client, consumer("b"), count=10, block_ms=50)
    assert entry.fields[b"attempt"] == b"1"
    assert (await begin(client, Held(consumer("b"), entry.id), permit, a_token())).status is Begin.GO


async def test_only_the_owner_of_token_and_entry_frees_the_permit(client: Redis) -> None:
    """Neither another token, nor the same one without its entry."""
    permit, token, held = a_permit(), a_token(), await delivered(client, "a")
    await begin(client, held, permit, token)

    async def free(by: Held, whose: str) -> bool:
        return await permits.free_and_retry(client, by.member, by.id, permit=permit, token=whose, delay_ms=0)

    copy = await delivered(client, "b")
    assert not await free(copy, a_token())
    after = await moved(client, held, "b")
    assert not await free(held, token)
    assert not await free(after, a_token())
    assert (await permits.look(client, permit=permit)).state is PermitState.TAKEN
    assert await client.zcard(keys.delay(JOBS)) == 0


async def test_a_cancelled_permit_cannot_be_freed(client: Redis) -> None:
    """Not even under the name of who cancelled it."""
    permit, held = a_permit(), await delivered(client, "a")
    await cancel(client, permit, "poller")
    assert not await permits.free_and_retry(client, held.member, held.id, permit=permit, token="poller", delay_ms=0)
    assert not await permits.give_up(client, permit=permit, token="poller")
    assert (await permits.look(client, permit=permit)).state is PermitState.CANCELLED


async def test_after_a_takeover_the_first_owner_can_neither_free_nor_go_on(client: Redis) -> None:
    """Somebody has concluded something from the PSP's answer; freeing would let the job be submitted once more."""
    permit, token, held = a_permit(), a_token(), await delivered(client, "a")
    first = await begin(client, held, permit, token)
    taken = await permits.take_over(client, permit=permit, token="inquirer")
    assert (taken.status, taken.taken_ms) == (Begin.GO, first.taken_ms)
    assert not await permits.free_and_retry(client, held.member, held.id, permit=permit, token=token, delay_ms=0)
    assert not await permits.give_up(client, permit=permit, token=token)
    assert (await begin(client, held, permit, token)).status is Begin.INQUIRE
    assert await cancel(client, permit) is Cancelled.TAKEN


async def test_there_is_nothing_to_take_over_where_nothing_was_taken(client: Redis) -> None:
    """An absent permit stays absent, a cancelled one cancelled."""
    absent, cancelled = a_permit(), a_permit()
    begun = await permits.take_over(client, permit=absent, token="t")
    assert (begun.status, begun.reason, begun.taken_ms) == (Begin.INQUIRE, "absent", None)
    await cancel(client, cancelled)
    assert (await permits.take_over(client, permit=cancelled, token="t")).status is Begin.CANCELLED


async def test_a_look_changes_nothing(client: Redis) -> None:
    """It tells state, age and clock."""
    permit = a_permit()
    seen = await permits.look(client, permit=permit)
    assert (seen.state, seen.stale, seen.won_ms) == (PermitState.ABSENT, "", None)
    begun = await begin(client, await delivered(client, "a"), permit, a_token())
    await client.pexpire(permit.key, 1_000)
    seen = await permits.look(client, permit=permit)
    assert (seen.state, seen.won_ms) == (PermitState.TAKEN, begun.taken_ms)
    assert await remaining_ms(client, permit) <= 1_000
    old = PermitFor(permit.key, permit.created_ms - 2 * AGE_MAX_MS, permit.epoch)
    assert (await permits.look(client, permit=old)).stale == "age"


async def test_what_nobody_can_read_counts_as_taken(client: Redis) -> None:
    """A value of a version to come, say."""
    permit = a_permit()
    await client.set(permit.key, "LENT to=somebody until=tomorrow")
    assert await cancel(client, permit) is Cancelled.TAKEN
    assert (await begin(client, await delivered(client, "a"), permit, a_token())).status is Begin.INQUIRE


async def test_a_reply_lost_on_the_way_says_so_and_may_be_asked_again(client: Redis, redis_url: str) -> None:
    """The permit was won; nobody may think that it was not."""
    permit, token, held = a_permit(), a_token(), await delivered(client, "a")
    await permits.look(client, permit=permit)
    async with LossyProxy(redis_url) as proxy:
        lossy = connect(proxy.url)
        await lossy.ping()
        proxy.swallow_replies()
        with pytest.raises(OutcomeUnknown):
            await begin(lossy, held, permit, token)
        with pytest.raises(OutcomeUnknown):
            await cancel(lossy, a_permit())
        proxy.pass_replies()
        assert (await begin(lossy, held, permit, token)).status is Begin.GO
        await lossy.aclose()


async def test_no_order_of_events_lets_two_submit_or_denies_a_submission(client: Redis) -> None:
    """Random histories of two copies of a job, pollers, crashes and takeovers; the seed names the bad one."""
    for seed in range(150):
        await _History(client, random.Random(seed), seed).play(steps=25)


class _History:
    """One job, everybody who has a say in it, and what each has been told."""

    def __init__(self, client: Redis, rng: random.Random, seed: int) -> None:
        self._client = client
        self._rng = rng
        self._seed = seed
        self._permit = a_permit()
        self._hands: list[Held] = []
        self._may_send: set[str] = set()
        """Tokens that were told GO and have not proven that nothing happened."""
        self._taken_over = False
        self._denied = False

    async def play(self, steps: int) -> None:
        self._hands = [await delivered(self._client, f"h{self._seed}-{copy}") for copy in range(2)]
        moves: list[Callable[[], Awaitable[None]]] = [
            self._begin,
            self._free,
            self._cancel,
            self._move,
            self._take_over,
        ]
        for _ in range(steps):
            await self._rng.choice(moves)()
            assert len(self._may_send) <= 1, f"seed {self._seed}: two may send"
            assert not (self._denied and self._may_send), f"seed {self._seed}: denied beside a token"
        for held in self._hands:
            await calls.finish(self._client, held.member, [(held.id, Done())])

    async def _begin(self) -> None:
        held, token = self._rng.choice(self._hands), a_token()
        begun = await begin(self._client, held, self._permit, token)
        if begun.status is Begin.GO:
            assert not self._taken_over, f"seed {self._seed}: submitted anew after a conclusion"
            self._may_send.add(token)

    async def _free(self) -> None:
        if not self._may_send:
            return
        (token,) = self._may_send
        place = self._rng.randrange(len(self._hands))
        held = self._hands[place]
        freed = await permits.free_and_retry(
            self._client, held.member, held.id, permit=self._permit, token=token, delay_ms=0
        )
        if freed:
            assert not self._taken_over, f"seed {self._seed}: freed after a conclusion"
            self._may_send.clear()
            await calls.promote(self._client, JOBS)
            (entry,) = await calls.read(self._client, held.member, count=10, block_ms=50)
            self._hands[place] = Held(held.member, entry.id)

    async def _cancel(self) -> None:
        if await cancel(self._client, self._permit) is Cancelled.CANCELLED:
            self._denied = True

    async def _move(self) -> None:
        place = self._rng.randrange(len(self._hands))
        self._hands[place] = await moved(self._client, self._hands[place], f"m{self._rng.randrange(3)}")

    async def _take_over(self) -> None:
        if (await permits.take_over(self._client, permit=self._permit, token=a_token())).status is Begin.GO:
            self._taken_over = True


async def test_many_who_ask_at_once_are_told_go_once(client: Redis) -> None:
    """Copies of one job in the hands of many."""
    permit = a_permit()
    copies = [await delivered(client, f"c{number}") for number in range(20)]
    answers = await asyncio.gather(*(begin(client, held, permit, a_token()) for held in copies), cancel(client, permit))
    going = [answer for answer in answers if isinstance(answer, Begun) and answer.status is Begin.GO]
    assert len(going) + (Cancelled.CANCELLED in answers) == 1


async def test_a_barred_job_is_never_submitted_and_never_called_unsubmitted(client: Redis) -> None:
    """Whether its permit was free or taken: nobody wins it, and whoever had it cannot free it."""
    free, taken = a_permit(), a_permit()
    held = await delivered(client, "a")
    token = a_token()
    assert (await begin(client, held, taken, token)).status is Begin.GO
    won_ms = (await permits.look(client, permit=taken)).won_ms
    assert (await permits.bar(client, permit=free, token="people")).state is PermitState.ABSENT
    assert (await permits.bar(client, permit=taken, token="people")).won_ms == won_ms
    for permit in (free, taken):
        assert (await begin(client, held, permit, token)).status is Begin.INQUIRE
        assert await cancel(client, permit) is Cancelled.TAKEN
        assert not await permits.free_and_retry(client, held.member, held.id, permit=permit, token=token, delay_ms=0)
        assert not await permits.give_up(client, permit=permit, token=token)
        taken_over = await permits.take_over(client, permit=permit, token=a_token())
        assert (taken_over.status, taken_over.reason) == (Begin.INQUIRE, "barred"), "a PSP is not asked by resubmitting"
    assert (await permits.look(client, permit=taken)).won_ms == won_ms


async def test_barring_leaves_cancelled_as_it_is(client: Redis) -> None:
    """Somebody has said that it was never submitted."""
    permit = a_permit()
    assert await cancel(client, permit) is Cancelled.CANCELLED
    assert (await permits.bar(client, permit=permit, token="people")).state is PermitState.CANCELLED
    assert (await permits.look(client, permit=permit)).state is PermitState.CANCELLED
