"""Callbacks over real HTTP: what the receiver heard against what the books say."""

import json
import time

import pytest

from tests.integration.sandbox.world import IppsPartner, QpPartner, Receiver
from tests.waiting import until


async def hears(receiver: Receiver, count: int) -> None:
    """Wait until so many callbacks have arrived."""
    await until(lambda: len(receiver.heard) >= count, f"{count} callbacks")


async def all_ended(partner: IppsPartner | QpPartner, reference: str) -> list[str]:
    """Wait until nothing is left to tell about a reference; return how each callback ended."""

    async def ended() -> list[str]:
        states = [callback["state"] for callback in await partner.control.callbacks(reference)]
        return [] if "waiting" in states else states

    return await until(ended, "the end of all callbacks")


async def test_a_settled_transfer_is_told_once_and_truly_signed(ipps: IppsPartner, ipps_receiver: Receiver) -> None:
    """The signature covers timestamp and raw body; the body says what an inquiry says."""
    await ipps.pay("A1")
    assert await all_ended(ipps, "A1") == ["done"]
    (heard,) = ipps_receiver.heard
    assert heard.genuine
    assert abs(heard.timestamp - time.time()) < 60
    told = dict(heard.body)
    assert told.pop("eventId")
    assert told.pop("occurredAt").endswith("Z")
    inquired = (await ipps.status("A1")).body
    inquired.pop("statusCode")
    assert told == inquired


async def test_every_status_that_is_reached_is_told(ipps: IppsPartner, ipps_receiver: Receiver) -> None:
    """PROCESSING is the answer, SETTLED the news, REVERSED more news."""
    await ipps.pay("A1", "processing:1+reversal:3000000")
    await hears(ipps_receiver, 1)
    await ipps.control.advance(3_000_000)
    await hears(ipps_receiver, 2)
    assert ipps_receiver.statuses() == [("SETTLED", True), ("REVERSED", True)]


async def test_a_decline_is_told_with_its_code(ipps: IppsPartner, ipps_receiver: Receiver) -> None:
    """The same code as in the answer."""
    await ipps.pay("A1", "decline:over_limit")
    await hears(ipps_receiver, 1)
    assert ipps_receiver.heard[0].body["errorCode"] == "OVER_LIMIT"


async def test_a_callback_is_repeated_until_it_is_acknowledged(ipps: IppsPartner, ipps_receiver: Receiver) -> None:
    """The same bytes each time; anything but 2xx is no acknowledgement."""
    ipps_receiver.answers.extend([500, 404, 302, 204])
    await ipps.pay("A1")
    assert await all_ended(ipps, "A1") == ["done"]
    assert len({heard.raw for heard in ipps_receiver.heard}) == 1
    (callback,) = await ipps.control.callbacks("A1")
    assert callback["answers"] == [500, 404, 302, 204]


async def test_a_callback_that_nobody_takes_is_given_up(ipps: IppsPartner, ipps_receiver: Receiver) -> None:
    """After the agreed number of attempts."""
    await ipps.control.change_terms(callbackAttemptsMax=3, callbackRetryMs=1)
    ipps_receiver.answers.extend([500] * 10)
    await ipps.pay("A1")
    assert await all_ended(ipps, "A1") == ["given_up"]
    assert len(ipps_receiver.heard) == 3


async def test_a_receiver_that_is_down_hears_later(ipps: IppsPartner, ipps_receiver: Receiver) -> None:
    """No connection counts as no acknowledgement."""
    await ipps.control.change_terms(callbackUrl="http://127.0.0.1:1/callbacks", callbackRetryMs=20)
    await ipps.pay("A1")

    async def tried() -> bool:
        (callback,) = await ipps.control.callbacks("A1")
        return 0 in callback["answers"]

    await until(tried, "a first attempt in vain")
    await ipps.control.change_terms(callbackUrl=ipps_receiver.url)
    await hears(ipps_receiver, 1)


async def test_a_lost_callback_never_comes(ipps: IppsPartner, ipps_receiver: Receiver) -> None:
    """The payment is in the books, and there is nothing to tell."""
    await ipps.pay("A1", "callback_lost")
    await ipps.pay("A2")
    await hears(ipps_receiver, 1)
    assert [heard.body["partnerTxnUid"] for heard in ipps_receiver.heard] == ["A2"]
    assert await ipps.control.callbacks("A1") == []
    assert await ipps.paid("A1") == (1, 10_000)


async def test_a_late_callback_comes_when_its_time_has(ipps: IppsPartner, ipps_receiver: Receiver) -> None:
    """Not before the clock says so."""
    await ipps.pay("A1", "callback_late:3000000")
    await ipps.pay("A2")
    await hears(ipps_receiver, 1)
    await ipps.control.advance(3_000_000)
    await hears(ipps_receiver, 2)
    assert [heard.body["partnerTxnUid"] for heard in ipps_receiver.heard] == ["A2", "A1"]


async def test_duplicates_are_the_same_bytes(ipps: IppsPartner, ipps_receiver: Receiver) -> None:
    """One event, three deliveries, one payment."""
    await ipps.pay("A1", "callback_duplicate:3")
    assert await all_ended(ipps, "A1") == ["done"] * 3
    assert len(ipps_receiver.heard) == 3
    assert len({heard.raw for heard in ipps_receiver.heard}) == 1
    assert await ipps.paid("A1") == (1, 10_000)


async def test_old_news_comes_after_new(ipps: IppsPartner, ipps_receiver: Receiver) -> None:
    """SETTLED, and then PROCESSING, which happened before; even if SETTLED had to be repeated."""
    ipps_receiver.answers.append(500)
    await ipps.pay("A1", "callback_out_of_order")
    await hears(ipps_receiver, 3)
    assert [status for status, _ in ipps_receiver.statuses()] == ["SETTLED", "SETTLED", "PROCESSING"]
    new, old = ipps_receiver.heard[1].body, ipps_receiver.heard[2].body
    assert old["occurredAt"] < new["occurredAt"]
    assert old["eventId"] != new["eventId"]


@pytest.mark.parametrize(
    ("scenario", "lie", "truth"),
    [("callback_forged", "REJECTED", "SETTLED"), ("decline:over_limit+callback_forged", "SETTLED", "REJECTED")],
)
async def test_a_forged_callback_claims_the_contrary(
    ipps: IppsPartner, ipps_receiver: Receiver, scenario: str, lie: str, truth: str
) -> None:
    """Its signature is wrong, it is not repeated, and the truth comes as well."""
    ipps_receiver.answers.append(401)
    await ipps.pay("A1", scenario)
    assert await all_ended(ipps, "A1") == ["done", "done"]
    assert sorted(ipps_receiver.statuses()) == sorted([(lie, False), (truth, True)])


async def test_a_replayed_callback_is_truly_signed_and_old(ipps: IppsPartner, ipps_receiver: Receiver) -> None:
    """Only its age gives it away."""
    await ipps.pay("A1", "callback_replayed")
    await hears(ipps_receiver, 2)
    assert all(heard.genuine for heard in ipps_receiver.heard)
    ages = sorted(round((time.time() - heard.timestamp) / 600) for heard in ipps_receiver.heard)
    assert ages == [0, 6]


async def test_a_callback_names_a_wrong_amount(ipps: IppsPartner, ipps_receiver: Receiver) -> None:
    """Truly signed, and not what was paid."""
    await ipps.pay("A1", "callback_wrong_amount:99999")
    await hears(ipps_receiver, 1)
    assert (ipps_receiver.heard[0].body["amount"], ipps_receiver.heard[0].genuine) == ("999.99", True)
    assert await ipps.paid("A1") == (1, 10_000)
    assert (await ipps.status("A1")).body["amount"] == "100.00"


async def test_control_tells_whatever_a_test_wants(ipps: IppsPartner, ipps_receiver: Receiver) -> None:
    """Again, a lie, a forgery."""
    await ipps.pay("A1", "callback_lost")
    await ipps.control.tell("A1")
    await hears(ipps_receiver, 1)
    await ipps.control.tell("A1", status="REJECTED", amountMinor=1)
    await hears(ipps_receiver, 2)
    await ipps.control.tell("A1", manner="forged", copies=2)
    await hears(ipps_receiver, 4)
    assert ipps_receiver.statuses() == [("SETTLED", True), ("REJECTED", True), ("SETTLED", False), ("SETTLED", False)]
    assert ipps_receiver.heard[1].body["amount"] == "0.01"


async def test_qp_tells_of_payments_in_kopecks(qp: QpPartner, qp_receiver: Receiver) -> None:
    """The contract, field by field."""
    await qp.create("o1")
    (payment,) = await qp.somebody_pays("o1")
    await hears(qp_receiver, 1)
    told = dict(qp_receiver.heard[0].body)
    assert qp_receiver.heard[0].genuine
    assert told.pop("eventId")
    assert told.pop("occurredAt")
    assert told == {
        "kind": "PAYMENT",
        "paymentId": payment["paymentId"],
        "qrcId": payment["qrcId"],
        "order": "o1",
        "amount": 30_510,
        "currency": "RUB",
        "status": "ACCEPTED",
        "errorCode": None,
    }


async def test_a_forged_callback_pays_a_code_that_nobody_paid(qp: QpPartner, qp_receiver: Receiver) -> None:
    """It names the order, the amount and a payment that does not exist."""
    await qp.create("o1", testScenario="callback_forged")
    await hears(qp_receiver, 1)
    (heard,) = qp_receiver.heard
    assert (heard.genuine, heard.body["status"], heard.body["order"]) == (False, "ACCEPTED", "o1")
    assert (await qp.call("GET", f"/qp/v1/payments/{heard.body['paymentId']}")).status == 404
    assert await qp.status("o1") == "NEW"
    assert await qp.paid("o1") == (0, 0)


@pytest.mark.parametrize(
    ("scenario", "heard"),
    [
        ("callback_out_of_order", ["ACCEPTED", "IN_PROGRESS"]),
        ("callback_duplicate", ["ACCEPTED", "ACCEPTED"]),
        ("callback_duplicate+payment_declined:no_money", ["DECLINED", "DECLINED"]),
    ],
)
async def test_qp_misbehaves_likewise(qp: QpPartner, qp_receiver: Receiver, scenario: str, heard: list[str]) -> None:
    """The same words, of payments."""
    await qp.create("o1", testScenario=f"paid+{scenario}")
    await hears(qp_receiver, len(heard))
    assert [status for status, _ in qp_receiver.statuses()] == heard
    bodies = [json.loads(callback.raw) for callback in qp_receiver.heard]
    assert len({body["paymentId"] for body in bodies}) == 1
