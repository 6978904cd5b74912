"""The gateway's row: who is ready, which adapter answers, how fast, and how often somebody else had to.

Rates and quantiles are over the last few scrapes, so they are empty where nothing was asked.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueGraphMode
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue

from grafana.panels import (
    Box,
    Section,
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

GATEWAY_ALIVE = "max(ragweld_engine_ready)"


def gateway_section() -> Section:
    """The whole row."""
    return Section(
        "Gateway",
        (
            (Box(0, 0, 3, 5), _engine()),
            (Box(3, 0, 9, 5), _active_adapters()),
            (Box(12, 0, 6, 5), _swaps()),
            (Box(18, 0, 6, 5), _fallbacks()),
            (Box(0, 5, 12, 8), _requests()),
            (Box(12, 5, 12, 8), _first_token()),
            (Box(0, 13, 8, 8), _token_rates()),
            (Box(8, 13, 8, 8), _time_per_token()),
            (Box(16, 13, 8, 8), _batch()),
        ),
    )


def _engine() -> stat.Panel:
    return (
        value(
            "Engine",
            "Whether a base is loaded and the engine thread is alive. Empty when nobody scrapes the gateway.",
            "none",
            latest(GATEWAY_ALIVE, "engine"),
        )
        .mappings([words(("not ready", "red"), ("ready", "green"))])
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.NONE)
    )


def _active_adapters() -> table.Panel:
    return listing(
        "Active adapters",
        "The adapter that answers for each base when a request names none; it changes with a promotion or a rollback.",
        rows("max by (base, adapter) (ragweld_active_adapter_info)"),
        rows("max by (base, version, device) (ragweld_build_info)"),
    ).transformations(
        [
            DataTransformerConfig(
                id_val="filterFieldsByName",
                options={"include": {"names": ["base", "adapter", "version", "device"]}},
            ),
            DataTransformerConfig(id_val="joinByField", options={"byField": "base", "mode": "outer"}),
        ]
    )


def _swaps() -> stat.Panel:
    return named_values(
        "Adapter swaps",
        "Adapters made resident since the gateway started, by outcome, and how long the last one took from reading "
        "its file to its slot.",
        counted("ragweld_adapter_swaps_total", "outcome", GATEWAY_ALIVE),
        latest("max(ragweld_adapter_swap_seconds)", "last swap"),
    ).override_by_name("last swap", [DynamicConfigValue("unit", "s"), DynamicConfigValue("decimals", 2)])


def _fallbacks() -> stat.Panel:
    return named_values(
        "Fallbacks",
        "Answers given by another provider since the gateway started, by the reason why the local model did not.",
        counted("ragweld_fallbacks_total", "reason", GATEWAY_ALIVE),
    )


def _requests() -> timeseries.Panel:
    return graph(
        "Requests",
        "Model requests answered per second, by the model that really answered.",
        "reqps",
        "requests per second",
        rate(
            "sum by (gen_ai_response_model) (rate(gen_ai_server_request_duration_seconds_count[$__rate_interval]))",
            "{{gen_ai_response_model}}",
        ),
    ).axis_soft_min(0)


def _first_token() -> timeseries.Panel:
    return graph(
        "Time to first token",
        "From request to first token, as quantiles of the requests of the last few scrapes (interpolated inside a "
        "histogram's bucket). No line where there was no request.",
        "s",
        "time to first token",
        rate(_quantile(0.5, "gen_ai_server_time_to_first_token_seconds"), "p50"),
        rate(_quantile(0.95, "gen_ai_server_time_to_first_token_seconds"), "p95"),
    ).axis_soft_min(0)


def _time_per_token() -> timeseries.Panel:
    return graph(
        "Time per token",
        "A request's mean wait per token after the first, as quantiles over the requests of the last few scrapes.",
        "s",
        "time per token",
        rate(_quantile(0.5, "gen_ai_server_time_per_output_token_seconds"), "p50"),
        rate(_quantile(0.95, "gen_ai_server_time_per_output_token_seconds"), "p95"),
    ).axis_soft_min(0)


def _token_rates() -> timeseries.Panel:
    return graph(
        "Engine tokens",
        "Tokens that the engine computed per second, by phase, and prompt tokens that it did not have to compute "
        "because the prefix cache held them.",
        "suffix: tokens/s",
        "tokens per second",
        rate("sum by (phase) (rate(ragweld_engine_tokens_total[$__rate_interval]))", "{{phase}}"),
        rate("sum(rate(ragweld_engine_cached_tokens_total[$__rate_interval]))", "from the cache"),
    ).axis_soft_min(0)


def _batch() -> timeseries.Panel:
    return (
        graph(
            "Batch",
            "At the scrape: requests in the batch, adapters resident in slots, and (right) prompt and answer tokens "
            "admitted and not yet done.",
            "none",
            "requests, adapters",
            over_time("sum(ragweld_engine_rows)", "requests"),
            over_time("sum(ragweld_engine_adapters_resident)", "adapters"),
            over_time("sum(ragweld_engine_queued_tokens)", "admitted tokens"),
        )
        .axis_soft_min(0)
        .override_by_name("admitted tokens", right_axis("tokens", "none"))
    )


def _quantile(quantile: float, histogram: str) -> str:
    return f"histogram_quantile({quantile}, sum by (le) (rate({histogram}_bucket[$__rate_interval])))"
