"""IPPS: look up, pay, inquire; what its books say afterwards."""

import pytest

from adapters.ipps.emvco import encode
from adapters.ipps.payees import Bill, Transfer
from adapters.ipps.proxies import mobile
from tests.integration.sandbox.world import IppsPartner
from tests.waiting import until


async def test_a_payment_is_looked_up_made_and_inquired(ipps: IppsPartner) -> None:
    """The contract, field by field."""
    found = (await ipps.look_up(amount="123.45")).body
    assert found.keys() == {"statusCode", "lookupRef", "expiresAt", "accountNameMasked", "bankCode", "amount"}
    assert (found["statusCode"], found["amount"]) == ("00", "123.45")
    assert found["accountNameMasked"].endswith("***")
    made = (await ipps.transfer("UID000000000001", found["lookupRef"], "123.45")).body
    assert made.pop("txnNo")
    assert made == {
        "statusCode": "00",
        "partnerTxnUid": "UID000000000001",
        "status": "SETTLED",
        "amount": "123.45",
        "currency": "THB",
        "errorCode": None,
    }
    inquired = (await ipps.status("UID000000000001")).body
    inquired.pop("txnNo")
    assert inquired == made
    assert await ipps.paid("UID000000000001") == (1, 12_345)


@pytest.mark.parametrize(
    ("proxy_type", "proxy_value", "bank"),
    [
        ("MOBILE", "0066801234567", None),
        ("NATIONAL_ID", "1111111111111", None),
        ("EWALLET", "140000801111111", None),
        ("BANK_ACCOUNT", "0141234567890", "014"),
        ("QR", encode(Transfer(mobile("0801234567"))), None),
        ("QR", encode(Bill("099400016550100", "R1")), None),
    ],
)
async def test_everybody_well_formed_can_be_looked_up(
    ipps: IppsPartner, proxy_type: str, proxy_value: str, bank: str | None
) -> None:
    """And is always the same person."""
    first = (await ipps.look_up(proxy_value, proxy_type)).body
    again = (await ipps.look_up(proxy_value, proxy_type)).body
    assert first["statusCode"] == "00"
    assert bank in (None, first["bankCode"])
    assert first["lookupRef"] != again["lookupRef"]
    assert (first["accountNameMasked"], first["bankCode"]) == (again["accountNameMasked"], again["bankCode"])


async def test_a_biller_needs_a_reference(ipps: IppsPartner) -> None:
    """The first of three."""
    assert (await ipps.look_up("099400016550100", "BILLER", ref1="R1")).body["statusCode"] == "00"
    assert (await ipps.look_up("099400016550100", "BILLER")).body["errorCode"] == "INVALID_PROXY"


@pytest.mark.parametrize(
    ("proxy_type", "proxy_value", "code", "detail"),
    [
        ("MOBILE", "0801234567", "INVALID_PROXY", "bad_proxy"),
        ("QR", encode(Transfer(mobile("0801234567")))[:-4] + "0000", "INVALID_QR", "bad_crc"),
    ],
)
async def test_nobody_malformed_can_be_looked_up(
    ipps: IppsPartner, proxy_type: str, proxy_value: str, code: str, detail: str
) -> None:
    """A business refusal, and the defect's name."""
    said = await ipps.look_up(proxy_value, proxy_type)
    assert (said.status, said.body) == (200, {"statusCode": "10", "errorCode": code, "errorDesc": detail})


async def test_a_code_with_an_amount_is_paid_at_that_amount_only(ipps: IppsPartner) -> None:
    """Whether the look-up says another, or the transfer does."""
    code = encode(Transfer(mobile("0801234567")), amount_satang=5_000)
    assert (await ipps.look_up(code, "QR", amount="50.01")).body["errorCode"] == "AMOUNT_MISMATCH"
    found = (await ipps.look_up(code, "QR")).body
    assert found["amount"] == "50.00"
    made = (await ipps.transfer("A1", found["lookupRef"], "50.01")).body
    assert (made["status"], made["errorCode"]) == ("REJECTED", "AMOUNT_MISMATCH")
    assert (await ipps.transfer("A2", found["lookupRef"], "50.00")).body["status"] == "SETTLED"


@pytest.mark.parametrize("code", ["over_limit", "account_closed", "unknown_proxy"])
async def test_a_declined_transfer_is_recorded_and_pays_nothing(ipps: IppsPartner, code: str) -> None:
    """HTTP 200: a decline is an answer."""
    said = await ipps.pay("A1", f"decline:{code}")
    assert (said.status, said.body["statusCode"], said.body["status"]) == (200, "10", "REJECTED")
    assert said.body["errorCode"] == code.upper()
    assert (await ipps.status("A1")).body == said.body
    assert await ipps.paid("A1") == (0, 0)


async def test_an_unknown_proxy_has_no_lookup(ipps: IppsPartner) -> None:
    """The scenario of the look-up itself."""
    said = await ipps.look_up(testScenario="lookup=decline:unknown_proxy")
    assert (said.body["statusCode"], said.body["errorCode"]) == ("10", "UNKNOWN_PROXY")
    assert "lookupRef" not in said.body


async def test_amounts_over_the_limit_are_declined(ipps: IppsPartner) -> None:
    """At the look-up if it names the amount, else at the transfer; the limit itself is allowed."""
    assert (await ipps.look_up(amount="700000.01")).body["errorCode"] == "OVER_LIMIT"
    reference = await ipps.ref()
    assert (await ipps.transfer("A1", reference, "700000.01")).body["errorCode"] == "OVER_LIMIT"
    assert (await ipps.transfer("A2", reference, "700000.00")).body["status"] == "SETTLED"


async def test_a_transfer_under_way_becomes_final_by_itself(ipps: IppsPartner) -> None:
    """PROCESSING first, and no money; then the verdict of the scenario."""
    for uid, scenario, final in (
        ("A1", "processing:60000", "SETTLED"),
        ("A2", "processing:60000+decline:account_closed", "REJECTED"),
    ):
        said = await ipps.pay(uid, scenario)
        assert (said.body["status"], said.body["statusCode"], said.body["errorCode"]) == ("PROCESSING", "00", None)
        assert await ipps.paid(uid) == (0, 0)
        await ipps.control.advance(60_000)

        async def settled(uid: str = uid, final: str = final) -> bool:
            return bool((await ipps.status(uid)).body["status"] == final)

        await until(settled, f"{final} of {scenario}")
    assert await ipps.paid("A1") == (1, 10_000)
    assert await ipps.paid("A2") == (0, 0)
    assert (await ipps.status("A2")).body["errorCode"] == "ACCOUNT_CLOSED"


async def test_a_transfer_may_stay_under_way_until_control_decides(ipps: IppsPartner) -> None:
    """Settled, rejected, reversed; each only from where it can be."""
    for uid in ("A1", "A2"):
        await ipps.pay(uid, "processing")
    assert (await ipps.control.call("POST", "/control/transfers/A1/settle", {}))["status"] == "SETTLED"
    await ipps.control.call("POST", "/control/transfers/A2/reject", {"errorCode": "ACCOUNT_CLOSED"})
    assert (await ipps.status("A2")).body["errorCode"] == "ACCOUNT_CLOSED"
    assert await ipps.paid("A1") == (1, 10_000)
    await ipps.control.call("POST", "/control/transfers/A1/reverse", {})
    assert await ipps.paid("A1") == (1, 0)
    assert (await ipps.status("A1")).body["status"] == "REVERSED"


async def test_success_is_taken_back(ipps: IppsPartner) -> None:
    """SETTLED was true when it was said."""
    said = await ipps.pay("A1", "reversal:100")
    assert said.body["status"] == "SETTLED"

    async def taken_back() -> bool:
        return bool((await ipps.status("A1")).body["status"] == "REVERSED")

    await until(taken_back, "the reversal")
    assert await ipps.paid("A1") == (1, 0)


async def test_a_decline_turns_into_success(ipps: IppsPartner) -> None:
    """REJECTED was said, and then the money moved."""
    said = await ipps.pay("A1", "decline:over_limit+revived:100")
    assert said.body["status"] == "REJECTED"

    async def revived() -> bool:
        return await ipps.paid("A1") == (1, 10_000)

    await until(revived, "the revival")
    assert (await ipps.status("A1")).body["status"] == "SETTLED"


async def test_not_found_is_no_proof_while_the_provider_has_not_caught_up(ipps: IppsPartner) -> None:
    """Paid, and for a while unknown to inquiries."""
    assert (await ipps.pay("A1", "unseen:60000")).body["status"] == "SETTLED"
    assert (await ipps.status("A1")).status == 404
    assert await ipps.paid("A1") == (1, 10_000)
    await ipps.control.advance(60_000)
    assert (await ipps.status("A1")).body["status"] == "SETTLED"


@pytest.mark.parametrize(
    "change",
    [
        {"amount": "100"},
        {"amount": "100.000"},
        {"amount": "0.00"},
        {"amount": "-1.00"},
        {"amount": "1.00\n"},
        {"currency": "USD"},
        {"partnerTxnUid": "lower"},
        {"partnerTxnUid": "A234567890123456"},
        {"partnerTxnUid": ""},
        {"surprise": "x"},
        {"lookupRef": "LKUNKNOWN"},
    ],
)
async def test_a_request_that_breaks_the_contract_is_refused_and_not_recorded(
    ipps: IppsPartner, change: dict[str, str]
) -> None:
    """HTTP 400: an adapter's mistake, never a decline."""
    body = {"lookupRef": await ipps.ref(), "partnerTxnUid": "A1", "amount": "100.00", "currency": "THB"} | change
    said = await ipps.call("POST", "/v1/transfers", body)
    assert said.status == 400
    assert (await ipps.status("A1")).status == 404
    assert (await ipps.control.books())["transfers"] == []


async def test_unknown_paths_and_methods_are_answered_in_the_providers_words(ipps: IppsPartner) -> None:
    """JSON with a code, as everything."""
    assert (await ipps.call("GET", "/v2/transfers")).body["errorCode"] == "NO_SUCH_PATH"
    assert (await ipps.call("GET", "/v1/lookups")).body["errorCode"] == "NO_SUCH_METHOD"
    said = await ipps.call("POST", "/v1/lookups", {"note": "x" * 70_000})
    assert (said.status, said.body["errorCode"]) == (413, "TOO_LARGE")
