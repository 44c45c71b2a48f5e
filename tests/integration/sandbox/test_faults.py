"""What the caller saw against what the books say, for every way in which an answer goes wrong."""

import asyncio
import time

import pytest
from aiohttp import ClientPayloadError, ClientResponseError, ServerDisconnectedError
from aiohttp.client_exceptions import ClientOSError
from yarl import URL

from tests.integration.sandbox.world import WAIT_S, IppsPartner, QpPartner
from tests.waiting import until

SILENCE = (TimeoutError,)
TORN = (ClientPayloadError, ClientOSError, ServerDisconnectedError)
UNREADABLE = (ValueError, ClientResponseError)
BROKEN = [("timeout", SILENCE), ("reset", TORN), ("malformed", UNREADABLE)]


@pytest.mark.parametrize(("fault", "seen"), BROKEN)
async def test_an_answer_broken_before_the_commit_leaves_the_books_alone(
    ipps: IppsPartner, fault: str, seen: tuple[type[Exception], ...]
) -> None:
    """The partner cannot know; the books, and an inquiry, say that nothing happened."""
    with pytest.raises(seen):
        await ipps.pay("A1", f"{fault}_before_commit", wait_s=WAIT_S)
    assert await ipps.paid("A1") == (0, 0)
    assert (await ipps.status("A1")).status == 404
    assert [call["committed"] for call in await ipps.control.calls("A1", operation="transfer")] == [False]


@pytest.mark.parametrize(("fault", "seen"), BROKEN)
async def test_an_answer_broken_after_the_commit_has_paid(
    ipps: IppsPartner, fault: str, seen: tuple[type[Exception], ...]
) -> None:
    """The partner saw the very same; the books say otherwise."""
    with pytest.raises(seen):
        await ipps.pay("A1", f"{fault}_after_commit", wait_s=WAIT_S)
    assert await ipps.paid("A1") == (1, 10_000)
    assert (await ipps.status("A1")).body["status"] == "SETTLED"
    assert [call["committed"] for call in await ipps.control.calls("A1", operation="transfer")] == [True]


async def test_a_reset_is_a_reset_and_no_orderly_end(ipps: IppsPartner) -> None:
    """In the middle of an answer that had begun well."""
    await ipps.control.play("reset_before_commit", on="status")
    address = URL(ipps.url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"GET /v1/transfers/A1 HTTP/1.1\r\nHost: sandbox\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize(("moment", "paid"), [("before", (0, 0)), ("after", (1, 10_000))])
async def test_an_error_status_says_nothing_about_the_commit(
    ipps: IppsPartner, status: int, moment: str, paid: tuple[int, int]
) -> None:
    """Before or after: the same status, without Retry-After unless asked for."""
    said = await ipps.pay("A1", f"http_{status}_{moment}_commit")
    assert (said.status, said.retry_after) == (status, None)
    assert await ipps.paid("A1") == paid


async def test_an_error_says_when_to_come_again(ipps: IppsPartner) -> None:
    """Retry-After in seconds."""
    said = await ipps.pay("A1", "http_429_before_commit:7")
    assert (said.status, said.retry_after) == (429, "7")


async def test_a_slow_call_is_answered_late(ipps: IppsPartner) -> None:
    """Whoever waits long enough hears that all is well."""
    began = time.monotonic()
    assert (await ipps.pay("A1", "slow:200")).body["status"] == "SETTLED"
    assert time.monotonic() - began >= 0.2


async def test_a_caller_that_gives_up_is_paid_for_all_the_same(ipps: IppsPartner) -> None:
    """The request outlives its caller: not found at first, paid a moment later."""
    with pytest.raises(TimeoutError):
        await ipps.pay("A1", "slow:60000", wait_s=WAIT_S)
    assert (await ipps.status("A1")).status == 404
    assert await ipps.paid("A1") == (0, 0)
    await ipps.control.advance(60_000)

    async def landed() -> bool:
        return await ipps.paid("A1") == (1, 10_000)

    await until(landed, "the late request")
    assert (await ipps.status("A1")).body["status"] == "SETTLED"


async def test_each_operation_goes_wrong_on_its_own(ipps: IppsPartner) -> None:
    """A script names operations, and how many calls each scenario is for."""
    script = "lookup=slow:1;transfer=reset_after_commit;status=http_503_before_commit:1*2"
    reference = await ipps.ref(note=f"lunch #sandbox:{script}#")
    with pytest.raises(TORN):
        await ipps.transfer("A1", reference)
    answers = [await ipps.status("A1") for _ in range(3)]
    assert [said.status for said in answers] == [503, 503, 200]
    assert answers[0].retry_after == "1"
    assert answers[2].body["status"] == "SETTLED"


async def test_the_first_call_fails_and_its_repetition_succeeds(ipps: IppsPartner) -> None:
    """What a retry budget is for; the repetition pays, once."""
    reference = await ipps.ref(testScenario="http_503_before_commit*2")
    statuses = [(await ipps.transfer("A1", reference)).status for _ in range(3)]
    assert statuses == [503, 503, 200]
    assert await ipps.paid("A1") == (1, 10_000)


@pytest.mark.parametrize(("fault", "seen"), BROKEN)
@pytest.mark.parametrize(("moment", "codes"), [("before", 0), ("after", 1)])
async def test_a_code_whose_creation_went_wrong_is_found_by_its_order(
    qp: QpPartner, fault: str, seen: tuple[type[Exception], ...], moment: str, codes: int
) -> None:
    """Created or not, the repetition gives the one code of the order."""
    with pytest.raises(seen):
        await qp.create("o1", testScenario=f"{fault}_{moment}_commit*1", wait_s=WAIT_S)
    found = await qp.find("o1")
    assert len(found) == codes
    again = (await qp.create("o1")).body
    assert found in ([], [again])
    assert len((await qp.control.books("o1"))["qrs"]) == 1


async def test_a_scenario_without_sense_is_refused(ipps: IppsPartner, qp: QpPartner) -> None:
    """A test that misspells its scenario must not pass by succeeding."""
    said = await ipps.look_up(testScenario="explode")
    assert (said.status, said.body["errorCode"]) == (400, "INVALID_SCENARIO")
    said = await qp.create("o1", testScenario="transfer=success")
    assert (said.status, said.body["code"]) == (400, "INVALID_SCENARIO")
    assert (await qp.control.books())["qrs"] == []
