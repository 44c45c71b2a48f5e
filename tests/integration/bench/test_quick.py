"""The smoke version, from bare servers to tables: whatever breaks the benchmark breaks this."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[3]


def _quick(tmp_path: Path, only: str) -> "subprocess.CompletedProcess[str]":
    options = ["--quick", "--only", only, "--ledger", "postgres", "--json", "--results", str(tmp_path)]
    return subprocess.run(
        [sys.executable, "-m", "bench", *options], cwd=_ROOT, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.slow
def test_the_quick_benchmark_measures_all_and_loses_nothing(tmp_path: Path) -> None:
    """It exits 0 only when every accepted payment settled once; all three pipelines have figures."""
    done = _quick(tmp_path, "pipelines")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["ledger"] == "postgres"
    assert set(result["rounds"][0]) == {"mesh", "bare", "http"}
    for section in result["rounds"][0].values():
        assert section["throughput"]["settled"] > 0
        assert section["latency"]["p50_ms"] > 0
        assert {"orchestrator", "valkey", "postgres", "load"} <= set(section["throughput"]["cpu_us"])
    assert "gateway" in result["rounds"][0]["http"]["throughput"]["cpu_us"]
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
    assert "CPU per settled intent" in done.stderr


@pytest.mark.slow
def test_the_quick_benchmark_of_psps_measures_every_weather_and_agrees_with_the_psp(tmp_path: Path) -> None:
    """It exits 0 only when no payment was lost and every withdrawal stands in the PSP's books as it was decided."""
    done = _quick(tmp_path, "psp")

    assert done.returncode == 0, done.stderr
    psp = json.loads(done.stdout)["psp"]
    (weathers,) = psp["rounds"]
    assert set(weathers) == set(psp["summary"]["p99_ms"]) == {"calm", "slow", "dead"}
    assert all(found["payments"]["settled"] > 0 for found in weathers.values())
    assert not weathers["calm"]["withdrawals"]
    assert sum(weathers["slow"]["withdrawals"].values()) > 0
    assert sum(weathers["dead"]["withdrawals"].values()) > 0
    assert [path.name.endswith("-psp.json") for path in tmp_path.iterdir()] == [True]


@pytest.mark.slow
def test_the_quick_benchmark_of_rates_refuses_the_storm_and_loses_none_of_either_key(tmp_path: Path) -> None:
    """It exits 0 only when every payment of both keys that was accepted settled once."""
    done = _quick(tmp_path, "rates")

    assert done.returncode == 0, done.stderr
    rates = json.loads(done.stdout)["rates"]
    (found,) = rates["rounds"]
    assert set(found) == set(rates["summary"]["p99_ms"]) == {"nobody", "limit", "storm"}
    assert all(one["accepted"] > 0 and one["p99_ms"] > 0 for one in found.values())
    assert found["nobody"]["other"] == {}
    assert found["storm"]["other"]["429"] > found["storm"]["other"]["202"]
    assert found["limit"]["other"]["202"] > found["limit"]["other"].get("429", 0)
    assert [path.name.endswith("-rates.json") for path in tmp_path.iterdir()] == [True]
