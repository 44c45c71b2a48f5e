"""Metrics: Prometheus, one registry per process, handed to whoever counts.

Where `PROMETHEUS_MULTIPROC_DIR` is set, several processes of one service write to that folder and any of them
answers for all. This module must never label a metric with anything unbounded: no intent ids, no account names.
"""

import os
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

LATENCY_BUCKETS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Buckets of a duration in seconds, from one ledger round trip to a patient client."""
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Buckets of a batch's size."""
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


def open_registry() -> CollectorRegistry:
    """Return the registry of this process, its memory, descriptors and garbage collection included."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """Return what ``/metrics`` answers, in the text format named by `CONTENT_TYPE`."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return generate_latest(registry)
    merged = CollectorRegistry()
    MultiProcessCollector(merged, path=folder)  # type: ignore[no-untyped-call]
    return generate_latest(merged)
