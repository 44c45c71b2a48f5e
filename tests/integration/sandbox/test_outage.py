"""Outages: refused connections, 503 for everybody; and what goes on behind a closed door."""

import asyncio

import pytest
from aiohttp import ClientConnectorError, ClientError, ClientSession

from tests.integration.sandbox.world import IppsPartner, QpPartner
from tests.waiting import until


async def answers(partner: IppsPartner) -> bool:
    """Say whether the sandbox answers just now."""
    try:
        return (await partner.status("A0")).status == 404
    except ClientError:
        return False


async def test_an_outage_refuses_connections_until_it_ends(ipps: IppsPartner) -> None:
    """Control stays open, and the same port opens again."""
    await ipps.control.begin_outage(seconds=3600)
    with pytest.raises(ClientConnectorError):
        await ipps.status("A0")
    assert (await ipps.control.books())["payouts"] == 0
    await ipps.control.end_outage()
    assert await answers(ipps)


async def test_an_outage_ends_by_itself(ipps: IppsPartner) -> None:
    """After its seconds, by real time."""
    await ipps.control.begin_outage(seconds=0.3)
    assert not await answers(ipps)
    await until(lambda: answers(ipps), "the end of the outage")


async def test_an_outage_may_answer_everybody_with_503(qp: QpPartner) -> None:
    """With Retry-After where asked for; nothing reaches the books."""
    await qp.control.begin_outage(seconds=3600, mode="unavailable", retry_after_s=9)
    said = await qp.create("o1")
    assert (said.status, said.retry_after) == (503, "9")
    assert (await qp.control.books())["qrs"] == []
    await qp.control.begin_outage(seconds=3600, mode="unavailable")
    assert (await qp.create("o1")).retry_after is None
    await qp.control.end_outage()
    assert (await qp.create("o1")).status == 200


async def test_an_outage_cuts_those_being_served_and_they_are_paid_all_the_same(ipps: IppsPartner) -> None:
    """The caller saw a broken connection; the commit happened behind the closed door."""
    waiting = asyncio.create_task(ipps.pay("A1", "slow:60000"))

    async def arrived() -> int:
        return len(await ipps.control.calls("A1"))

    await until(arrived, "the slow request")
    await ipps.control.begin_outage(seconds=3600)
    with pytest.raises(ClientError):
        await waiting
    await ipps.control.advance(60_000)

    async def landed() -> bool:
        return await ipps.paid("A1") == (1, 10_000)

    await until(landed, "the commit behind the door")


async def test_a_kept_connection_does_not_outlive_the_beginning_of_an_outage(ipps: IppsPartner) -> None:
    """Callers with a pool notice like everybody else."""
    async with ClientSession() as pooled:
        partner = IppsPartner(pooled, ipps.url, ipps.control)
        assert await answers(partner)
        await ipps.control.begin_outage(seconds=3600)
        assert not await answers(partner)
        await ipps.control.end_outage()
        assert await answers(partner)
