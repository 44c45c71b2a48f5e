"""The commands of the stores: PostgreSQL's settings exist, TigerBeetle's data file is made once and whole."""

import subprocess
from pathlib import Path

import pytest

from ops.embedded.tigerbeetle import tigerbeetle_binary
from shared.db.pool import Pool
from tests.unit.compose.reading import MESH

_STUB = """#!/bin/sh
for file; do :; done
echo "$@" >> "$CALLS"
echo half > "$file"
[ ! -e "$FAILING" ] || exit 1
echo whole > "$file"
"""


async def test_postgres_knows_the_settings_it_is_given(pool: Pool) -> None:
    """By name, and by value where there is a choice of values."""
    words = MESH.services()["postgres"]["command"]
    assert words[0] == "postgres"
    assert set(words[1::2]) == {"-c"}
    for setting in words[2::2]:
        name, value = setting.split("=", 1)
        found = await pool.fetchrow("SELECT vartype, enumvals FROM pg_settings WHERE lower(name) = $1", name)
        assert found is not None, name
        if found["vartype"] == "enum":
            assert value in found["enumvals"], setting


def format_job(data: Path, program: Path) -> list[str]:
    """Return the command that makes the data file, with its folder and its program here."""
    service = MESH.services()["tigerbeetle-format"]
    assert service["entrypoint"] == ["/bin/sh", "-euc"]
    (script,) = service["command"]
    return ["/bin/sh", "-euc", script.replace("/data/", f"{data}/").replace("/tigerbeetle format", f"{program} format")]


def test_the_ledgers_file_is_made_once_and_never_again(tmp_path: Path) -> None:
    """What a run that failed left behind is no data file; what is there is left alone."""
    data, program, calls, failing = (tmp_path / name for name in ("data", "stub", "calls", "failing"))
    data.mkdir()
    program.write_text(_STUB)
    program.chmod(0o700)
    env = {"CALLS": str(calls), "FAILING": str(failing), "TIGERBEETLE_CLUSTER_ID": "7", "PATH": "/usr/bin:/bin"}

    def run() -> int:
        return subprocess.run(format_job(data, program), env=env, timeout=20, check=False).returncode

    failing.touch()
    assert run() != 0
    assert not (data / "0_0.tigerbeetle").exists()
    failing.unlink()
    assert [run(), run()] == [0, 0]
    assert [path.name for path in data.iterdir()] == ["0_0.tigerbeetle"]
    assert (data / "0_0.tigerbeetle").read_text() == "whole\n"
    assert len(calls.read_text().splitlines()) == 2
    assert "--cluster=7" in calls.read_text()


@pytest.mark.tigerbeetle
def test_the_ledgers_server_knows_the_options_it_is_given(tmp_path: Path) -> None:
    """All of them are read before it finds that there is no such file."""
    binary = tigerbeetle_binary()
    if binary is None:
        pytest.skip("no TigerBeetle server on PATH or in TIGERBEETLE_BIN")

    def said(*words: str) -> str:
        done = subprocess.run([str(binary), *words], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode != 0
        return done.stderr

    command = MESH.services()["tigerbeetle"]["command"]
    words = [word.replace("/data/", f"{tmp_path}/") for word in command]
    assert "Path does not exist" in said(*words)
    assert "unexpected argument" in said(*words[:-1], "--no-such-option=1", words[-1])
