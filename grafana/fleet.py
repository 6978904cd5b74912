"""The Fleet dashboard: several gateways and trainers side by side, one line or row for each instance."""

from __future__ import annotations

from grafana_foundation_sdk.builders import table, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard, DynamicConfigValue

from grafana.boards import INSTANCE, board, of_gateways, with_studio
from grafana.gateway_panels import of, quantile
from grafana.layout import Box, Section, assembled
from grafana.panels import graph, joined, listing, or_nothing, over_time, rate, rows, words

EACH = "{{instance}}"
READY = of("ragweld_engine_ready", INSTANCE)


def fleet() -> Dashboard:
    """The whole dashboard."""
    described = "Several gateways and trainers side by side."
    builder = with_studio(of_gateways(board("Fleet", "ragweld-fleet", described)))
    return assembled(builder, (_who(), _answers(), _load()))


def _who() -> Section:
    return Section("Who is there", ((Box(0, 0, 15, 8), _gateways()), (Box(15, 0, 9, 8), _trainers())))


def _answers() -> Section:
    return Section(
        "Answers",
        (
            (Box(0, 0, 8, 8), _requests()),
            (Box(8, 0, 8, 8), _first_token()),
            (Box(16, 0, 8, 8), _failed()),
        ),
    )


def _load() -> Section:
    return Section(
        "Load",
        (
            (Box(0, 0, 6, 8), _tokens()),
            (Box(6, 0, 6, 8), _queue()),
            (Box(12, 0, 6, 8), _adapters()),
            (Box(18, 0, 6, 8), _disk()),
        ),
    )


def _gateways() -> table.Panel:
    names = {
        "instance": "gateway",
        "Value #A": "engine",
        "base": "base",
        "adapter": "active adapter",
        "version": "version",
        "device": "device",
    }
    return joined(
        listing(
            "Gateways",
            "Each gateway that is scraped: whether its engine is ready, its default base with the active adapter, and "
            "what it runs on.",
            rows(f"max by (instance) ({READY})"),
            rows(f"max by (instance, base, adapter) ({of('ragweld_active_adapter_info', INSTANCE)})"),
            rows(f"max by (instance, version, device) ({of('ragweld_build_info', INSTANCE)})"),
        ),
        "instance",
        names,
    ).override_by_name("engine", [DynamicConfigValue("mappings", [words(("not ready", "red"), ("ready", "green"))])])


def _trainers() -> table.Panel:
    names = {"instance": "trainer", "Value #A": "state", "run_id": "run", "Value #B": "step"}
    running = 'ragweld_train_run_info{status="running"}'
    return joined(
        listing(
            "Trainers",
            "Each trainer that is scraped: whether it is at work, and the step of the run that it works on.",
            rows("max by (instance) (ragweld_train_busy)"),
            rows(
                f"max by (instance, run_id) (ragweld_train_step and on (instance, run_id) {running}) "
                "or 0 * max by (instance) (ragweld_train_busy)"
            ),
        ),
        "instance",
        names,
    ).override_by_name("state", [DynamicConfigValue("mappings", [words(("idle", "blue"), ("training", "green"))])])


def _requests() -> timeseries.Panel:
    counter = of("gen_ai_server_request_duration_seconds_count", INSTANCE)
    return graph(
        "Requests",
        "Model requests answered per second by each gateway, whoever answered.",
        "reqps",
        "requests per second",
        rate(f"sum by (instance) (rate({counter}[$__rate_interval]))", EACH),
    ).axis_soft_min(0)


def _first_token() -> timeseries.Panel:
    buckets = of("gen_ai_server_time_to_first_token_seconds_bucket", INSTANCE)
    return graph(
        "Time to first token, p95",
        "From request to first token: the 95th percentile of the requests of the last few scrapes, for each gateway.",
        "s",
        "time to first token",
        rate(quantile(0.95, buckets, by="le, instance"), EACH),
    ).axis_soft_min(0)


def _failed() -> timeseries.Panel:
    failed = of("gen_ai_server_request_duration_seconds_count", INSTANCE, 'error_type!=""')
    fallen = of("ragweld_fallbacks_total", INSTANCE)
    return graph(
        "Errors and fallbacks",
        "Model requests that ended in an error, and answers by another provider, per second, for each gateway.",
        "reqps",
        "per second",
        rate(
            or_nothing(f"sum by (instance) (rate({failed}[$__rate_interval]))", "instance", READY),
            f"{EACH}: errors",
        ),
        rate(
            or_nothing(f"sum by (instance) (rate({fallen}[$__rate_interval]))", "instance", READY),
            f"{EACH}: fallbacks",
        ),
    ).axis_soft_min(0)


def _tokens() -> timeseries.Panel:
    decoded = of("ragweld_engine_tokens_total", INSTANCE, 'phase="decode"')
    return graph(
        "Answer tokens",
        "Tokens that each gateway's engine decoded per second.",
        "suffix:tokens/s",
        "tokens per second",
        rate(f"sum by (instance) (rate({decoded}[$__rate_interval]))", EACH),
    ).axis_soft_min(0)


def _queue() -> timeseries.Panel:
    queued, limit = (of(f"ragweld_engine_queued_tokens{ending}", INSTANCE) for ending in ("", "_limit"))
    return (
        graph(
            "Queue",
            "Tokens admitted and not yet done, of those that may be; at 100 % requests are refused with 429.",
            "percentunit",
            "share of the limit",
            over_time(f"{queued} / {limit}", EACH),
        )
        .axis_soft_min(0)
        .axis_soft_max(1)
    )


def _adapters() -> timeseries.Panel:
    return graph(
        "Adapters resident",
        "Adapters in slots of each gateway at the scrape; Kubernetes' routers send a request where its adapter is.",
        "none",
        "adapters",
        over_time(of("ragweld_engine_adapters_resident", INSTANCE), EACH),
    ).axis_soft_min(0)


def _disk() -> timeseries.Panel:
    return graph(
        "Free disk",
        "Free bytes on the disk of each gateway's home folder.",
        "bytes",
        "free",
        over_time(of("ragweld_home_free_bytes", INSTANCE), EACH),
    ).axis_soft_min(0)
