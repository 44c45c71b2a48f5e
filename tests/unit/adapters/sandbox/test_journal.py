"""The sandbox's memory on disk."""

import asyncio
import os
import threading
from pathlib import Path
from unittest.mock import patch

import pytest

from adapters.sandbox.books import Books, Record
from adapters.sandbox.journal import Journal
from shared.errors import Misconfigured
from tests.waiting import until


class Row(Record):
    """A row."""

    row_key: str
    value: int
    row_group: str = "g"


def opened(path: Path) -> tuple[Books, list[Row]]:
    """Open books with one table and return them with the rows they hold."""
    books = Books(Journal(path))
    table = books.table("row", Row, key=lambda row: row.row_key, group=lambda row: row.row_group)
    books.restore()
    return books, table.rows()


async def written(path: Path, *steps: list[Row]) -> None:
    """Write rows, each list as one change."""
    books, _ = opened(path)
    table = books.table("row", Row, key=lambda row: row.row_key)
    for step in steps:
        for row in step:
            table.put(row)
        await books.journal.durable()
    await books.journal.close()


async def test_the_last_line_of_a_row_is_the_row(tmp_path: Path) -> None:
    """Older ones stay in the file, as history."""
    path = tmp_path / "books.jsonl"
    await written(path, [Row(row_key="a", value=1)], [Row(row_key="b", value=2)], [Row(row_key="a", value=3)])
    books, rows = opened(path)
    assert rows == [Row(row_key="a", value=3), Row(row_key="b", value=2)]
    assert len(path.read_text().splitlines()) == 3
    await books.journal.close()


async def test_a_half_written_change_is_cut_off(tmp_path: Path) -> None:
    """Wherever the kill came: what was written whole stays, of the rest nothing does."""
    path = tmp_path / "books.jsonl"
    await written(path, [Row(row_key="a", value=1)])
    whole = path.read_bytes()
    await written(path, [Row(row_key="b", value=2), Row(row_key="c", value=3)])
    content = path.read_bytes()
    for length in range(len(whole), len(content)):
        path.write_bytes(content[:length])
        books, rows = opened(path)
        assert rows == [Row(row_key="a", value=1)]
        assert path.read_bytes() == whole
        await books.journal.close()


async def test_writing_goes_on_where_the_cut_was(tmp_path: Path) -> None:
    """The file stays readable."""
    path = tmp_path / "books.jsonl"
    await written(path, [Row(row_key="a", value=1)])
    with path.open("ab") as file:
        file.write(b'{"table":"row","ro')
    await written(path, [Row(row_key="b", value=2)])
    books, rows = opened(path)
    assert [row.value for row in rows] == [1, 2]
    await books.journal.close()


@pytest.mark.parametrize(
    "line", [b"no json", b"{}", b'{"table":"other","row":{}}', b'{"table":"row","row":{"rowKey":"a"}}', b"[]"]
)
async def test_a_file_of_somebody_else_is_refused(tmp_path: Path, line: bytes) -> None:
    """Its line is named; nothing is overwritten."""
    path = tmp_path / "books.jsonl"
    content = line + b'\n{"table":"row","row":{"rowKey":"a","value":1},"end":true}\n'
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match="line 1"):
        opened(path)
    assert path.read_bytes() == content


async def test_nobody_else_writes_to_open_books(tmp_path: Path) -> None:
    """Two sandboxes with one file would tear each other's lines."""
    books, _ = opened(tmp_path / "books.jsonl")
    with pytest.raises(Misconfigured, match="another sandbox"):
        Journal(tmp_path / "books.jsonl")
    await books.journal.close()


async def test_waiters_share_one_fsync(tmp_path: Path) -> None:
    """A hundred changes at once are two writes at most, and all are on disk when anybody goes on."""
    books, _ = opened(tmp_path / "books.jsonl")
    table = books.table("row", Row, key=lambda row: row.row_key)
    seen: list[int] = []

    async def change(number: int) -> None:
        table.put(Row(row_key=str(number), value=number))
        await books.journal.durable()
        seen.append((tmp_path / "books.jsonl").read_text().count("\n"))

    with patch("os.fsync", wraps=os.fsync) as fsync:
        await asyncio.gather(*(change(number) for number in range(100)))
    assert fsync.call_count <= 2
    assert min(seen) == 100
    await books.journal.close()


async def test_a_waiter_that_gives_up_tears_nothing(tmp_path: Path) -> None:
    """Its change reaches the disk all the same, and so do those after it."""
    path = tmp_path / "books.jsonl"
    books, _ = opened(path)
    table = books.table("row", Row, key=lambda row: row.row_key)
    table.put(Row(row_key="a", value=1))
    gate = threading.Event()
    with patch("os.fsync", side_effect=lambda _fd: gate.wait(10)) as fsync:
        waiter = asyncio.create_task(books.journal.durable())
        await until(lambda: fsync.called, "the beginning of the write")
        waiter.cancel()
        table.put(Row(row_key="b", value=2))
        gate.set()
        await books.journal.close()
    again, rows = opened(path)
    assert [row.value for row in rows] == [1, 2]
    await again.journal.close()


async def test_after_a_failed_write_nothing_is_durable_any_more(tmp_path: Path) -> None:
    """The file may end in half a line, so nobody is told of what would come after it."""
    books, _ = opened(tmp_path / "books.jsonl")
    table = books.table("row", Row, key=lambda row: row.row_key)
    with patch("os.fsync", side_effect=OSError("no room")):
        table.put(Row(row_key="a", value=1))
        with pytest.raises(OSError, match="no room"):
            await books.journal.durable()
    table.put(Row(row_key="b", value=2))
    with pytest.raises(OSError, match="no room"):
        await books.journal.durable()
    with pytest.raises(OSError, match="no room"):
        await books.journal.close()


async def test_without_a_file_nothing_is_kept() -> None:
    """And nobody waits."""
    books = Books(Journal(None))
    table = books.table("row", Row, key=lambda row: row.row_key)
    table.put(Row(row_key="a", value=1))
    await books.journal.durable()
    await books.journal.close()
    assert list(books.journal.replay()) == []
    assert table.get("a") == Row(row_key="a", value=1)
