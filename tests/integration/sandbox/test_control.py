"""Control over HTTP: rules, terms, calls, and refusals."""

import pytest

from adapters.sandbox.client import ControlError
from adapters.sandbox.ipps.api import PROFILE, build
from adapters.sandbox.serve import open_sandbox
from adapters.sandbox.settings import SandboxSettings
from tests.integration.sandbox.world import IppsPartner, QpPartner, Receiver


async def codes(ipps: IppsPartner, count: int, first: int = 0) -> list[str | None]:
    """Make transfers and return what each was declined with."""
    reference = await ipps.ref()
    return [(await ipps.transfer(f"A{first + n}", reference)).body["errorCode"] for n in range(count)]


async def test_a_rule_for_all_holds_until_it_is_taken_back(ipps: IppsPartner) -> None:
    """For the operation that moves money, unless another is named."""
    await ipps.control.play("decline:over_limit")
    assert await codes(ipps, 3) == ["OVER_LIMIT"] * 3
    await ipps.control.play_nothing()
    assert await codes(ipps, 1, first=3) == [None]


async def test_a_rule_for_the_next_calls_ends_by_itself(ipps: IppsPartner) -> None:
    """Two of three."""
    await ipps.control.play("decline:over_limit", times=2)
    assert await codes(ipps, 3) == ["OVER_LIMIT", "OVER_LIMIT", None]


async def test_a_rule_for_a_reference_outranks_the_others(ipps: IppsPartner) -> None:
    """Reference before next n before all."""
    await ipps.control.play("decline:account_closed", match={"reference": "A1"})
    await ipps.control.play("decline:over_limit", times=2)
    await ipps.control.play("decline:unknown_proxy")
    assert await codes(ipps, 4) == ["OVER_LIMIT", "ACCOUNT_CLOSED", "OVER_LIMIT", "UNKNOWN_PROXY"]


async def test_a_rule_matches_request_fields(ipps: IppsPartner) -> None:
    """Of the transfer itself, and of the look-up behind it; all of them must fit."""
    await ipps.control.play("decline:account_closed", match={"proxyValue": "0066809999999", "amount": "100.00"})
    closed = await ipps.ref("0066809999999")
    assert (await ipps.transfer("A1", closed)).body["errorCode"] == "ACCOUNT_CLOSED"
    assert (await ipps.transfer("A2", closed, "100.01")).body["errorCode"] is None
    assert (await ipps.transfer("A3", await ipps.ref())).body["errorCode"] is None
    (rule,) = (await ipps.control.call("GET", "/control/scenarios"))["rules"]
    assert (rule["hits"], rule["timesLeft"], rule["on"]) == (1, None, ["transfer"])


async def test_a_rule_for_another_operation_leaves_transfers_alone(ipps: IppsPartner) -> None:
    """Inquiries fail, payments do not; a star is everything."""
    await ipps.control.play("http_503_before_commit", on="status")
    assert await codes(ipps, 1) == [None]
    assert (await ipps.status("A0")).status == 503
    await ipps.control.play("http_500_before_commit", on="*", times=1)
    assert (await ipps.look_up()).status == 500


async def test_a_requests_own_script_outranks_every_rule(ipps: IppsPartner) -> None:
    """The one who asks knows what it tests."""
    await ipps.control.play("decline:over_limit", match={"reference": "A1"})
    assert (await ipps.pay("A1", "success")).body["status"] == "SETTLED"


async def test_calls_are_remembered_in_order(qp: QpPartner) -> None:
    """Who called for what, and how it ended."""
    await qp.create("o1", testScenario="http_503_before_commit*1")
    await qp.create("o1")
    await qp.find("o1")
    calls = [(call["operation"], call["outcome"], call["committed"]) for call in await qp.control.calls("o1")]
    assert calls == [("create", "status", False), ("create", "200", True), ("find", "200", True)]
    assert len(await qp.control.calls("o1", operation="create")) == 2
    assert await qp.control.calls("o2") == []


async def test_terms_are_changed_one_by_one_and_never_show_the_secret(ipps: IppsPartner) -> None:
    """What is wrong changes nothing."""
    before = await ipps.control.change_terms(lookupTtlMs=5)
    assert (before["lookupTtlMs"], before["submitFence"]) == (5, "resubmit")
    assert "callbackSecret" not in before
    for wrong in ({"lookupTtl": 5}, {"submitFence": "hope"}, {"lookupTtlMs": -1}, {"callbackSecret": None}):
        with pytest.raises(ControlError) as refused:
            await ipps.control.change_terms(**wrong)
        assert (refused.value.status, refused.value.code) == (400, "INVALID_REQUEST")
    assert await ipps.control.change_terms() == before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/control/scenarios", {"scenario": "explode"}),
        ("/control/scenarios", {"scenario": "success", "on": "create"}),
        ("/control/scenarios", {"scenario": "success", "times": 0}),
        ("/control/outage", {"seconds": 0}),
        ("/control/outage", {"seconds": 1, "mode": "sometimes"}),
        ("/control/clock", {"advanceMs": -1}),
        ("/control/callbacks", {"reference": "A1", "amountMinor": 0}),
        ("/control/transfers/A1/settle", {"errorCode": "lower"}),
    ],
)
async def test_a_wish_without_sense_is_refused(ipps: IppsPartner, path: str, body: dict[str, object]) -> None:
    """400, and nothing changes."""
    with pytest.raises(ControlError) as refused:
        await ipps.control.call("POST", path, body)
    assert refused.value.status == 400
    assert (await ipps.control.call("GET", "/control/scenarios"))["rules"] == []


async def test_control_decides_only_what_is_open(ipps: IppsPartner) -> None:
    """Nothing unknown, and nothing that is settled already."""
    for path, status in (("/control/transfers/A1/settle", 404), ("/control/transfers/A2/settle", 409)):
        await ipps.pay("A2")
        with pytest.raises(ControlError) as refused:
            await ipps.control.call("POST", path, {})
        assert refused.value.status == status
    with pytest.raises(ControlError, match="NOT_FOUND"):
        await ipps.control.tell("A1")
    assert await ipps.paid("A2") == (1, 10_000)


async def test_a_sandbox_is_alive_and_ready(ipps: IppsPartner) -> None:
    """Where probes look for it: on the control port."""
    for path in ("/livez", "/readyz"):
        assert (await ipps.control.call("GET", path))["status"] == "ok"


async def test_a_key_keeps_strangers_out(ipps: IppsPartner, ipps_receiver: Receiver) -> None:
    """401 in the provider's words; control needs none."""
    locked = SandboxSettings(api_key="the-key")
    async with open_sandbox(PROFILE, build, locked) as sandbox:
        url = sandbox.url + "/v1/transfers/A1"
        async with ipps.http.get(url) as answer:
            assert (answer.status, (await answer.json())["errorCode"]) == (401, "UNAUTHENTICATED")
        async with ipps.http.get(url, headers={"Authorization": "Bearer the-key"}) as answer:
            assert answer.status == 404
    assert ipps_receiver.heard == []


async def test_books_show_one_reference_or_all(ipps: IppsPartner) -> None:
    """Look-ups belong to the references they were used for."""
    await ipps.pay("A1")
    await ipps.pay("A2")
    await ipps.ref()
    one, everything = await ipps.control.books("A1"), await ipps.control.books()
    assert [len(one[name]) for name in ("lookups", "transfers", "movements", "bars")] == [1, 1, 1, 0]
    assert [len(everything[name]) for name in ("lookups", "transfers", "movements")] == [3, 2, 2]
    assert (one["paidMinor"], everything["paidMinor"]) == (10_000, 20_000)
