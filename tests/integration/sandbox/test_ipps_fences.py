"""IPPS: what bars a late or repeated request, for each kind of fence; and what does not."""

import asyncio

import pytest

from tests.integration.sandbox.world import IppsPartner, Said
from tests.waiting import until


async def under_way(ipps: IppsPartner, lookup_ref: str) -> asyncio.Task[Said]:
    """Send a transfer A1 that takes thirty seconds to commit; return once it has arrived."""
    late = asyncio.create_task(ipps.transfer("A1", lookup_ref, testScenario="slow:30000"))

    async def arrived() -> int:
        return len(await ipps.control.calls("A1"))

    await until(arrived, "the slow request")
    return late


async def test_resubmitting_gets_the_same_answer_and_pays_once(ipps: IppsPartner) -> None:
    """Even under another look-up, since the first one may have expired."""
    first = await ipps.pay("A1")
    again = await ipps.pay("A1", "decline:over_limit")
    assert again == first
    assert await ipps.paid("A1") == (1, 10_000)


async def test_resubmitting_a_declined_transfer_is_declined_again(ipps: IppsPartner) -> None:
    """A decline is remembered like a success."""
    first = await ipps.pay("A1", "decline:account_closed")
    assert await ipps.pay("A1") == first
    assert await ipps.paid("A1") == (0, 0)


async def test_a_resubmission_that_passes_its_original_bars_it(ipps: IppsPartner) -> None:
    """Whichever arrives first pays; the other hears of it."""
    reference = await ipps.ref()
    late = await under_way(ipps, reference)
    first = await ipps.transfer("A1", reference, testScenario="decline:over_limit")
    assert first.body["status"] == "REJECTED"
    await ipps.control.advance(30_000)
    assert (await late).body == first.body
    assert await ipps.paid("A1") == (0, 0)


async def test_one_reference_never_stands_for_two_transfers(ipps: IppsPartner) -> None:
    """Another amount, or another payee."""
    await ipps.pay("A1")
    other_amount = await ipps.transfer("A1", await ipps.ref(), "100.01")
    other_payee = await ipps.transfer("A1", await ipps.ref("0066809999999"))
    for said in (other_amount, other_payee):
        assert (said.status, said.body["errorCode"]) == (409, "REFERENCE_REUSED")
    assert await ipps.paid("A1") == (1, 10_000)


async def test_a_reference_forgotten_after_its_period_pays_again(ipps: IppsPartner) -> None:
    """The danger that the period states."""
    await ipps.control.change_terms(idempotencyMs=60_000)
    first = await ipps.pay("A1")
    await ipps.control.advance(59_000)
    assert await ipps.pay("A1") == first
    await ipps.control.advance(2_000)
    second = await ipps.pay("A1")
    assert second.body["txnNo"] != first.body["txnNo"]
    assert await ipps.paid("A1") == (2, 20_000)


async def cancel_fence(ipps: IppsPartner) -> None:
    """Agree on the fence `cancel`."""
    await ipps.control.change_terms(submitFence="cancel")


async def test_a_cancellation_bars_a_reference_that_was_never_seen(ipps: IppsPartner) -> None:
    """The late request finds it barred, and so does everybody after it."""
    await cancel_fence(ipps)
    said = await ipps.cancel("A1")
    assert (said.status, said.body["status"]) == (200, "CANCELLED")
    assert (await ipps.cancel("A1")).body == said.body
    for _ in range(2):
        late = await ipps.pay("A1")
        assert (late.body["status"], late.body["errorCode"]) == ("CANCELLED", "CANCELLED")
    assert (await ipps.status("A1")).body["status"] == "CANCELLED"
    assert await ipps.paid("A1") == (0, 0)


async def test_a_cancellation_overtakes_a_request_under_way(ipps: IppsPartner) -> None:
    """The slow request commits nothing once the bar is there."""
    await cancel_fence(ipps)
    reference = await ipps.ref()
    late = await under_way(ipps, reference)
    assert (await ipps.cancel("A1")).body["status"] == "CANCELLED"
    await ipps.control.advance(30_000)
    assert (await late).body["status"] == "CANCELLED"
    assert await ipps.paid("A1") == (0, 0)


@pytest.mark.parametrize(("scenario", "status"), [("success", "SETTLED"), ("processing", "PROCESSING")])
async def test_a_cancellation_that_comes_too_late_says_so(ipps: IppsPartner, scenario: str, status: str) -> None:
    """What is settled or under way cannot be cancelled."""
    await cancel_fence(ipps)
    await ipps.pay("A1", scenario)
    said = await ipps.cancel("A1")
    assert (said.status, said.body["errorCode"], said.body["status"]) == (409, "TOO_LATE", status)
    assert (await ipps.status("A1")).body["status"] == status


async def test_a_rejected_transfer_needs_no_cancellation(ipps: IppsPartner) -> None:
    """It stays rejected, and says so."""
    await cancel_fence(ipps)
    await ipps.pay("A1", "decline:over_limit")
    said = await ipps.cancel("A1")
    assert (said.status, said.body["status"]) == (200, "REJECTED")


@pytest.mark.parametrize("fence", ["cancel", "reference_ttl"])
async def test_a_reference_that_comes_again_is_refused(ipps: IppsPartner, fence: str) -> None:
    """Without idempotency a repetition is an error, and pays nothing."""
    await ipps.control.change_terms(submitFence=fence)
    await ipps.pay("A1")
    said = await ipps.pay("A1")
    assert (said.status, said.body["errorCode"]) == (409, "DUPLICATE_REFERENCE")
    assert await ipps.paid("A1") == (1, 10_000)


@pytest.mark.parametrize("fence", ["resubmit", "reference_ttl", "none"])
async def test_who_does_not_promise_cancellation_has_none(ipps: IppsPartner, fence: str) -> None:
    """There is no such path, and no bar."""
    await ipps.control.change_terms(submitFence=fence)
    said = await ipps.cancel("A1")
    assert (said.status, said.body["errorCode"]) == (404, "NO_SUCH_PATH")
    assert (await ipps.pay("A1")).body["status"] == "SETTLED"


async def past_its_lookup(ipps: IppsPartner, fence: str) -> Said:
    """A request that arrives in time and commits after its look-up expired."""
    await ipps.control.change_terms(submitFence=fence, lookupTtlMs=30_000)
    reference = await ipps.ref()
    late = await under_way(ipps, reference)
    await ipps.control.advance(29_000)
    assert (await ipps.status("A1")).status == 404
    await ipps.control.advance(1_000)
    return await late


async def test_an_expired_lookup_bars_a_request_at_its_commit(ipps: IppsPartner) -> None:
    """NOT_FOUND after the expiry was final, as the fence promises."""
    said = await past_its_lookup(ipps, "reference_ttl")
    assert (said.body["status"], said.body["errorCode"]) == ("REJECTED", "LOOKUP_EXPIRED")
    assert await ipps.paid("A1") == (0, 0)


@pytest.mark.parametrize("fence", ["resubmit", "cancel", "none"])
async def test_without_that_promise_an_expired_lookup_bars_nothing_under_way(ipps: IppsPartner, fence: str) -> None:
    """NOT_FOUND was not final: the request paid afterwards."""
    said = await past_its_lookup(ipps, fence)
    assert said.body["status"] == "SETTLED"
    assert await ipps.paid("A1") == (1, 10_000)


@pytest.mark.parametrize("fence", ["resubmit", "cancel", "reference_ttl", "none"])
async def test_a_request_that_arrives_after_its_lookup_expired_is_rejected(ipps: IppsPartner, fence: str) -> None:
    """Everybody looks at the clock on arrival; one millisecond before is in time."""
    await ipps.control.change_terms(submitFence=fence, lookupTtlMs=3_000_000)
    reference = await ipps.ref()
    assert (await ipps.transfer("A1", reference)).body["status"] == "SETTLED"
    await ipps.control.advance(3_000_000)
    said = await ipps.transfer("A2", reference)
    assert (said.body["status"], said.body["errorCode"]) == ("REJECTED", "LOOKUP_EXPIRED")


async def test_without_any_fence_a_repetition_pays_again(ipps: IppsPartner) -> None:
    """Why such a provider may only be inquired."""
    await ipps.control.change_terms(submitFence="none")
    await ipps.pay("A1")
    await ipps.pay("A1")
    assert await ipps.paid("A1") == (2, 20_000)
    assert len((await ipps.control.books("A1"))["transfers"]) == 2
