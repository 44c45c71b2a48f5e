"""``python -m adapters.qp.main``: the QP adapter as a process. Wires, and must never do anything else."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession

from adapters.qp import callbacks
from adapters.qp.client import QpApi, QpPsp
from adapters.qp.manifest import MANIFEST
from adapters.qp.settings import QpSettings
from adapters.runtime.main import run_adapter


@asynccontextmanager
async def open_qp(settings: QpSettings, session: ClientSession) -> AsyncIterator[QpPsp]:
    """Make QP's adapter."""
    api = QpApi(session=session, url=settings.base_url, api_key=settings.api_key)
    yield QpPsp(api, callbacks=callbacks.rules(secrets=settings.secrets(), networks=settings.networks()))


if __name__ == "__main__":
    sys.exit(run_adapter(QpSettings, open_qp, name=MANIFEST.psp))
