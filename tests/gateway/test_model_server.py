"""A router of Kubernetes reads this engine as it reads vLLM: names, types, labels and what they mean."""

from __future__ import annotations

import time

from prometheus_client.parser import text_string_to_metric_families

from catalog.ids import AdapterId, BaseId
from catalog.settings import EngineSettings
from gateway.model_server import protocol_samples
from tests.gateway.scripted import BASE, ScriptedEngine
from tests.gateway.serving import Served

ONE, OTHER = AdapterId("1" * 64), AdapterId("2" * 64)
QWEN = BaseId("mlx-community/Qwen3-1.7B-4bit")


def test_requests_and_cache_are_the_engines(gateway: Served, engine: ScriptedEngine) -> None:
    engine.counters.rows, engine.counters.waiting = 3, 2
    engine.admitted_tokens = gateway.context.settings.engine.max_queued_tokens // 4
    try:
        assert gateway.metric("vllm:num_requests_running") == 3
        assert gateway.metric("vllm:num_requests_waiting") == 2
        assert gateway.metric("vllm:kv_cache_usage_perc") == 0.25
    finally:
        engine.admitted_tokens = 0


def test_adapters_are_named_as_requests_name_them(gateway: Served, engine: ScriptedEngine) -> None:
    engine.counters.slots = frozenset({(BASE, ONE), (QWEN, OTHER)})
    engine.counters.waiting_slots = frozenset({(BASE, OTHER)})
    samples = {name: (labels, value) for name, labels, value in protocol_samples(engine, _limits(gateway), 1234.5)}
    labels, value = samples["vllm:lora_requests_info"]
    assert value == 1234.5
    assert labels == [
        str(_limits(gateway).adapter_slots),
        f"ragweld:{QWEN}@{OTHER[:12]},ragweld:{BASE}@{ONE[:12]}",
        f"ragweld:{BASE}@{OTHER[:12]}",
    ]


def test_the_exposition_is_what_the_protocol_asks_for(gateway: Served, engine: ScriptedEngine) -> None:
    # Prometheus asks for OpenMetrics first, in which the library would spell the names with an underscore.
    openmetrics = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    began = time.time()
    text = gateway.call("GET", "/metrics", headers=openmetrics).body.decode()
    families = {f.name: f for f in text_string_to_metric_families(text) if f.name.startswith("vllm:")}
    assert {family.type for family in families.values()} == {"gauge"}
    (lora,) = families["vllm:lora_requests_info"].samples
    assert set(lora.labels) == {"max_lora", "running_lora_adapters", "waiting_lora_adapters"}
    assert began <= lora.value <= time.time()


def _limits(gateway: Served) -> EngineSettings:
    return gateway.context.settings.engine
