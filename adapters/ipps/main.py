"""The IPPS adapter as a process: ``python -m adapters.ipps.main``; see `adapters.ipps.settings` for its variables."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession

from adapters.ipps.client import IppsPsp
from adapters.ipps.manifest import PSP
from adapters.ipps.settings import IppsSettings
from adapters.runtime.main import run_adapter


@asynccontextmanager
async def open_ipps(settings: IppsSettings, session: ClientSession) -> AsyncIterator[IppsPsp]:
    """Make IPPS out of its settings."""
    yield IppsPsp(
        manifest=settings.manifest(),
        base_url=settings.base_url,
        api_key=settings.api_key,
        session=session,
        callbacks=settings.callbacks(),
    )


def main() -> int:
    """Run the adapter until it is told to stop; return the exit code."""
    return run_adapter(IppsSettings, open_ipps, name=PSP)


if __name__ == "__main__":
    sys.exit(main())
