"""The house's panels: Grafana's own, with datasource, tooltip, points and steps set once for scrapes of 1 to 2 seconds.

Every panel takes a title, a description that says what was measured and how, and a unit; queries get the ref ids A, B,
C... in the order given. Knows nothing of what is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from string import ascii_uppercase
from typing import Any

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    BigValueTextMode,
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    LineInterpolation,
    ScaleDistribution,
    SortOrder,
    TableAutoCellOptions,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = DataSourceRef(type_val="prometheus", uid="ragweld-prometheus")
GAUGE_STEP = "1s"
"""The finest step that a gauge is asked in: one scrape."""
RATE_STEP = "2s"
"""Grafana makes `$__rate_interval` at least four of these, so a rate has two scrapes even when they are 2 s apart."""

Panel = Any
"""A panel builder; each panel type of the SDK is a class of its own without a common base of use here."""
Query = Any


def over_time(expr: str, legend: str, step: str = GAUGE_STEP) -> Query:
    """A range query: the values over the dashboard's time."""
    return prometheus.Dataquery().expr(expr).legend_format(legend).interval(step).range()


def rate(expr: str, legend: str) -> Query:
    """A range query over `$__rate_interval`."""
    return over_time(expr, legend, RATE_STEP)


def latest(expr: str, legend: str) -> Query:
    """An instant query: one value a series, now."""
    return prometheus.Dataquery().expr(expr).legend_format(legend).instant()


def rows(expr: str) -> Query:
    """An instant query whose labels become the columns of a table."""
    return prometheus.Dataquery().expr(expr).format(PromQueryFormat.TABLE).instant()


def counted(counter: str, label: str, alive: str) -> Query:
    """A counter's value by `label`; 0 for "none" while its process is scraped (`alive`) and has counted nothing.

    The value, not an increase: a counter that appears with its first event has none to show for it.
    """
    nothing = f'label_replace(0 * {alive}, "{label}", "none", "", "")'
    return latest(f"sum by ({label}) ({counter}) or on() {nothing}", f"{{{{{label}}}}}")


def or_nothing(expr: str, by: str, alive: str) -> str:
    """`expr`, and 0 for every `by` whose process is scraped (`alive`) and has nothing of the kind."""
    return f"{expr} or 0 * max by ({by}) ({alive})"


def value(title: str, description: str, unit: str, *queries: Query) -> stat.Panel:
    """The last value, large; with a sparkline when the query is over time."""
    panel = _described(stat.Panel(), title, description, queries)
    return (
        panel.unit(unit)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
        .graph_mode(BigValueGraphMode.AREA)
        .color_scheme(fixed_colour("text"))
        .no_value("not measured yet")
    )


def named_values(title: str, description: str, *queries: Query) -> stat.Panel:
    """Counts side by side, each with its name even when there is only one."""
    return (
        value(title, description, "none", *queries)
        .decimals(0)
        .text_mode(BigValueTextMode.VALUE_AND_NAME)
        .graph_mode(BigValueGraphMode.NONE)
    )


def graph(title: str, description: str, unit: str, axis: str, *queries: Query) -> timeseries.Panel:
    """Lines against time, one axis with a label."""
    panel = _described(timeseries.Panel(), title, description, queries)
    return (
        panel.unit(unit)
        .axis_label(axis)
        .line_width(2)
        .fill_opacity(0)
        .show_points(VisibilityMode.AUTO)
        .span_nulls(False)
        .color_scheme(dashboard_builders.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
        .legend(legend())
        .tooltip(common_builders.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )


def listing(title: str, description: str, *queries: Query) -> table.Panel:
    """A table; give the queries with `rows`."""
    return _described(table.Panel(), title, description, queries).show_header(True).cell_options(TableAutoCellOptions())


def joined(panel: table.Panel, by: str, names: Mapping[str, str]) -> table.Panel:
    """The queries' rows side by side where `by` is equal; `names` are the columns in order, as they come: as shown."""
    steps: dict[str, dict[str, Any]] = {
        "filterFieldsByName": {"include": {"names": list(names)}},
        "joinByField": {"byField": by, "mode": "outer"},
        "organize": {
            "indexByName": {field: index for index, field in enumerate(names)},
            "renameByName": dict(names),
            "excludeByName": {},
        },
    }
    return panel.transformations([DataTransformerConfig(id_val=name, options=step) for name, step in steps.items()])


def legend() -> common_builders.VizLegendOptions:
    """Names beneath the panel."""
    return (
        common_builders.VizLegendOptions()
        .show_legend(True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
    )


def log_scale() -> common_builders.ScaleDistributionConfig:
    """Powers of ten at equal distances."""
    return common_builders.ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10)


def fixed_colour(colour: str) -> dashboard_builders.FieldColor:
    return dashboard_builders.FieldColor().mode(FieldColorModeId.FIXED).fixed_color(colour)


def colour(name: str) -> DynamicConfigValue:
    """For an override: one colour."""
    return DynamicConfigValue("color", {"mode": FieldColorModeId.FIXED, "fixedColor": name})


def coloured_by_value(mode: FieldColorModeId) -> DynamicConfigValue:
    """For an override: the value picks the colour from a scale between the lowest and the highest."""
    return DynamicConfigValue("color", {"mode": mode})


def stepped() -> DynamicConfigValue:
    """For an override: hold a value until the next measurement."""
    return DynamicConfigValue("custom.lineInterpolation", LineInterpolation.STEP_AFTER)


def dashed() -> DynamicConfigValue:
    """For an override: a dashed line."""
    return DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [6, 6]})


def right_axis(label: str, unit: str) -> list[DynamicConfigValue]:
    """For an override: an axis of its own on the right."""
    return [
        DynamicConfigValue("unit", unit),
        DynamicConfigValue("custom.axisPlacement", "right"),
        DynamicConfigValue("custom.axisLabel", label),
    ]


def words(*text_and_colour: tuple[str, str]) -> ValueMap:
    """Write 0, 1, 2... as words, each in its colour."""
    results = {
        str(number): ValueMappingResult(text=text, color=colour_name, index=number)
        for number, (text, colour_name) in enumerate(text_and_colour)
    }
    return ValueMap(results)


def _described(panel: Panel, title: str, description: str, queries: Iterable[Query]) -> Panel:
    panel.title(title).description(description).datasource(DATASOURCE)
    for ref_id, query in zip(ascii_uppercase, queries, strict=False):
        panel.with_target(query.ref_id(ref_id).datasource(DATASOURCE))
    return panel
