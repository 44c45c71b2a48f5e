"""Containers without Docker: a process that sees the files and requirements of its image, and its environment alone.

The interpreter is ours; of what is installed beside it a process finds only what the image's lock names.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tests.unit.compose.reading import Image, locked


class Container:
    """An image laid out in a folder, ready to run commands."""

    def __init__(self, image: Image, folder: Path) -> None:
        self._app = folder / "app"
        self._packages = folder / "packages"
        image.lay_out(self._app)
        self._packages.mkdir(parents=True)
        assert image.lock is not None
        for name in locked(image.lock):
            self._link(name)

    def _link(self, name: str) -> None:
        try:
            found = distribution(name)
        except PackageNotFoundError:
            return  # for another platform or Python
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            place = self._packages / top
            if not place.exists():
                place.symlink_to(Path(str(found.locate_file(top))))

    @property
    def cwd(self) -> Path:
        """The folder it starts in."""
        return self._app

    def argv(self, words: Sequence[str]) -> list[str]:
        """Return a command of the container as it is run here."""
        assert words[0] == "python"
        return [sys.executable, "-S", "-W", "error", *words[1:]]  # -S: nothing but what is linked

    def environ(self, own: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a process: what it is given, and where its files are."""
        path = os.pathsep.join((str(self._app), str(self._packages)))
        return {**own, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
