"""The load's HTTP: answers framed by their length, however the bytes come in."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bench.http_connection import Answer, Connection, connect, parse

_ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"id":"x"'
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\ncontent-length: 0\r\n\r\n"


def test_an_answer_is_read_whole() -> None:
    """Status and body."""
    assert parse(_ACCEPTED) == Answer(202, b'{"id":"x"', 0.0)


def test_a_refusal_says_how_long_to_wait() -> None:
    """Retry-After, and header names in any case."""
    assert parse(_BUSY) == Answer(503, b"", 1.0)


@pytest.mark.parametrize("length", range(len(_ACCEPTED)))
def test_half_an_answer_is_none(length: int) -> None:
    """Cut anywhere, it is waited for."""
    assert parse(_ACCEPTED[:length]) is None


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[int]:
    """A server that answers each request in two pieces and closes after ``bye``; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await reader.readline()) not in (b"", b"bye\n"):
            assert request == b"please\n"
            writer.write(_ACCEPTED[:20])
            await writer.drain()
            writer.write(_ACCEPTED[20:])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest_asyncio.fixture
async def connection(gateway: int) -> AsyncIterator[Connection]:
    """A connection to that server."""
    opened = await connect("127.0.0.1", gateway)
    yield opened
    opened.close()


async def test_one_connection_asks_again_and_again(connection: Connection) -> None:
    """Keep-alive: no bytes of one answer are left for the next."""
    answers = [await connection.ask(b"please\n") for _ in range(3)]

    assert [answer.status for answer in answers] == [202, 202, 202]


async def test_a_closed_connection_is_no_answer(connection: Connection) -> None:
    """Whoever waits is told, and so is whoever asks afterwards."""
    with pytest.raises(ConnectionError, match="closed"):
        await connection.ask(b"bye\n")
    with pytest.raises(ConnectionError, match="closed"):
        await connection.ask(b"please\n")
