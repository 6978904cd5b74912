"""How a service declares its metrics: one table of rows, built once, checked against dashboards both ways.

Labels come from closed sets; a client's text is never a label. Knows nothing of what is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric as it appears in /metrics. A counter's `name` ends in `_total`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def build(specs: Sequence[MetricSpec], registry: CollectorRegistry) -> dict[str, MetricWrapperBase]:
    """Register every row; returns the metric objects by name."""
    return {spec.name: _build(spec, registry) for spec in specs}


def _build(spec: MetricSpec, registry: CollectorRegistry) -> MetricWrapperBase:
    if spec.kind == "counter":
        return Counter(spec.name, spec.help, spec.labels, registry=registry)
    if spec.kind == "gauge":
        return Gauge(spec.name, spec.help, spec.labels, registry=registry)
    return Histogram(spec.name, spec.help, spec.labels, registry=registry, buckets=spec.buckets)


def series_names(specs: Iterable[MetricSpec]) -> set[str]:
    """Every name that a query may use, histograms with their three endings."""
    names: set[str] = set()
    for spec in specs:
        if spec.kind == "histogram":
            names |= {f"{spec.name}_{ending}" for ending in ("bucket", "sum", "count")}
        else:
            names.add(spec.name)
    return names
