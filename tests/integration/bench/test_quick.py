"""The smoke version, from bare servers to tables: whatever breaks the benchmark breaks this."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_the_quick_benchmark_measures_all_and_loses_nothing(tmp_path: Path) -> None:
    """It exits 0 only when every accepted payment settled once; all three pipelines have figures."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--ledger", "postgres", "--json", "--results", str(tmp_path)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

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
