"""QP: codes, their payments, refunds; what its books say afterwards."""

import pytest

from adapters.qp.link import LinkType, parse
from adapters.sandbox.client import ControlError
from tests.integration.sandbox.world import QpPartner
from tests.waiting import until

FAR_MS = 3_000_000


async def becomes(qp: QpPartner, order: str, paid: tuple[int, int]) -> None:
    """Wait until the books say so."""

    async def said() -> bool:
        return await qp.paid(order) == paid

    await until(said, f"{paid} for {order}")


async def test_a_code_is_created_with_a_link_that_can_be_read(qp: QpPartner) -> None:
    """The contract, field by field."""
    qr = (await qp.create("order_1-A", ttlSeconds=60)).body
    link = parse(qr["payload"])
    assert (link.qrc_id, link.amount_kopecks, link.type) == (qr["qrcId"], 30_510, LinkType.DYNAMIC)
    assert qr.keys() == {
        "qrcId",
        "order",
        "qrType",
        "amount",
        "currency",
        "payload",
        "status",
        "createdAt",
        "expiresAt",
    }
    assert (qr["status"], qr["currency"], qr["order"]) == ("NEW", "RUB", "order_1-A")
    assert (await qp.call("GET", f"/qp/v1/qrs/{qr['qrcId']}")).body == qr
    assert await qp.find("order_1-A") == [qr]
    assert await qp.find("order_2") == []


async def test_an_order_has_one_code(qp: QpPartner) -> None:
    """The same terms give the same code again, paid or not; other terms are a conflict."""
    qr = (await qp.create("o1")).body
    assert (await qp.create("o1")).body == qr
    for said in (
        await qp.create("o1", 30_511),
        await qp.create("o1", ttlSeconds=61),
        await qp.create("o1", qrType="static"),
    ):
        assert (said.status, said.body["code"]) == (409, "ORDER_CONFLICT")
    await qp.somebody_pays("o1")
    assert (await qp.create("o1")).body == qr | {"status": "PAID"}


async def test_a_code_is_paid_once(qp: QpPartner) -> None:
    """NEW, then PAID; no bank lets a second payment through."""
    await qp.create("o1")
    (payment,) = await qp.somebody_pays("o1")
    assert await qp.status("o1") == "PAID"
    (shown,) = await qp.payments("o1")
    assert (shown["status"], shown["amount"], shown["refunded"]) == ("ACCEPTED", 30_510, 0)
    assert (await qp.call("GET", f"/qp/v1/payments/{payment['paymentId']}")).body == shown
    with pytest.raises(ControlError, match="NOT_PAYABLE"):
        await qp.somebody_pays("o1")
    assert await qp.paid("o1") == (1, 30_510)


async def test_a_payment_under_way_shows_on_its_code(qp: QpPartner) -> None:
    """IN_PROGRESS both, until control accepts it."""
    await qp.create("o1")
    (payment,) = await qp.somebody_pays("o1", scenario="processing")
    assert await qp.status("o1") == "IN_PROGRESS"
    assert (await qp.payments("o1"))[0]["status"] == "IN_PROGRESS"
    assert await qp.paid("o1") == (0, 0)
    await qp.control.call("POST", f"/control/payments/{payment['paymentId']}/accept", {})
    assert await qp.status("o1") == "PAID"
    assert await qp.paid("o1") == (1, 30_510)


async def test_a_payment_under_way_becomes_final_by_itself(qp: QpPartner) -> None:
    """Accepted, or declined with the scenario's code."""
    await qp.create("o1", testScenario=f"paid+processing:{FAR_MS}")
    await qp.create("o2", testScenario=f"paid+processing:{FAR_MS}+payment_declined:no_money")
    for order in ("o1", "o2"):

        async def begun(order: str = order) -> bool:
            return await qp.status(order) == "IN_PROGRESS"

        await until(begun, "the payment's beginning")
    await qp.control.advance(FAR_MS)
    await becomes(qp, "o1", (1, 30_510))
    assert (await qp.payments("o2"))[0]["errorCode"] == "NO_MONEY"
    assert await qp.status("o2") == "EXPIRED"


async def test_declined_payments_return_the_code_until_there_were_too_many(qp: QpPartner) -> None:
    """Twice NEW again, then CANCELLED."""
    await qp.create("o1")
    seen = []
    for _ in range(3):
        (payment,) = await qp.somebody_pays("o1", scenario="payment_declined:limit_exceeded")
        assert (payment["status"], payment["errorCode"]) == ("DECLINED", "LIMIT_EXCEEDED")
        seen.append(await qp.status("o1"))
    assert seen == ["NEW", "NEW", "CANCELLED"]
    assert await qp.paid("o1") == (0, 0)


async def test_a_declined_try_leaves_the_code_payable(qp: QpPartner) -> None:
    """The payer finds another card."""
    await qp.create("o1")
    await qp.somebody_pays("o1", scenario="payment_declined:no_money")
    await qp.somebody_pays("o1")
    assert [payment["status"] for payment in await qp.payments("o1")] == ["DECLINED", "ACCEPTED"]
    assert await qp.status("o1") == "PAID"


async def test_a_code_expires_when_its_time_is_over(qp: QpPartner) -> None:
    """And cannot be paid any more."""
    await qp.create("o1", ttlSeconds=600)
    await qp.control.advance(599_000)
    assert await qp.status("o1") == "NEW"
    await qp.control.advance(1_000)
    assert await qp.status("o1") == "EXPIRED"
    with pytest.raises(ControlError, match="NOT_PAYABLE"):
        await qp.somebody_pays("o1")


async def test_control_lets_a_code_expire(qp: QpPartner) -> None:
    """Whatever its time."""
    qr = (await qp.create("o1")).body
    await qp.control.call("POST", f"/control/qrs/{qr['qrcId']}/expire")
    assert await qp.status("o1") == "EXPIRED"


async def test_a_code_under_payment_outlives_its_time(qp: QpPartner) -> None:
    """What the payer has begun may still be accepted."""
    await qp.create("o1", ttlSeconds=600)
    (payment,) = await qp.somebody_pays("o1", scenario="processing")
    await qp.control.advance(600_000)
    assert await qp.status("o1") == "IN_PROGRESS"
    await qp.control.call("POST", f"/control/payments/{payment['paymentId']}/accept", {})
    assert await qp.status("o1") == "PAID"


async def test_a_deleted_code_cannot_be_paid(qp: QpPartner) -> None:
    """CANCELLED, and stays so."""
    qr = (await qp.create("o1")).body
    for _ in range(2):
        said = await qp.call("DELETE", f"/qp/v1/qrs/{qr['qrcId']}")
        assert (said.status, said.body["status"]) == (200, "CANCELLED")
    with pytest.raises(ControlError, match="NOT_PAYABLE"):
        await qp.somebody_pays("o1")


async def test_a_code_that_expired_needs_no_deletion(qp: QpPartner) -> None:
    """The answer says what it is."""
    qr = (await qp.create("o1", ttlSeconds=60)).body
    await qp.control.advance(60_000)
    said = await qp.call("DELETE", f"/qp/v1/qrs/{qr['qrcId']}")
    assert (said.status, said.body["status"]) == (200, "EXPIRED")


@pytest.mark.parametrize(("scenario", "status"), [("processing", "IN_PROGRESS"), ("success", "PAID")])
async def test_a_code_that_is_being_paid_cannot_be_deleted(qp: QpPartner, scenario: str, status: str) -> None:
    """409, with the code as it stands."""
    qr = (await qp.create("o1")).body
    await qp.somebody_pays("o1", scenario=scenario)
    said = await qp.call("DELETE", f"/qp/v1/qrs/{qr['qrcId']}")
    assert (said.status, said.body["code"], said.body["qr"]["status"]) == (409, "NOT_CANCELLABLE", status)


async def test_a_code_may_be_paid_twice(qp: QpPartner) -> None:
    """Two accepted payments with ids of their own under a code that is PAID."""
    await qp.create("o1", testScenario="paid_twice")
    await becomes(qp, "o1", (2, 61_020))
    assert len({payment["paymentId"] for payment in await qp.payments("o1")}) == 2
    assert await qp.status("o1") == "PAID"


async def test_a_code_may_be_paid_after_it_expired(qp: QpPartner) -> None:
    """The code stays EXPIRED, the payment is ACCEPTED."""
    await qp.create("o1", ttlSeconds=60, testScenario="paid_after_expiry:1000")
    await qp.control.advance(60_000)
    assert await qp.status("o1") == "EXPIRED"
    assert await qp.paid("o1") == (0, 0)
    await qp.control.advance(1_000)
    await becomes(qp, "o1", (1, 30_510))
    assert await qp.status("o1") == "EXPIRED"


async def test_a_deleted_code_may_be_paid_by_force(qp: QpPartner) -> None:
    """What no bank should let through, and one did."""
    qr = (await qp.create("o1")).body
    await qp.call("DELETE", f"/qp/v1/qrs/{qr['qrcId']}")
    await qp.somebody_pays("o1", force=True, count=2)
    assert await qp.paid("o1") == (2, 61_020)
    assert await qp.status("o1") == "CANCELLED"


async def test_a_payment_may_be_of_another_amount(qp: QpPartner) -> None:
    """The books have what was paid, the code what was asked."""
    qr = (await qp.create("o1", testScenario="paid_amount:100+paid")).body
    await becomes(qp, "o1", (1, 100))
    assert (await qp.call("GET", f"/qp/v1/qrs/{qr['qrcId']}")).body["amount"] == 30_510
    await qp.create("o2")
    await qp.somebody_pays("o2", amount=7)
    assert await qp.paid("o2") == (1, 7)


async def test_an_accepted_payment_is_taken_back(qp: QpPartner) -> None:
    """By a scenario, or by control."""
    await qp.create("o1", testScenario="paid+reversal:50")
    await becomes(qp, "o1", (1, 0))
    assert (await qp.payments("o1"))[0]["status"] == "REVERSED"
    await qp.create("o2")
    (payment,) = await qp.somebody_pays("o2")
    await qp.control.call("POST", f"/control/payments/{payment['paymentId']}/reverse", {})
    assert await qp.paid("o2") == (1, 0)


async def test_a_declined_payment_is_accepted_after_all(qp: QpPartner) -> None:
    """DECLINED was said, and then the money came."""
    await qp.create("o1", testScenario="paid+payment_declined:no_money+revived:50")
    await becomes(qp, "o1", (1, 30_510))
    assert (await qp.payments("o1"))[0]["status"] == "ACCEPTED"


async def test_a_static_code_is_paid_as_often_as_people_like(qp: QpPartner) -> None:
    """It stays NEW; each payment has an id and, where the code leaves it open, an amount of its own."""
    qr = (await qp.create("o1", None, qrType="static")).body
    assert (parse(qr["payload"]).type, qr["amount"], qr["expiresAt"]) == (LinkType.STATIC, None, None)
    await qp.somebody_pays("o1", amount=100)
    await qp.somebody_pays("o1", amount=250, count=2)
    assert await qp.paid("o1") == (3, 600)
    assert await qp.status("o1") == "NEW"
    assert len({payment["paymentId"] for payment in await qp.payments("o1")}) == 3


async def test_a_creation_is_declined(qp: QpPartner) -> None:
    """422 with the scenario's code, or OVER_LIMIT; no code comes of it."""
    said = await qp.create("o1", testScenario="decline:merchant_blocked")
    assert (said.status, said.body["code"]) == (422, "MERCHANT_BLOCKED")
    said = await qp.create("o1", 100_000_001)
    assert (said.status, said.body["code"]) == (422, "OVER_LIMIT")
    assert await qp.find("o1") == []
    assert (await qp.create("o1", 100_000_000)).status == 200


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 0},
        {"amount": -1},
        {"amount": 1.5},
        {"amount": "100"},
        {"amount": None},
        {"order": ""},
        {"order": "a b"},
        {"order": "x" * 41},
        {"ttlSeconds": 0},
        {"ttlSeconds": 259_201},
        {"qrType": "eternal"},
        {"qrType": "static", "ttlSeconds": 60},
        {"surprise": 1},
    ],
)
async def test_a_request_that_breaks_the_contract_is_refused(qp: QpPartner, change: dict[str, object]) -> None:
    """HTTP 400, naming the field."""
    said = await qp.call("POST", "/qp/v1/qrs", {"order": "o1", "amount": 100, "qrType": "dynamic"} | change)
    assert (said.status, said.body["code"]) == (400, "INVALID_REQUEST")
    assert said.body["message"].partition(":")[0] in {*change, "body"}


async def test_what_does_not_exist_is_not_found(qp: QpPartner) -> None:
    """Codes, payments, refunds."""
    for path in ("/qp/v1/qrs/NONE", "/qp/v1/qrs/NONE/payments", "/qp/v1/payments/NONE", "/qp/v1/refunds/NONE"):
        said = await qp.call("GET", path)
        assert (said.status, said.body["code"]) == (404, "NOT_FOUND")


async def paid_order(qp: QpPartner) -> str:
    """Return the id of a payment of 30,510 kopecks."""
    await qp.create("o1")
    (payment,) = await qp.somebody_pays("o1")
    return str(payment["paymentId"])


async def refund(qp: QpPartner, refund_id: str, payment_id: str, amount: int, scenario: str = "success") -> object:
    """Ask for a refund; return what became of it."""
    body = {"refundId": refund_id, "paymentId": payment_id, "amount": amount, "testScenario": f"refund={scenario}"}
    said = await qp.call("POST", "/qp/v1/refunds", body)
    return said.body.get("status") or said.body["code"]


async def test_refunds_together_are_at_most_the_payment(qp: QpPartner) -> None:
    """In parts, down to the last kopeck; declined ones do not count."""
    payment_id = await paid_order(qp)
    assert await refund(qp, "r1", payment_id, 30_000) == "COMPLETED"
    assert await refund(qp, "r2", payment_id, 511) == "REFUND_EXCEEDS_PAYMENT"
    assert await refund(qp, "r3", payment_id, 510, "decline:closed") == "DECLINED"
    assert await refund(qp, "r4", payment_id, 510) == "COMPLETED"
    assert await refund(qp, "r5", payment_id, 1) == "REFUND_EXCEEDS_PAYMENT"
    assert await qp.paid("o1") == (1, 0)
    assert (await qp.payments("o1"))[0]["refunded"] == 30_510


async def test_a_refund_is_made_once(qp: QpPartner) -> None:
    """Idempotent by its id, which stands for nothing else."""
    payment_id = await paid_order(qp)
    assert await refund(qp, "r1", payment_id, 100) == "COMPLETED"
    assert await refund(qp, "r1", payment_id, 100) == "COMPLETED"
    assert await refund(qp, "r1", payment_id, 101) == "ORDER_CONFLICT"
    assert await qp.paid("o1") == (1, 30_410)


async def test_a_refund_is_stuck_until_control_decides(qp: QpPartner) -> None:
    """IN_PROGRESS, and it counts against the payment meanwhile."""
    payment_id = await paid_order(qp)
    assert await refund(qp, "r1", payment_id, 30_510, "processing") == "IN_PROGRESS"
    assert await refund(qp, "r2", payment_id, 1) == "REFUND_EXCEEDS_PAYMENT"
    await qp.control.call("POST", "/control/refunds/r1/decline", {})
    assert (await qp.call("GET", "/qp/v1/refunds/r1")).body["status"] == "DECLINED"
    assert await refund(qp, "r2", payment_id, 1) == "COMPLETED"


async def test_only_accepted_payments_are_refunded(qp: QpPartner) -> None:
    """Not those under way, declined or reversed."""
    await qp.create("o1")
    (payment,) = await qp.somebody_pays("o1", scenario="processing")
    assert await refund(qp, "r1", payment["paymentId"], 1) == "NOT_REFUNDABLE"
    assert await refund(qp, "r1", "NONE", 1) == "NOT_FOUND"
