"""Withdrawals and codes that go well, or are declined: from the job on the stream to the result, over real HTTP."""

import asyncio

import pytest

from adapters.ipps.emvco import encode
from adapters.ipps.payees import Transfer
from adapters.ipps.proxies import mobile
from shared.contracts import Outcome
from shared.streams.permits import PermitState
from tests.integration.adapters.ipps.scene import AMOUNT, BILL, TO_MOBILE, World, a_job, to_code

PAID_TO = [
    (TO_MOBILE, "MOBILE", "0066801234567"),
    ({"proxy_type": "NATIONAL_ID", "proxy": "1-2345-67890-12-1"}, "NATIONAL_ID", "1234567890121"),
    ({"proxy_type": "EWALLET", "proxy": "140000801111111"}, "EWALLET", "140000801111111"),
    ({"proxy_type": "BANK_ACCOUNT", "proxy": "123-4-56789-0", "bank_code": "014"}, "BANK_ACCOUNT", "0141234567890"),
    (to_code(), "BILLER", BILL.biller_id),
    (to_code(None), "BILLER", BILL.biller_id),
    ({"qr": encode(Transfer(mobile("0891234567")))}, "MOBILE", "0066891234567"),
]


async def test_everybody_who_can_be_named_is_paid_once(world: World) -> None:
    """By proxy, by bank account and by code; the PSP's books name the payee, the result only a mask."""
    jobs = [a_job(destination) for destination, _, _ in PAID_TO]
    results = await asyncio.gather(*(world.carried_out(job) for job in jobs))
    for job, result, (_, kind, value) in zip(jobs, results, PAID_TO, strict=True):
        books = await world.control.books(job.reference)
        (transfer,) = books["transfers"]
        assert (transfer["proxyType"], transfer["proxyValue"]) == (kind, value)
        assert (books["payouts"], books["paidMinor"]) == (1, AMOUNT)
        assert (result.outcome, result.final, result.amount_minor, result.currency) == (
            Outcome.PAID,
            True,
            AMOUNT,
            "THB",
        )
        assert result.psp_transaction_id == result.psp_ids["txn_no"] == transfer["txnNo"]
        assert result.summary["payee"].count("***") == 2
        assert await world.permit(job) is PermitState.TAKEN


QR = to_code()["qr"]
MALFORMED = [
    ({"qr": QR[:-1] + ("0" if QR[-1] != "0" else "1")}, "bad_crc"),
    ({"qr": QR[:20]}, "truncated"),
    ({"qr": QR.replace("5303764", "5303840")}, "bad_crc"),
    ({"qr": "hello"}, "bad_tag"),
    (to_code(AMOUNT + 1), "amount_mismatch"),
    ({"proxy_type": "NATIONAL_ID", "proxy": "1234567890120"}, "bad_check_digit"),
    ({"proxy_type": "MOBILE", "proxy": "12"}, "bad_proxy"),
    ({"proxy_type": "BANK_ACCOUNT", "proxy": "1234567890", "bank_code": "1"}, "bad_proxy"),
]


async def test_what_is_malformed_is_declined_before_anything_is_sent(world: World) -> None:
    """With the defect as the code; for good, since the permit says that nobody submits it."""
    jobs = [a_job(destination) for destination, _ in MALFORMED]
    results = await asyncio.gather(*(world.carried_out(job) for job in jobs))
    assert [result.code for result in results] == [code for _, code in MALFORMED]
    assert {(result.outcome, result.final) for result in results} == {(Outcome.DECLINED, True)}
    assert {await world.permit(job) for job in jobs} == {PermitState.CANCELLED}
    assert await world.calls() == []


@pytest.mark.parametrize("code", ["unknown_proxy", "over_limit", "account_closed"])
async def test_who_cannot_be_paid_is_declined_at_the_look_up(world: World, code: str) -> None:
    """Nothing was submitted, and never will be."""
    job = a_job(scenario=f"lookup=decline:{code}")
    result = await world.carried_out(job)
    assert (result.outcome, result.code, result.final) == (Outcome.DECLINED, code, True)
    assert await world.permit(job) is PermitState.CANCELLED
    assert await world.calls() == ["lookup"]


async def test_a_refused_transfer_is_final_where_the_manifest_says_so(world: World) -> None:
    """A refusal that the contract does not name is open until an inquiry confirms it."""
    named, unnamed = a_job(scenario="decline:account_closed"), a_job(scenario="decline:bad_weather")
    result = await world.carried_out(named)
    assert (result.outcome, result.code, result.final) == (Outcome.DECLINED, "account_closed", True)
    result = await world.carried_out(unnamed)
    assert (result.outcome, result.code, result.final) == (Outcome.DECLINED, "declined", False)
    result = await world.asked(unnamed)
    assert (result.outcome, result.code, result.final) == (Outcome.DECLINED, "declined", True)
    assert await world.payouts(named) + await world.payouts(unnamed) == 0


async def test_a_transfer_under_way_is_asked_about_until_it_is_final(world: World) -> None:
    """First pending, with the PSP's number; then as control decides."""
    settled, rejected = a_job(scenario="processing"), a_job(scenario="processing")
    for job in (settled, rejected):
        result = await world.carried_out(job)
        assert (result.outcome, result.final) == (Outcome.PENDING, False)
        assert result.psp_ids["txn_no"]
        assert (await world.asked(job)).outcome is Outcome.PENDING
    await world.control.call("POST", f"/control/transfers/{settled.reference}/settle", {})
    await world.control.call("POST", f"/control/transfers/{rejected.reference}/reject", {"errorCode": "ACCOUNT_CLOSED"})
    assert (await world.asked(settled, 3)).outcome is Outcome.PAID
    result = await world.asked(rejected, 3)
    assert (result.outcome, result.code, result.final) == (Outcome.DECLINED, "account_closed", True)


async def test_what_was_taken_back_is_reversed(world: World) -> None:
    """Under the number of the payment."""
    job = a_job()
    paid = await world.carried_out(job)
    await world.control.call("POST", f"/control/transfers/{job.reference}/reverse", {})
    result = await world.asked(job)
    assert result.outcome is Outcome.REVERSED
    assert (result.psp_transaction_id, result.amount_minor) == (paid.psp_transaction_id, AMOUNT)


async def test_a_job_that_comes_twice_is_paid_once(fenced: World) -> None:
    """Whatever the fence: the copy asks."""
    job = a_job()
    await fenced.carried_out(job)
    await fenced.add(job)
    assert (await fenced.result(job, 2)).outcome is Outcome.PAID
    assert await fenced.payouts(job) == 1
