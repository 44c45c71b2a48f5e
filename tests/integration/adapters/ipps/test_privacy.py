"""Nobody who reads logs, results or metrics learns whom the money went to; and the process as it is deployed."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp import ClientConnectorError

from adapters.ipps.manifest import PSP
from adapters.sandbox.ipps import payables
from ops.embedded.server import end_with_parent
from shared.contracts import Outcome
from tests.integration.adapters.ipps.scene import (
    API_KEY,
    BILL,
    COMMENT,
    MOBILE,
    NAME,
    OLDER_SECRET,
    RESULTS,
    RING_TEXT,
    SECRET,
    World,
    a_job,
    open_psp,
    to_code,
)
from tests.ports import Lease
from tests.waiting import until

ROOT = Path(__file__).parents[4]
_ELSEWHERE = {"environment": "PAYMESH_ENVIRONMENT", "keyring_text": "PAYMESH_KEYRING", "redis_url": "REDIS_URL"}
NATIONAL_ID, ACCOUNT = "1234567890121", "9876543210"
PERSONAL = (
    MOBILE,
    "801234567",
    NATIONAL_ID,
    "234567890121",
    ACCOUNT,
    NAME,
    "Prasert",
    COMMENT,
    to_code()["qr"],
    BILL.ref1,
    *(name.split()[0] for name in payables._NAMES),
)
SECRETS = (API_KEY, SECRET, OLDER_SECRET, RING_TEXT[3:20])


class Process:
    """The adapter as it is deployed: ``python -m adapters.ipps.main``."""

    def __init__(self, log: Path, variables: dict[str, Any]) -> None:
        self._log = log
        environment = {"PATH": os.environ["PATH"], "PAYMESH_LOG": "json", "PAYMESH_LOG_LEVEL": "debug"}
        for name, value in variables.items():
            environment[_ELSEWHERE.get(name, f"ADAPTER_{name.upper()}")] = str(value)
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "adapters.ipps.main"],
                cwd=ROOT,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent(),  # noqa: PLW1509 - one prctl call, prepared before the fork
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(20)

    @property
    def log(self) -> str:
        """All it has written."""
        return self._log.read_text()

    @property
    def code(self) -> int | None:
        """How it ended, if it has."""
        return self._process.poll()

    def leave(self) -> None:
        """Ask it to stop."""
        self._process.send_signal(signal.SIGTERM)


async def everything(world: World) -> list[Outcome]:
    """Have one of everything happen that says something about somebody; return how it came out."""
    jobs = [
        a_job(),
        a_job(to_code()),
        a_job({"proxy_type": "NATIONAL_ID", "proxy": NATIONAL_ID, "recipient_name": NAME}),
        a_job({"proxy_type": "BANK_ACCOUNT", "proxy": ACCOUNT, "bank_code": "014", "comment": COMMENT}),
        a_job(scenario="timeout_after_commit"),
        a_job({"proxy_type": "MOBILE", "proxy": f"{MOBILE}9"}),
        a_job({"proxy_type": "NATIONAL_ID", "proxy": f"{NATIONAL_ID[:-1]}0"}),
        a_job({"qr": to_code()["qr"][:-1] + "!"}),
        a_job(scenario="lookup=decline:unknown_proxy"),
        a_job(scenario="lookup=malformed_before_commit*1"),
        a_job(scenario="decline:over_limit+callback_forged"),
    ]
    results = await asyncio.gather(*(world.carried_out(job) for job in jobs))
    for job in jobs[:5]:
        await world.observations(job)
    return [result.outcome for result in results]


async def test_nothing_that_is_written_or_told_names_anybody(redis_url: str, lease: Lease, tmp_path: Path) -> None:
    """Neither log lines nor results nor metrics, of the process as it is deployed; and it leaves in order."""
    health = lease()
    async with open_psp(redis_url) as world:
        with Process(tmp_path / "log", {**world.variables, "health_port": health}) as process:
            await until(lambda: "adapter_ready" in process.log, "the adapter")
            outcomes = await everything(world)
            async with world.http.get(f"http://127.0.0.1:{health}/metrics") as answer:
                metrics = await answer.text()
            process.leave()
            await until(lambda: process.code is not None, "the end")
        rows = await world.client.execute_command("XRANGE", RESULTS, "-", "+")
        results = b"".join(value for _, fields in rows for value in fields.values()).decode()
    assert process.code == 0, process.log
    assert outcomes == [Outcome.PAID] * 5 + [Outcome.DECLINED] * 4 + [Outcome.PAID, Outcome.DECLINED]
    assert process.log.count('"psp_job"') == len(outcomes)
    assert '"S*** ' in results, "the payee's mask is there"
    for told in (process.log, results, metrics):
        assert not [value for value in (*PERSONAL, *SECRETS) if value in told]
    assert f'psp="{PSP}"' in metrics


async def test_a_process_that_is_told_nonsense_does_not_start(redis_url: str, tmp_path: Path) -> None:
    """It names every variable at fault and ends as misconfigured, having opened nothing."""
    wrong = {"base_url": "nowhere", "submit_fence": "barbed_wire", "callback_networks": "everywhere"}
    async with open_psp(redis_url) as world:
        with Process(tmp_path / "log", {**world.variables, **wrong}) as process:
            await until(lambda: process.code is not None, "the end")
        assert process.code == 78
        assert [name for name in wrong if f"ADAPTER_{name.upper()}" not in process.log] == []
        assert not [value for value in SECRETS if value in process.log]
        with pytest.raises(ClientConnectorError):
            await world.http.get(world.callback_url)
