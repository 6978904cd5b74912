"""A real /metrics over one of the two metric tables, with plausible values that move; run as a process of its own.

`python exporter.py trainer` or `gateway` listens on a free port and prints it. Fills every row of the table by its
kind, so a new metric needs nothing here.
"""

from __future__ import annotations

import itertools
import math
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from catalog.metrics import MetricSpec, build
from gateway.metrics import GATEWAY_METRICS
from trainer.metrics import TRAINER_METRICS

TABLES = {"trainer": TRAINER_METRICS, "gateway": GATEWAY_METRICS}
TICK_S = 0.1
RUN_ID = "default__20260102_030405"
BEST_STEP = 12
LABELS: Mapping[str, Sequence[str]] = {
    "run_id": [RUN_ID],
    "status": ["running", "completed", "diverged"],
    "base": ["ragweld-nano"],
    "adapter": ["0123456789ab"],
    "phase": ["prefill", "decode"],
    "outcome": ["done", "refused", "empty"],
    "reason": [f"run {RUN_ID}", "rollback of version 1"],
    "error_type": ["", "overloaded"],
    "step": ["0", str(BEST_STEP)],
    "mark": ["start", "now", "best"],
    "x": ["0", "0.5"],
    "y": ["0", "-0.25"],
}
"""Values that queries look for; any other label has one of its own name."""


def move(metric: MetricWrapperBase, spec: MetricSpec, tick: int) -> None:
    """One step of a row: counters and histograms grow, gauges move and stay positive."""
    choices = [LABELS.get(label, [f"a-{label}"]) for label in spec.labels]
    for values in itertools.product(*choices):
        child = metric.labels(*values) if values else metric
        match child:
            case Counter():
                child.inc()
            case Histogram():
                child.observe(spec.buckets[tick % 5])
            case Gauge():
                child.set(_gauge_value(spec.name, tick))


def _gauge_value(name: str, tick: int) -> float:
    if name.endswith(("_info", "_busy", "_ready", "_up", "_breaker")):
        return 1.0
    if name.endswith("_timestamp_seconds"):
        return time.time()
    if name.endswith("_best_step"):
        return float(BEST_STEP)
    if name.endswith("_step"):
        return float(tick)
    return 2.0 + math.sin(tick / 20) + len(name) / 100


def serve(specs: tuple[MetricSpec, ...]) -> None:
    """Export for ever; prints the port first."""
    registry = CollectorRegistry()
    metrics: Mapping[str, MetricWrapperBase] = build(specs, registry)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _exposing(registry))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    for tick in itertools.count():
        for spec in specs:
            move(metrics[spec.name], spec, tick)
        time.sleep(TICK_S)


def _exposing(registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    """Answers in the plain text form, as the gateway does: the library's OpenMetrics form spells `vllm:` with `_`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", CONTENT_TYPE_LATEST)
            self.end_headers()
            self.wfile.write(generate_latest(registry))

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler


if __name__ == "__main__":
    serve(TABLES[sys.argv[1]])
