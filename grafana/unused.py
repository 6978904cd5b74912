"""The metrics that no dashboard shows yet, each with the reason.

`tests/grafana/test_metrics.py` fails when this list and the dashboards disagree.
"""

from __future__ import annotations

from collections.abc import Mapping

UNUSED: Mapping[str, str] = {
    "gen_ai_client_token_usage": "tokens of a request are billing; Learning shows the engine's own tokens per second",
    "ragweld_http_requests_total": "counts every route, scrapes too; Learning shows model requests",
    "ragweld_engine_steps_total": "the batch generator's steps say nothing that tokens per second does not",
    "ragweld_engine_cancelled_total": "a client that left says nothing of learning; for the Gateway dashboard",
    "ragweld_extractions_total": "how well a model fills a schema is for the Gateway dashboard",
    "ragweld_unreadable_tool_calls_total": "how well a model calls tools is for the Gateway dashboard",
    "ragweld_upstream_retries_total": "asking again is the router's matter; for the Gateway dashboard",
    "ragweld_provider_up": "an upstream's health is for the Gateway dashboard",
    "ragweld_provider_breaker": "an upstream's breaker is for the Gateway dashboard",
    "ragweld_provider_in_flight": "how upstreams share requests is for the Gateway dashboard",
    "ragweld_provider_probe_seconds": "an upstream's latency is for the Gateway dashboard",
    "ragweld_provider_first_content_seconds": "an upstream's latency is for the Gateway dashboard",
    "ragweld_cost_usd_total": "what answers cost is for the Gateway dashboard",
    "ragweld_cost_unknown_total": "what answers cost is for the Gateway dashboard",
    "ragweld_alias_moved_timestamp_seconds": "promotions and rollbacks are for the annotations",
    "ragweld_home_free_bytes": "a full disk is for the alerts",
    "ragweld_engine_queued_tokens_limit": "a full queue is for the alerts",
    "vllm:num_requests_running": "for Kubernetes' routers; the same as ragweld_engine_rows",
    "vllm:num_requests_waiting": "for Kubernetes' routers and the Gateway dashboard",
    "vllm:kv_cache_usage_perc": "for Kubernetes' routers; queued tokens of their limit",
    "vllm:lora_requests_info": "for Kubernetes' routers; a list of names in a label is no number to draw",
    "ragweld_upstream_errors_total": "Learning shows fallbacks by reason; kinds of error are for the Gateway dashboard",
    "ragweld_train_surface_loss": "the surface is new; the view of the plane will draw it under the path",
    "ragweld_train_best_step": "marks the best point on the surface; the view will draw it",
    "ragweld_train_skipped_steps": "steps that changed nothing are for the curves",
    "ragweld_train_path_loss": "the path on the surface's plane is new; the view of the plane will draw it",
}
