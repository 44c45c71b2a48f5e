"""Metrics: one process answers for itself, several for all."""

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client import Counter, Histogram

from shared.metrics import BATCH_BUCKETS, LATENCY_BUCKETS_S, exposition, open_registry


def test_a_process_shows_its_own_counts_and_itself() -> None:
    """Memory, descriptors and garbage collection included."""
    registry = open_registry()
    Counter("paymesh_seen", "Seen.", registry=registry).inc(3)
    text = exposition(registry).decode()
    assert "paymesh_seen_total 3.0" in text
    assert "process_resident_memory_bytes" in text
    assert "python_info" in text


def test_two_registries_count_apart() -> None:
    """No process-wide state: tests and services open their own."""
    one, other = open_registry(), open_registry()
    for registry in (one, other):
        Counter("paymesh_seen", "Seen.", registry=registry).inc()
    assert "paymesh_seen_total 1.0" in exposition(one).decode()
    assert "paymesh_seen_total 1.0" in exposition(other).decode()


def test_a_histogram_takes_both_kinds_of_buckets() -> None:
    """They rise, and what is larger than all of them is counted too."""
    registry = open_registry()
    for name, buckets in (("latency_s", LATENCY_BUCKETS_S), ("batch", BATCH_BUCKETS)):
        Histogram(f"paymesh_{name}", "Test.", buckets=buckets, registry=registry).observe(buckets[-1] + 1)
        assert f'paymesh_{name}_bucket{{le="{float(buckets[-1])}"}} 0.0' in exposition(registry).decode()
        assert f'paymesh_{name}_bucket{{le="+Inf"}} 1.0' in exposition(registry).decode()


_WORKER = """
from prometheus_client import Counter
from shared.metrics import exposition, open_registry
registry = open_registry()
Counter("paymesh_seen", "Seen.", registry=registry).inc(2)
print(exposition(registry).decode())
"""


def test_processes_that_share_a_folder_answer_for_all(tmp_path: Path) -> None:
    """Several gateways behind one port are scraped at random."""
    env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", _WORKER], env=env, check=True, capture_output=True, text=True).stdout
        for _ in range(3)
    ]
    assert "paymesh_seen_total 2.0" in said[0]
    assert "paymesh_seen_total 6.0" in said[2]
