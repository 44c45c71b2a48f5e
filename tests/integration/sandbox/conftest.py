"""Both sandboxes in this process, over real HTTP, with books in a fresh file and a receiver of their callbacks."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from aiohttp import ClientSession, TCPConnector
from pydantic import SecretStr

from adapters.sandbox.client import SandboxControl
from adapters.sandbox.ipps.api import PROFILE as IPPS
from adapters.sandbox.ipps.api import build as build_ipps
from adapters.sandbox.qp.api import PROFILE as QP
from adapters.sandbox.qp.api import build as build_qp
from adapters.sandbox.serve import open_sandbox
from adapters.sandbox.settings import SandboxSettings
from tests.integration.sandbox.world import SECRET, IppsPartner, QpPartner, Receiver, receiving
from tests.ports import Lease


@pytest_asyncio.fixture
async def http() -> AsyncIterator[ClientSession]:
    """A client that opens a connection for every call, so that a call fails for its own reasons only."""
    async with ClientSession(connector=TCPConnector(force_close=True)) as session:
        yield session


@pytest_asyncio.fixture
async def ipps_receiver() -> AsyncIterator[Receiver]:
    """Where IPPS calls back."""
    async with receiving("Ipps") as receiver:
        yield receiver


@pytest_asyncio.fixture
async def qp_receiver() -> AsyncIterator[Receiver]:
    """Where QP calls back."""
    async with receiving("Qp") as receiver:
        yield receiver


def settings(books: Path, receiver: Receiver, port: int) -> SandboxSettings:
    """The settings of a test's sandbox: quick retries, callbacks to the receiver."""
    return SandboxSettings(
        port=port,
        books=books,
        callback_url=receiver.url,
        callback_secret=SecretStr(SECRET),
        callback_retry_ms=10,
    )


@pytest_asyncio.fixture
async def ipps(
    tmp_path: Path, http: ClientSession, lease: Lease, ipps_receiver: Receiver
) -> AsyncIterator[IppsPartner]:
    """A partner of a fresh IPPS."""
    async with open_sandbox(IPPS, build_ipps, settings(tmp_path / "ipps.jsonl", ipps_receiver, lease())) as sandbox:
        yield IppsPartner(http, sandbox.url, SandboxControl(http=http, control_url=sandbox.control_url))


@pytest_asyncio.fixture
async def qp(tmp_path: Path, http: ClientSession, lease: Lease, qp_receiver: Receiver) -> AsyncIterator[QpPartner]:
    """A partner of a fresh QP."""
    async with open_sandbox(QP, build_qp, settings(tmp_path / "qp.jsonl", qp_receiver, lease())) as sandbox:
        yield QpPartner(http, sandbox.url, SandboxControl(http=http, control_url=sandbox.control_url))
