"""A real /metrics over one of the two metric tables, with plausible values that move; run as a process of its own.

`python exporter.py trainer` or `gateway` listens on a free port and prints it. Fills every row of the table by its
kind, so a new metric needs nothing here.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics import MetricWrapperBase

from catalog.metrics import MetricSpec, build
from gateway.metrics import GATEWAY_METRICS
from trainer.metrics import TRAINER_METRICS

TABLES = {"trainer": TRAINER_METRICS, "gateway": GATEWAY_METRICS}
TICK_S = 0.1
LABELS = {"run_id": "default__20260102_030405", "status": "running", "base": "ragweld-nano", "adapter": "0123456789ab"}


def move(metric: MetricWrapperBase, spec: MetricSpec, tick: int) -> None:
    """One step of a row: counters and histograms grow, gauges move and stay positive."""
    child = metric.labels(**_label_values(spec)) if spec.labels else metric
    match child:
        case Counter():
            child.inc()
        case Histogram():
            child.observe(spec.buckets[tick % 5])
        case Gauge():
            child.set(_gauge_value(spec.name, tick))


def _label_values(spec: MetricSpec) -> dict[str, str]:
    return {label: LABELS.get(label, f"a-{label}") for label in spec.labels}


def _gauge_value(name: str, tick: int) -> float:
    if name.endswith(("_info", "_busy", "_ready")):
        return 1.0
    if name.endswith("_step"):
        return float(tick)
    return 2.0 + math.sin(tick / 20) + len(name) / 100


def serve(specs: tuple[MetricSpec, ...]) -> None:
    """Export for ever; prints the port first."""
    registry = CollectorRegistry()
    metrics: Mapping[str, MetricWrapperBase] = build(specs, registry)
    server, _ = start_http_server(0, addr="127.0.0.1", registry=registry)
    print(server.server_port, flush=True)
    for tick in itertools.count():
        for spec in specs:
            move(metrics[spec.name], spec, tick)
        time.sleep(TICK_S)


if __name__ == "__main__":
    serve(TABLES[sys.argv[1]])
