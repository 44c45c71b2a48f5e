"""The client by itself against sandboxes: what cannot be brought about through a job on the stream."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from aiohttp import web

from adapters.ipps.client import IppsPsp
from adapters.ipps.manifest import MANIFEST
from adapters.runtime.http import open_session
from adapters.runtime.psp import Ambiguous, Call, Definite, NotSent, Ready
from adapters.sandbox.ipps.api import PROFILE, build
from adapters.sandbox.serve import open_sandbox
from adapters.sandbox.settings import SandboxSettings
from shared.contracts import JobMessage, Outcome
from tests.integration.adapters.ipps.scene import AMOUNT, TO_MOBILE, a_job


@asynccontextmanager
async def a_sandbox() -> AsyncIterator[IppsPsp]:
    """Open a sandbox with the ordinary terms, and a client of it."""
    async with open_sandbox(PROFILE, build, SandboxSettings()) as sandbox, a_client(sandbox.url) as psp:
        yield psp


@asynccontextmanager
async def a_client(url: str) -> AsyncIterator[IppsPsp]:
    """Make a client of whatever answers there."""
    async with open_session(connections_max=4, timeout_s=2.0) as session:
        yield IppsPsp(manifest=MANIFEST, base_url=url, api_key=None, session=session, callbacks=None)


async def prepared(psp: IppsPsp, job: JobMessage) -> Call:
    """Look the payee up."""
    call = Call(job, TO_MOBILE)
    ready = await psp.prepare(call)
    assert isinstance(ready, Ready), ready
    return replace(call, prepared=ready.data)


async def test_a_look_up_that_the_psp_never_gave_out_submits_nothing() -> None:
    """It says so in words that its contract gives that meaning: the job may be prepared anew."""
    async with a_sandbox() as one, a_sandbox() as other:
        call = await prepared(one, a_job())
        assert await other.submit(call) == NotSent("unknown_lookup", 10.0)
        assert await other.inquire(call) == Definite(Outcome.NOT_FOUND)
        assert await other.submit(replace(call, prepared={})) == NotSent("not_prepared")


async def test_another_transfer_under_our_reference_is_never_taken_for_ours() -> None:
    """Neither the refusal nor the inquiry is believed; people have to look."""
    async with a_sandbox() as psp:
        theirs = await prepared(psp, a_job(amount_minor=AMOUNT + 1))
        ours = await prepared(psp, a_job(reference=theirs.job.reference))
        answer = await psp.submit(theirs)
        assert isinstance(answer, Definite)
        assert answer.outcome is Outcome.PAID
        assert await psp.submit(ours) == Ambiguous("reference_reused")
        assert await psp.inquire(ours) == Ambiguous("contradictory_amount")


async def test_a_reference_cannot_leave_its_place_in_the_address() -> None:
    """Whatever it is made of."""
    async with served({}) as (seen, url), a_client(url) as psp:
        await psp.inquire(Call(a_job(reference="../lookups?x#"), {}))
        assert seen == ["GET /v1/transfers/..%2Flookups%3Fx%23"]


async def test_a_redirection_is_not_followed() -> None:
    """The key and the payee are for one address only."""
    async with served({"Location": "/elsewhere"}, status=307) as (seen, url), a_client(url) as psp:
        assert await psp.submit(Call(a_job(), TO_MOBILE, {"lookup_ref": "LK1"})) == Ambiguous("http_307")
        assert seen == ["POST /v1/transfers"]


@asynccontextmanager
async def served(headers: dict[str, str], *, status: int = 404) -> AsyncIterator[tuple[list[str], str]]:
    """Answer everything alike, and note what was asked."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(f"{request.method} {request.raw_path}")
        return web.Response(status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner: Any = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield seen, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
