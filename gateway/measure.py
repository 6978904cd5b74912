"""Writes the gateway's metric table: what requests did is counted here, what the engine did is read at each scrape.

One scrape reads one snapshot of the engine, so its numbers belong together. Labels come from closed sets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, cast

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

import catalog
from catalog import metrics as table
from catalog.adapters import short
from catalog.metrics import MetricSpec
from catalog.settings import EngineSettings
from gateway.home_state import HomeState
from gateway.metrics import GATEWAY_METRICS
from gateway.model_server import protocol_samples
from gateway.ports import AnswerEngine
from gateway.providers import BREAKER_NAMES, Provider, Providers, breaker_name

Operation = Literal["chat", "embeddings"]
CHAT: Operation = "chat"
EMBEDDINGS: Operation = "embeddings"
UPSTREAM_STATUS = "upstream_status_"
"""Codes that begin so end in a status of three digits."""
_OF_ENGINE = ("ragweld_engine_", "ragweld_adapter_", "ragweld_active_", "ragweld_build_")
"""Names that begin so are read from the engine at a scrape."""
_OF_PROTOCOL = ("vllm:",)
"""Names that begin so are what Kubernetes' inference routers read."""
_OF_HOME = ("ragweld_alias_", "ragweld_home_")
"""Names that begin so are read from the home folder."""
_OF_PROVIDERS = ("ragweld_provider_",)
"""Names that begin so are read from what is known of each upstream."""

Sample = tuple[str, list[str], float]


class Measures:
    """The metrics of one gateway, in a registry of their own."""

    def __init__(
        self,
        engine: AnswerEngine | None,
        limits: EngineSettings,
        home: HomeState,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.line_lost_at: float | None = None
        """When the last log line was lost, by `clock`."""
        self._clock = clock
        # No series of birth times beside every other one; the table does not know them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        read = (*_OF_ENGINE, *_OF_PROTOCOL, *_OF_HOME, *_OF_PROVIDERS)
        self._built = table.build([spec for spec in GATEWAY_METRICS if not spec.name.startswith(read)], self.registry)
        self._known: dict[tuple[str, ...], MetricWrapperBase] = {}
        self.registry.register(SnapshotCollector(_OF_HOME, home.samples))
        self.registry.register(SnapshotCollector(_OF_ENGINE, lambda: engine_samples(engine, limits)))
        self.registry.register(
            SnapshotCollector(_OF_PROTOCOL, lambda: protocol_samples(engine, limits, time.time()) if engine else ())
        )

    def show(self, providers: Providers) -> None:
        """Let every scrape read what is known of each upstream."""
        self.registry.register(SnapshotCollector(_OF_PROVIDERS, lambda: provider_samples(providers.snapshot())))

    def http_answer(self, route: str, status: int) -> None:
        self._counter("ragweld_http_requests_total", route, str(status)).inc()

    def log_line_lost(self) -> None:
        self.line_lost_at = self._clock()
        self._counter("ragweld_log_lines_lost_total").inc()

    def fallback(self, provider: str, reason: str) -> None:
        self._counter("ragweld_fallbacks_total", provider, reason).inc()

    def upstream_error(self, provider: str, kind: str) -> None:
        self._counter("ragweld_upstream_errors_total", provider, kind).inc()

    def retry(self, outcome: Literal["asked", "no_budget"]) -> None:
        self._counter("ragweld_upstream_retries_total", outcome).inc()

    def cost(self, provider: str, model: str, usd: float | None) -> None:
        """Count what an answer cost; None is unknown, which is not nothing."""
        if usd is None:
            self._counter("ragweld_cost_unknown_total", provider, model).inc()
        else:
            self._counter("ragweld_cost_usd_total", provider, model).inc(usd)

    def automatic_rollback(self, cause: Literal["golden_prompt", "bad_answers"]) -> None:
        self._counter("ragweld_automatic_rollbacks_total", cause).inc()

    def extraction(self, provider: str, *, is_readable: bool) -> None:
        outcome = "read" if is_readable else "empty"
        self._counter("ragweld_extractions_total", provider, outcome).inc()

    def chat(self, outcome: Literal["kept", "dropped"]) -> None:
        self._counter("ragweld_chats_total").labels(outcome).inc()

    def unreadable_calls(self, count: int) -> None:
        self._counter("ragweld_unreadable_tool_calls_total").inc(count)

    def first_token(self, provider: str, model: str, seconds: float) -> None:
        self._histogram("gen_ai_server_time_to_first_token_seconds", CHAT, provider, model).observe(seconds)

    def per_token(self, provider: str, model: str, seconds: float) -> None:
        self._histogram("gen_ai_server_time_per_output_token_seconds", CHAT, provider, model).observe(seconds)

    def duration(self, provider: str, model: str, error: str, seconds: float, operation: Operation = CHAT) -> None:
        """Count an answer; of an upstream's status only the hundreds, since it may send any."""
        kind = f"{error[:-2]}xx" if error.startswith(UPSTREAM_STATUS) else error
        self._histogram("gen_ai_server_request_duration_seconds", operation, provider, model, kind).observe(seconds)

    def used(self, provider: str, model: str, read: int | None, said: int | None, operation: Operation = CHAT) -> None:
        """Count the tokens of a prompt and of its answer, where they are known."""
        for kind, tokens in (("input", read), ("output", said)):
            if tokens is not None:
                series = self._histogram("gen_ai_client_token_usage", operation, provider, model, kind)
                series.observe(tokens)

    def _counter(self, name: str, *labels: str) -> Counter:
        return cast(Counter, self._series(name, *labels))

    def _histogram(self, name: str, *labels: str) -> Histogram:
        return cast(Histogram, self._series(name, *labels))

    def _series(self, *key: str) -> MetricWrapperBase:
        """The series of a name and its labels, looked up once: `labels()` costs as much as counting does."""
        known = self._known.get(key)
        if known is None:
            name, *labels = key
            known = self._known[key] = self._built[name].labels(*labels) if labels else self._built[name]
        return known


class SnapshotCollector(Collector):
    """Rows of the table whose names begin so, read at each scrape."""

    def __init__(self, beginnings: tuple[str, ...], samples: Callable[[], Iterable[Sample]]) -> None:
        self._specs = {spec.name: spec for spec in GATEWAY_METRICS if spec.name.startswith(beginnings)}
        self._samples = samples

    def describe(self) -> Iterable[Metric]:
        return [_family(spec) for spec in self._specs.values()]

    def collect(self) -> Iterable[Metric]:
        families = {name: _family(spec) for name, spec in self._specs.items()}
        for name, labels, value in self._samples():
            families[name].add_metric(labels, value)
        return families.values()


def engine_samples(engine: AnswerEngine | None, limits: EngineSettings) -> Iterable[Sample]:
    """What the engine is and did."""
    if engine is None:
        yield "ragweld_engine_ready", [], 0
        yield "ragweld_build_info", [catalog.__version__, "", ""], 1
        return
    state, did = engine.state(), engine.counters
    yield "ragweld_build_info", [catalog.__version__, state.device, state.base or ""], 1
    yield "ragweld_engine_ready", [], float(state.ready)
    yield "ragweld_engine_rows", [], did.rows
    yield "ragweld_engine_queued_tokens", [], engine.admitted_tokens
    yield "ragweld_engine_queued_tokens_limit", [], limits.max_queued_tokens
    yield "ragweld_engine_steps_total", [], did.steps
    yield "ragweld_engine_tokens_total", ["prefill"], did.prompt_tokens
    yield "ragweld_engine_tokens_total", ["decode"], did.produced_tokens
    yield "ragweld_engine_cached_tokens_total", [], did.cached_tokens
    yield "ragweld_engine_cancelled_total", [], did.cancelled
    yield "ragweld_engine_adapters_resident", [], len(did.resident)
    yield "ragweld_adapter_swaps_total", ["done"], did.swaps
    yield "ragweld_adapter_swaps_total", ["refused"], engine.refused_swaps
    yield "ragweld_adapter_swap_seconds", [], did.swap_s
    if state.base is not None:
        yield "ragweld_active_adapter_info", [state.base, short(state.active_adapter)], 1


def provider_samples(providers: Mapping[str, Provider]) -> Iterable[Sample]:
    """What is known of each upstream; what is not known yet has no sample."""
    for name, one in providers.items():
        yield "ragweld_provider_in_flight", [name], one.in_flight
        for state in BREAKER_NAMES:
            yield "ragweld_provider_breaker", [name, state], float(state == breaker_name(one.breaker))
        if one.health is not None:
            yield "ragweld_provider_up", [name], float(one.health.obstacle is None)
            yield "ragweld_provider_probe_seconds", [name], one.health.latency_s
        if one.first_content_s is not None:
            yield "ragweld_provider_first_content_seconds", [name], one.first_content_s


def _family(spec: MetricSpec) -> CounterMetricFamily | GaugeMetricFamily:
    if spec.kind == "counter":
        return CounterMetricFamily(spec.name.removesuffix("_total"), spec.help, labels=list(spec.labels))
    return GaugeMetricFamily(spec.name, spec.help, labels=list(spec.labels))
