"""The gateway's metric table: requests under OpenTelemetry's GenAI names in Prometheus spelling, the rest `ragweld_`.

Sources: OpenTelemetry semantic conventions for generative AI metrics (names, labels, bucket boundaries); for `vllm:`
the model server protocol of Kubernetes' inference routers, which `gateway.model_server` fills.
"""

from __future__ import annotations

from catalog.metrics import MetricSpec

_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_response_model")
_DURATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_TOKEN_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_PER_TOKEN_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)

GATEWAY_METRICS: tuple[MetricSpec, ...] = (
    MetricSpec(
        "gen_ai_server_request_duration_seconds",
        "histogram",
        "From request to end of answer.",
        (*_GEN_AI, "error_type"),
        _DURATION_S,
    ),
    MetricSpec(
        "gen_ai_server_time_to_first_token_seconds",
        "histogram",
        "From request to first token.",
        _GEN_AI,
        _FIRST_TOKEN_S,
    ),
    MetricSpec(
        "gen_ai_server_time_per_output_token_seconds",
        "histogram",
        "Mean wait per token after the first.",
        _GEN_AI,
        _PER_TOKEN_S,
    ),
    MetricSpec(
        "gen_ai_client_token_usage",
        "histogram",
        "Tokens of a request, input and output.",
        (*_GEN_AI, "gen_ai_token_type"),
        _TOKENS,
    ),
    MetricSpec("ragweld_http_requests_total", "counter", "HTTP answers by route and status.", ("route", "status")),
    MetricSpec("ragweld_engine_ready", "gauge", "1 while a base is loaded and the engine thread is alive."),
    MetricSpec("ragweld_engine_rows", "gauge", "Requests in the batch now."),
    MetricSpec("ragweld_engine_queued_tokens", "gauge", "Prompt and answer tokens admitted and not yet done."),
    MetricSpec("ragweld_engine_queued_tokens_limit", "gauge", "Tokens beyond which a request is refused with 429."),
    MetricSpec("ragweld_engine_steps_total", "counter", "Steps of the batch generator."),
    MetricSpec("ragweld_engine_tokens_total", "counter", "Tokens, prefilled or decoded.", ("phase",)),
    MetricSpec("ragweld_engine_cached_tokens_total", "counter", "Prompt tokens found in the prefix cache."),
    MetricSpec("ragweld_engine_cancelled_total", "counter", "Requests stopped because their client went away."),
    MetricSpec("ragweld_engine_adapters_resident", "gauge", "Adapter slots in use."),
    MetricSpec("ragweld_adapter_swaps_total", "counter", "Adapters made resident, by outcome.", ("outcome",)),
    MetricSpec(
        "ragweld_adapter_swap_seconds", "gauge", "Duration of the last swap: read, checked, written to its slot."
    ),
    MetricSpec(
        "ragweld_automatic_rollbacks_total",
        "counter",
        "Active adapters that were taken back by the gateway itself, by cause.",
        ("cause",),
    ),
    MetricSpec(
        "ragweld_active_adapter_info", "gauge", "1; the active adapter of each base as labels.", ("base", "adapter")
    ),
    MetricSpec(
        "ragweld_alias_moved_timestamp_seconds",
        "gauge",
        "When the active adapter of a base changed, and why: the last few moves.",
        ("base", "version", "adapter", "reason"),
    ),
    MetricSpec("ragweld_home_free_bytes", "gauge", "Free bytes on the disk of the home folder."),
    MetricSpec("vllm:num_requests_running", "gauge", "Requests in the batch now."),
    MetricSpec("vllm:num_requests_waiting", "gauge", "Requests that wait for a place in the batch, a slot or memory."),
    MetricSpec("vllm:kv_cache_usage_perc", "gauge", "Tokens admitted, of those that may be; 1 is full."),
    MetricSpec(
        "vllm:lora_requests_info",
        "gauge",
        "Unix time of the scrape; adapters in slots and waited for, as requests name them.",
        ("max_lora", "running_lora_adapters", "waiting_lora_adapters"),
    ),
    MetricSpec("ragweld_fallbacks_total", "counter", "Answers by another provider, by reason.", ("provider", "reason")),
    MetricSpec(
        "ragweld_upstream_errors_total", "counter", "Failed calls to an upstream, by kind.", ("provider", "kind")
    ),
    MetricSpec(
        "ragweld_upstream_retries_total",
        "counter",
        "Upstreams asked again after all had failed, by outcome: asked, or no_budget.",
        ("outcome",),
    ),
    MetricSpec("ragweld_provider_up", "gauge", "1 while an upstream answers its background look.", ("provider",)),
    MetricSpec("ragweld_provider_breaker", "gauge", "1 for the state its breaker is in.", ("provider", "state")),
    MetricSpec("ragweld_provider_in_flight", "gauge", "Requests open at an upstream.", ("provider",)),
    MetricSpec("ragweld_provider_probe_seconds", "gauge", "Duration of the last background look.", ("provider",)),
    MetricSpec(
        "ragweld_provider_first_content_seconds", "gauge", "Moving mean of the wait for first content.", ("provider",)
    ),
    MetricSpec(
        "ragweld_cost_usd_total",
        "counter",
        "Usage times the catalog's prices, where both are known.",
        ("provider", "model"),
    ),
    MetricSpec(
        "ragweld_cost_unknown_total",
        "counter",
        "Answers without a cost, because their usage or their price is unknown.",
        ("provider", "model"),
    ),
    MetricSpec(
        "ragweld_extractions_total",
        "counter",
        "Extractions of knowledge, by whether the answer could be read.",
        ("provider", "outcome"),
    ),
    MetricSpec(
        "ragweld_chats_total", "counter", "Chats that were to be kept, by outcome: kept, or dropped.", ("outcome",)
    ),
    MetricSpec("ragweld_unreadable_tool_calls_total", "counter", "Tool blocks given back as text, not being a call."),
    MetricSpec("ragweld_log_lines_lost_total", "counter", "Log lines that could not be written, as on a full disk."),
    MetricSpec("ragweld_build_info", "gauge", "1; version, device and base as labels.", ("version", "device", "base")),
)
