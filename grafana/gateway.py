"""The Gateway dashboard: what is answered, by whom, how fast, at what cost, and what went wrong.

Reads top to bottom: now, answers, the engine, upstreams, costs. Counts of rare events are since the start of the
gateway, since a rate misses the first one.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard, DynamicConfigValue

from grafana import gateway_panels as panels
from grafana.boards import INSTANCE, board, of_gateways, with_studio
from grafana.gateway_panels import alive, of
from grafana.layout import Box, Section, assembled
from grafana.panels import counted, graph, joined, latest, listing, named_values, over_time, rate, rows, value, words


def gateway() -> Dashboard:
    """The whole dashboard."""
    described = "What a gateway answers, by whom, how fast, at what cost, and what went wrong."
    builder = with_studio(of_gateways(board("Gateway", "ragweld-gateway", described)))
    return assembled(builder, (_now(), _answers(), _engine(), _upstreams(), _costs()))


def _now() -> Section:
    return Section(
        "Now",
        (
            (Box(0, 0, 3, 5), panels.engine(INSTANCE)),
            (Box(3, 0, 9, 5), panels.active_adapters(INSTANCE)),
            (Box(12, 0, 5, 5), panels.swaps(INSTANCE)),
            (Box(17, 0, 4, 5), panels.fallbacks(INSTANCE)),
            (Box(21, 0, 3, 5), _taken_back()),
        ),
    )


def _answers() -> Section:
    return Section(
        "Answers",
        (
            (Box(0, 0, 12, 8), panels.requests(INSTANCE)),
            (Box(12, 0, 12, 8), panels.errors(INSTANCE)),
            (Box(0, 8, 8, 8), panels.first_token(INSTANCE)),
            (Box(8, 8, 8, 8), panels.time_per_token(INSTANCE)),
            (Box(16, 8, 8, 8), panels.duration(INSTANCE)),
        ),
    )


def _engine() -> Section:
    return Section(
        "The engine",
        (
            (Box(0, 0, 12, 8), panels.token_rates(INSTANCE)),
            (Box(12, 0, 12, 8), panels.queue(INSTANCE)),
            (Box(0, 8, 12, 8), panels.batch(INSTANCE)),
            (Box(12, 8, 6, 8), panels.cache_hits(INSTANCE)),
            (Box(18, 8, 3, 8), _oddities()),
            (Box(21, 8, 3, 8), _disk()),
        ),
    )


def _upstreams() -> Section:
    return Section(
        "Upstream servers",
        (
            (Box(0, 0, 16, 7), _providers()),
            (Box(16, 0, 8, 7), _upstream_errors()),
            (Box(0, 7, 12, 8), _provider_waits()),
            (Box(12, 7, 6, 8), _fallbacks_by_provider()),
            (Box(18, 7, 6, 8), _retries()),
        ),
    )


def _costs() -> Section:
    return Section(
        "Costs",
        (
            (Box(0, 0, 8, 7), _cost()),
            (Box(8, 0, 4, 7), _unknown_costs()),
            (Box(12, 0, 12, 7), _billed_tokens()),
        ),
    )


def _taken_back() -> stat.Panel:
    return named_values(
        "Taken back",
        "Adapters that the gateway took back by itself since it started, by cause: a golden prompt was answered "
        "wrongly, or the first answers were bad.",
        counted(of("ragweld_automatic_rollbacks_total", INSTANCE), "cause", alive(INSTANCE)),
    )


def _oddities() -> stat.Panel:
    return named_values(
        "Oddities",
        "Since the gateway started: requests stopped because their client went away, blocks that should have been tool "
        "calls and were given back as text, and extractions of knowledge that could not be read.",
        latest(f"sum({of('ragweld_engine_cancelled_total', INSTANCE)})", "clients gone"),
        latest(f"sum({of('ragweld_unreadable_tool_calls_total', INSTANCE)})", "unreadable calls"),
        latest(
            f"sum({of('ragweld_extractions_total', INSTANCE, _is('outcome', 'empty'))}) or 0 * {alive(INSTANCE)}",
            "unreadable extractions",
        ),
    )


def _disk() -> stat.Panel:
    return value(
        "Free disk",
        "Free bytes on the disk of the home folder, where checkpoints and adapters are written; the least of all "
        "gateways shown.",
        "bytes",
        over_time(f"min({of('ragweld_home_free_bytes', INSTANCE)})", "free"),
    ).decimals(1)


def _providers() -> table.Panel:
    names = {
        "provider": "upstream",
        "Value #A": "health",
        "state": "breaker",
        "Value #C": "in flight",
        "Value #D": "last look",
        "Value #E": "first content",
    }
    health = DynamicConfigValue("mappings", [words(("down", "red"), ("up", "green"))])
    times = [DynamicConfigValue("unit", "s"), DynamicConfigValue("decimals", 3)]
    upstreams = joined(
        listing(
            "Upstreams",
            "Each upstream: whether its last look in the background was answered, its breaker (closed lets requests "
            "through, open leaves it in peace), requests open at it, how long the last look took, and the moving mean "
            "of the wait for its first content.",
            rows(f"min by (provider) ({of('ragweld_provider_up', INSTANCE)})"),
            rows(f"max by (provider, state) ({of('ragweld_provider_breaker', INSTANCE)} == 1)"),
            rows(f"sum by (provider) ({of('ragweld_provider_in_flight', INSTANCE)})"),
            rows(f"max by (provider) ({of('ragweld_provider_probe_seconds', INSTANCE)})"),
            rows(f"max by (provider) ({of('ragweld_provider_first_content_seconds', INSTANCE)})"),
        ),
        "provider",
        names,
    )
    return (
        upstreams.override_by_name("health", [health])
        .override_by_name("last look", times)
        .override_by_name("first content", times)
    )


def _upstream_errors() -> stat.Panel:
    return named_values(
        "Upstream errors",
        "Failed calls to upstreams since the gateway started, by kind.",
        counted(of("ragweld_upstream_errors_total", INSTANCE), "kind", alive(INSTANCE)),
    )


def _provider_waits() -> timeseries.Panel:
    return graph(
        "Upstream waits",
        "How long each upstream took to answer the last look in the background, and the moving mean of the wait for "
        "its first content.",
        "s",
        "wait",
        over_time(f"max by (provider) ({of('ragweld_provider_probe_seconds', INSTANCE)})", "{{provider}}: look"),
        over_time(
            f"max by (provider) ({of('ragweld_provider_first_content_seconds', INSTANCE)})",
            "{{provider}}: first content",
        ),
    ).axis_soft_min(0)


def _fallbacks_by_provider() -> stat.Panel:
    return named_values(
        "Answered instead",
        "Answers given in the local model's place since the gateway started, by the upstream that gave them.",
        counted(of("ragweld_fallbacks_total", INSTANCE), "provider", alive(INSTANCE)),
    )


def _retries() -> stat.Panel:
    return named_values(
        "Asked again",
        "Upstreams asked again after all had failed, since the gateway started: asked, or refused because a fifth of "
        "the open requests was being asked again already.",
        counted(of("ragweld_upstream_retries_total", INSTANCE), "outcome", alive(INSTANCE)),
    )


def _cost() -> timeseries.Panel:
    return graph(
        "Cost",
        "What answers cost since the gateway started: usage times the catalog's prices, where both are known.",
        "currencyUSD",
        "US dollars",
        over_time(f"sum by (provider, model) ({of('ragweld_cost_usd_total', INSTANCE)})", "{{provider}}: {{model}}"),
    ).axis_soft_min(0)


def _unknown_costs() -> stat.Panel:
    return named_values(
        "Cost unknown",
        "Answers since the gateway started whose usage or price is unknown; their cost is not in the sum beside.",
        counted(of("ragweld_cost_unknown_total", INSTANCE), "provider", alive(INSTANCE)),
    )


def _billed_tokens() -> timeseries.Panel:
    return graph(
        "Tokens of requests",
        "Prompt and answer tokens per second as requests are billed, cached ones too, by the model that answered.",
        "suffix:tokens/s",
        "tokens per second",
        rate(
            "sum by (gen_ai_response_model, gen_ai_token_type) "
            f"(rate({of('gen_ai_client_token_usage_sum', INSTANCE)}[$__rate_interval]))",
            "{{gen_ai_response_model}}: {{gen_ai_token_type}}",
        ),
    ).axis_soft_min(0)


def _is(label: str, text: str) -> str:
    return f'{label}="{text}"'
