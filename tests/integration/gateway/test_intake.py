"""The door's own switch: whoever closes it, nothing new comes in, and nobody loses what was accepted before."""

import pytest

from shared import intake
from tests.integration.gateway.stand import Client, Stand
from tests.waiting import until


async def switch(stand: Stand, why: intake.Why, *, closed: bool) -> None:
    """Close the door, or take that back."""
    async with stand.pool.acquire() as connection:
        if closed:
            await intake.close(connection, why, reason="moving", by="me")
        else:
            assert await intake.reopen(connection, why)


async def closed(client: Client) -> bool:
    """Whether a post is refused since the door is closed."""
    return await client.refused_as("intake_closed")


@pytest.mark.parametrize("why", intake.Why)
async def test_a_closed_door_refuses_what_is_new_and_answers_what_was_accepted(
    stand: Stand, client: Client, why: intake.Why
) -> None:
    """503 with Retry-After, the same key; a replay is told its intent; readiness stays, since reads go on."""
    first = await client.post(key="k")
    await switch(stand, why, closed=True)
    await until(lambda: closed(client), "the door is seen to be closed")
    entries = len(await stand.entries())
    refused = await client.post(key="new")
    assert (refused.status, refused.document["retry"], refused.headers["Retry-After"]) == (503, "same_key", "5")
    replayed = await client.post(key="k")
    assert (replayed.status, replayed.document["id"]) == (202, first.document["id"])
    assert len(await stand.entries()) == entries
    assert not await client.unready()
    await switch(stand, why, closed=False)
    await until(client.accepted, "the door is open again")


async def test_two_closures_are_two(stand: Stand, client: Client) -> None:
    """Who reopens after a drain does not reopen what a recovery closed."""
    for why in intake.Why:
        await switch(stand, why, closed=True)
    await until(lambda: closed(client), "the door is seen to be closed")
    await switch(stand, intake.Why.DRAIN, closed=False)
    assert [closure.why for closure in await intake.closures(stand.pool)] == [intake.Why.RECOVER]
    await switch(stand, intake.Why.RECOVER, closed=False)
    await until(client.accepted, "the door is open again")


async def test_a_gateway_that_starts_behind_a_closed_door_lets_nothing_in(stand: Stand) -> None:
    """From its first request on."""
    await switch(stand, intake.Why.DRAIN, closed=True)
    async with stand.gateway() as client:
        assert (await client.post()).code == "intake_closed"
    assert await stand.entries() == []
