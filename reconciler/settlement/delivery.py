"""Where PSPs deliver their files: a folder, or a folder on an SFTP server. A file counts once its manifest is there.

``NAME.sha256`` vouches for ``NAME``: 64 hex digits, then perhaps the name, as `sha256sum` writes them. This module must
never change or delete what was delivered, and never believe a name: it is no path.
"""

import asyncio
import hashlib
import os
import re
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from shared.errors import Transient

NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
MANIFEST_BYTES_MAX: Final = 1_024
NAMES_MAX: Final = 100_000
"""More files than this in one folder are not looked through: somebody has to clear it out."""
CHUNK_BYTES: Final = 256 * 1024
_SUFFIX: Final = ".sha256"
_MANIFEST: Final = re.compile(r"([0-9a-fA-F]{64})(?:[ \t]+\*?(\S+))?\s*")


class Unreachable(Transient):
    """The place of delivery does not answer."""

    code = "delivery_unreachable"


@dataclass(frozen=True, slots=True)
class Delivered:
    """A file that is there, and what its manifest says; `sha256` is None where that makes no sense, or is no file.

    `stamp` changes when the file or its manifest does.
    """

    name: str
    sha256: str | None
    stamp: tuple[int, ...]


class Place(Protocol):
    """An open place of delivery."""

    async def look(self) -> list[Delivered]:
        """Return the files with a manifest, by name.

        Raises:
            Unreachable: the place does not answer.
        """
        ...

    async def copy(self, name: str, to: Path) -> str:
        """Copy a file, and return the SHA-256 of what was copied, in hex.

        Raises:
            Unreachable: the place does not answer, or the file is gone.
        """
        ...


class FolderSource(BaseModel):
    """A folder of this machine, or mounted on it; read only is enough."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["folder"] = "folder"
    psp: str = Field(pattern=r"^[a-z][a-z0-9]{1,15}\z")
    folder: Path

    def open(self) -> AbstractAsyncContextManager[Place]:
        """Open the place."""
        return _opened(Folder(self.folder))


class SftpSource(BaseModel):
    """A folder on an SFTP server, whose host key is known and which knows our key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sftp"]
    psp: str = Field(pattern=r"^[a-z][a-z0-9]{1,15}\z")
    host: str = Field(min_length=1, max_length=253)
    port: int = Field(default=22, ge=1, le=65_535)
    user: str = Field(min_length=1, max_length=64)
    folder: str = Field(default=".", max_length=1024)
    key_file: Path
    known_hosts: Path
    timeout_s: float = Field(default=30.0, gt=0, le=600)

    def open(self) -> AbstractAsyncContextManager[Place]:
        """Open the place."""
        # Only who is delivered to by SFTP loads its library.
        from reconciler.settlement.sftp import open_sftp  # noqa: PLC0415

        return open_sftp(self)


Source = Annotated[FolderSource | SftpSource, Field(discriminator="kind")]


class Folder:
    """A folder as a place of delivery."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def look(self) -> list[Delivered]:
        """Return the files with a manifest, by name."""
        return await asyncio.to_thread(self._look)

    async def copy(self, name: str, to: Path) -> str:
        """Copy a file, and return the SHA-256 of what was copied."""
        return await asyncio.to_thread(self._copy, name, to)

    def _look(self) -> list[Delivered]:
        try:
            names = vouched([entry.name for entry in os.scandir(self._folder)])
            return [one for name in names if (one := self._delivered(name)) is not None]
        except OSError as error:
            raise Unreachable(f"the folder cannot be read: {type(error).__name__}") from error

    def _delivered(self, name: str) -> Delivered | None:
        paths = self._folder / name, self._folder / f"{name}{_SUFFIX}"
        try:
            file, manifest = (os.lstat(path) for path in paths)
            # A link could lead anywhere, and whoever opens a pipe waits for ever: what is delivered are files.
            are_files = stat.S_ISREG(file.st_mode) and stat.S_ISREG(manifest.st_mode)
            sha256 = _manifest(paths[1], name) if are_files else None
        except FileNotFoundError:
            return None  # Taken away since the folder was listed.
        return Delivered(name, sha256, (file.st_size, file.st_mtime_ns, manifest.st_mtime_ns))

    def _copy(self, name: str, to: Path) -> str:
        digest = hashlib.sha256()
        try:
            with _opened_file(self._folder / name) as file, private(to) as copy:
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
                    copy.write(chunk)
        except OSError as error:
            raise Unreachable(f"{name} cannot be copied: {type(error).__name__}") from error
        return digest.hexdigest()


def vouched(names: Sequence[str]) -> list[str]:
    """Return, of the names in a folder, those of files that have a manifest.

    Raises:
        Unreachable: there are too many to look through.
    """
    if len(names) > NAMES_MAX:
        raise Unreachable(f"more than {NAMES_MAX} files lie there", code="delivery_crowded")
    there = set(names)
    return sorted(name for name in there if f"{name}{_SUFFIX}" in there and NAME.fullmatch(name))


def read_manifest(content: bytes, name: str) -> str | None:
    """Return the SHA-256 that a manifest says, in hex; None where it makes no sense, or is another file's."""
    found = _MANIFEST.fullmatch(content.decode("ascii", "replace"))
    if len(content) > MANIFEST_BYTES_MAX or found is None or found[2] not in (None, name):
        return None
    return found[1].lower()


def private(path: Path) -> BinaryIO:
    """Open a file for writing that nobody else may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


def _manifest(path: Path, name: str) -> str | None:
    """Return what a manifest says; one that cannot be read says nothing, and keeps nobody from the next."""
    try:
        with _opened_file(path) as file:
            return read_manifest(file.read(MANIFEST_BYTES_MAX + 1), name)
    except FileNotFoundError:
        raise
    except OSError:
        return None


def _opened_file(path: Path) -> BinaryIO:
    """Open a file to read; a link is not followed, and nothing that has been put in its place is waited for."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


@asynccontextmanager
async def _opened(folder: Folder) -> AsyncIterator[Place]:
    yield folder
