"""The engine under the names that Kubernetes' inference routers read, with vLLM's spelling and this engine's values.

Source: kubernetes-sigs/gateway-api-inference-extension, docs/proposals/003-model-server-protocol. Adapters are named
as requests name them. `tests/gateway/test_model_server.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from catalog.adapters import short
from catalog.ids import AdapterId, BaseId, model_id
from catalog.settings import EngineSettings
from gateway.ports import AnswerEngine


def protocol_samples(
    engine: AnswerEngine, limits: EngineSettings, now_s: float
) -> Iterable[tuple[str, list[str], float]]:
    """Rows of the metric table; `now_s` is unix time.

    The cache grows with its rows and is not cut into blocks, so its use is what bounds admission: the tokens that
    admitted requests may fill, of those that may be admitted together.
    """
    did = engine.counters
    yield "vllm:num_requests_running", [], did.rows
    yield "vllm:num_requests_waiting", [], did.waiting + engine.waiting_for_memory
    yield "vllm:kv_cache_usage_perc", [], engine.admitted_tokens / limits.max_queued_tokens
    labels = [str(limits.adapter_slots), _names(did.slots), _names(did.waiting_slots)]
    yield "vllm:lora_requests_info", labels, now_s


def _names(slots: Collection[tuple[BaseId, AdapterId]]) -> str:
    return ",".join(sorted(model_id(base, short(adapter_id)) for base, adapter_id in slots))
