"""Panels about answers and the engine: who is ready, who answers, how fast, and how often somebody else had to.

`where` is a label matcher that chooses gateways, or nothing for all. Rates and quantiles are over the last few scrapes,
so they are empty where nothing was asked.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueGraphMode
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue

from grafana.layout import Box, Section
from grafana.panels import (
    counted,
    graph,
    latest,
    listing,
    named_values,
    over_time,
    rate,
    right_axis,
    rows,
    value,
    words,
)


def of(metric: str, *matchers: str) -> str:
    """A selector: the metric with those matchers that say something."""
    said = ",".join(filter(None, matchers))
    return f"{metric}{{{said}}}" if said else metric


def alive(where: str = "") -> str:
    """A series while a gateway is scraped."""
    return f"max({of('ragweld_engine_ready', where)})"


def answering_section() -> Section:
    """For the Learning dashboard: who answers with a run's result."""
    return Section(
        "Who answers",
        (
            (Box(0, 0, 3, 5), engine()),
            (Box(3, 0, 9, 5), active_adapters()),
            (Box(12, 0, 6, 5), swaps()),
            (Box(18, 0, 6, 5), fallbacks()),
        ),
    )


def engine(where: str = "") -> stat.Panel:
    return (
        value(
            "Engine",
            "Whether a base is loaded and the engine thread is alive. Empty when nobody scrapes the gateway.",
            "none",
            latest(alive(where), "engine"),
        )
        .mappings([words(("not ready", "red"), ("ready", "green"))])
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.NONE)
    )


def active_adapters(where: str = "") -> table.Panel:
    return listing(
        "Active adapters",
        "The adapter that answers for each base when a request names none; it changes with a promotion or a rollback.",
        rows(f"max by (base, adapter) ({of('ragweld_active_adapter_info', where)})"),
        rows(f"max by (base, version, device) ({of('ragweld_build_info', where)})"),
    ).transformations(
        [
            DataTransformerConfig(
                id_val="filterFieldsByName",
                options={"include": {"names": ["base", "adapter", "version", "device"]}},
            ),
            DataTransformerConfig(id_val="joinByField", options={"byField": "base", "mode": "outer"}),
        ]
    )


def swaps(where: str = "") -> stat.Panel:
    return named_values(
        "Adapter swaps",
        "Adapters made resident since the gateway started, by outcome, and how long the last one took from reading "
        "its file to its slot.",
        counted(of("ragweld_adapter_swaps_total", where), "outcome", alive(where)),
        latest(f"max({of('ragweld_adapter_swap_seconds', where)})", "last swap"),
    ).override_by_name("last swap", [DynamicConfigValue("unit", "s"), DynamicConfigValue("decimals", 3)])


def fallbacks(where: str = "") -> stat.Panel:
    return named_values(
        "Fallbacks",
        "Answers given by another provider since the gateway started, by the reason why the local model did not.",
        counted(of("ragweld_fallbacks_total", where), "reason", alive(where)),
    )


def requests(where: str = "") -> timeseries.Panel:
    counter = of("gen_ai_server_request_duration_seconds_count", where)
    return graph(
        "Requests",
        "Model requests answered per second, by the model that really answered.",
        "reqps",
        "requests per second",
        rate(f"sum by (gen_ai_response_model) (rate({counter}[$__rate_interval]))", "{{gen_ai_response_model}}"),
    ).axis_soft_min(0)


def errors(where: str = "") -> timeseries.Panel:
    failed = of("gen_ai_server_request_duration_seconds_count", where, 'error_type!=""')
    return graph(
        "Errors",
        "Model requests that ended in an error, per second, by its code as the client saw it.",
        "reqps",
        "errors per second",
        rate(
            f"sum by (error_type) (rate({failed}[$__rate_interval])) or on () "
            f'label_replace(0 * {alive(where)}, "error_type", "none", "", "")',
            "{{error_type}}",
        ),
    ).axis_soft_min(0)


def first_token(where: str = "") -> timeseries.Panel:
    return _quantiles(
        "Time to first token",
        "From request to first token, as quantiles of the requests of the last few scrapes (interpolated inside a "
        "histogram's bucket). No line where there was no request.",
        "time to first token",
        of("gen_ai_server_time_to_first_token_seconds_bucket", where),
    )


def time_per_token(where: str = "") -> timeseries.Panel:
    return _quantiles(
        "Time per token",
        "A request's mean wait per token after the first, as quantiles over the requests of the last few scrapes.",
        "time per token",
        of("gen_ai_server_time_per_output_token_seconds_bucket", where),
    )


def duration(where: str = "") -> timeseries.Panel:
    return _quantiles(
        "Duration",
        "From request to the end of its answer, errors too, as quantiles over the requests of the last few scrapes.",
        "time of an answer",
        of("gen_ai_server_request_duration_seconds_bucket", where),
    )


def token_rates(where: str = "") -> timeseries.Panel:
    return graph(
        "Engine tokens",
        "Tokens that the engine computed per second, by phase, and prompt tokens that it did not have to compute "
        "because the prefix cache held them.",
        "suffix:tokens/s",
        "tokens per second",
        rate(f"sum by (phase) (rate({of('ragweld_engine_tokens_total', where)}[$__rate_interval]))", "{{phase}}"),
        rate(f"sum(rate({of('ragweld_engine_cached_tokens_total', where)}[$__rate_interval]))", "from the cache"),
    ).axis_soft_min(0)


def cache_hits(where: str = "") -> timeseries.Panel:
    cached = f"sum(rate({of('ragweld_engine_cached_tokens_total', where)}[$__rate_interval]))"
    prefill = of("ragweld_engine_tokens_total", where, 'phase="prefill"')
    prefilled = f"sum(rate({prefill}[$__rate_interval]))"
    return (
        graph(
            "Cache hits",
            "Share of the prompt tokens that the prefix cache held. No line where there was no request.",
            "percentunit",
            "share of prompt tokens",
            rate(f"{cached} / ({cached} + {prefilled})", "from the cache"),
        )
        .min(0)
        .max(1)
    )


def batch(where: str = "") -> timeseries.Panel:
    return graph(
        "Batch",
        "At the scrape: requests in the batch, requests that wait for a place in it or for a slot, and adapters "
        "resident in slots.",
        "none",
        "requests, adapters",
        over_time(f"sum({of('ragweld_engine_rows', where)})", "in the batch"),
        over_time(f"sum({of('vllm:num_requests_waiting', where)})", "waiting"),
        over_time(f"sum({of('ragweld_engine_adapters_resident', where)})", "adapters"),
    ).axis_soft_min(0)


def queue(where: str = "") -> timeseries.Panel:
    return (
        graph(
            "Queue",
            "Prompt and answer tokens admitted and not yet done, of those that may be (right); beyond that a request "
            "is refused with 429.",
            "suffix:tokens",
            "tokens",
            over_time(f"sum({of('ragweld_engine_queued_tokens', where)})", "admitted"),
            over_time(
                f"max({of('ragweld_engine_queued_tokens', where)} / {of('ragweld_engine_queued_tokens_limit', where)})",
                "of the limit",
            ),
        )
        .axis_soft_min(0)
        .override_by_name(
            "of the limit",
            [
                *right_axis("share of the limit", "percentunit"),
                DynamicConfigValue("custom.axisSoftMin", 0),
                DynamicConfigValue("custom.axisSoftMax", 1),
            ],
        )
    )


def _quantiles(title: str, description: str, axis: str, buckets: str) -> timeseries.Panel:
    return graph(
        title,
        description,
        "s",
        axis,
        rate(quantile(0.5, buckets), "p50"),
        rate(quantile(0.95, buckets), "p95"),
    ).axis_soft_min(0)


def quantile(share: float, buckets: str, by: str = "le") -> str:
    """The quantile of a histogram over `$__rate_interval`."""
    return f"histogram_quantile({share}, sum by ({by}) (rate({buckets}[$__rate_interval])))"
