"""A folder on an SFTP server as a place of delivery.

The server is known by its host key and we by ours; there are no passwords. This module must never talk to a server
whose key it does not know, and never write to one.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import asyncssh

from reconciler.settlement.delivery import (
    CHUNK_BYTES,
    MANIFEST_BYTES_MAX,
    NAMES_MAX,
    Delivered,
    Place,
    SftpSource,
    Unreachable,
    private,
    read_manifest,
    vouched,
)


class SftpFolder:
    """An open folder on a server; every call has a time-out."""

    def __init__(self, client: asyncssh.SFTPClient, source: SftpSource) -> None:
        self._client = client
        self._source = source

    async def look(self) -> list[Delivered]:
        """Return the files with a manifest, by name."""
        async with _bounded(self._source):
            names: list[str] = []
            async for entry in self._client.scandir(self._source.folder):
                names.append(_text(entry.filename))
                if len(names) > NAMES_MAX:
                    break
        found = [await self._delivered(name) for name in vouched(names)]
        return [one for one in found if one is not None]

    async def copy(self, name: str, to: Path) -> str:
        """Copy a file, and return the SHA-256 of what was copied."""
        digest = hashlib.sha256()
        async with _bounded(self._source):
            remote = await self._client.open(f"{self._source.folder}/{name}", "rb")
        with private(to) as copy:
            try:
                place = 0
                while True:
                    # The bound is a chunk's, however large the file is.
                    async with _bounded(self._source):
                        chunk = cast("bytes", await remote.read(CHUNK_BYTES, place))
                    if not chunk:
                        return digest.hexdigest()
                    place += len(chunk)
                    digest.update(chunk)
                    await asyncio.to_thread(copy.write, chunk)
            finally:
                async with _bounded(self._source):
                    await remote.close()

    async def _delivered(self, name: str) -> Delivered | None:
        manifest = f"{self._source.folder}/{name}.sha256"
        try:
            async with _bounded(self._source):
                file = await self._client.stat(f"{self._source.folder}/{name}")
                async with self._client.open(manifest, "rb") as opened:
                    content = cast("bytes", await opened.read(MANIFEST_BYTES_MAX + 1))
        except Unreachable as error:
            if isinstance(error.__cause__, asyncssh.SFTPNoSuchFile):
                return None  # Taken away since the folder was listed.
            if isinstance(error.__cause__, asyncssh.SFTPPermissionDenied | asyncssh.SFTPFailure):
                # One that may not be read, or is no file, says nothing, and keeps nobody from the next.
                return Delivered(name, None, (0,))
            raise
        # Servers tell times in seconds: what a corrected manifest says is told from what it said before.
        manifest_stamp = int.from_bytes(hashlib.sha256(content).digest()[:8])
        return Delivered(name, read_manifest(content, name), (file.size or 0, int(file.mtime or 0), manifest_stamp))


@asynccontextmanager
async def open_sftp(source: SftpSource) -> AsyncIterator[Place]:
    """Open the folder on its server.

    Raises:
        Unreachable: it does not answer, is not who it was, or does not let us in.
    """
    async with _bounded(source):
        connection = await asyncssh.connect(
            source.host,
            source.port,
            username=source.user,
            client_keys=[str(source.key_file)],
            known_hosts=str(source.known_hosts),
            # Nothing of whoever runs this process: no agent, no configuration, no other keys.
            agent_path=None,
            config=None,
            password=None,
            connect_timeout=source.timeout_s,
            login_timeout=source.timeout_s,
            keepalive_interval=source.timeout_s,
        )
    async with connection:
        async with _bounded(source):
            client = await connection.start_sftp_client()
        async with client:
            yield SftpFolder(client, source)


@asynccontextmanager
async def _bounded(source: SftpSource) -> AsyncIterator[None]:
    """Bound what happens inside, and say what its failures mean."""
    try:
        async with asyncio.timeout(source.timeout_s):
            yield
    except (asyncssh.Error, OSError, TimeoutError) as error:
        raise Unreachable(f"the SFTP server of {source.psp}: {type(error).__name__}") from error


def _text(name: bytes | str) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name
