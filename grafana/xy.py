"""Pieces of an XY chart: which fields of which frame a series takes, and how its points look.

Grafana finds a series' frame by its place in the list of frames only, fields by name, and a series' look in the
overrides of its y field. All fields that colour points share one scale from the lowest to the highest value shown.
"""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import xychart
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
)
from grafana_foundation_sdk.models.dashboard import MatcherConfig as FrameMatcher
from grafana_foundation_sdk.models.xychart import XYShowMode

from grafana.panels import colour, legend

ACROSS, UP = "first direction of the plane", "second direction of the plane"
LOSS_COLOURS = FieldColorModeId.CONTINUOUS_BL_YL_RD
LOWEST, HIGHEST = "dark-blue", "dark-red"
"""The ends of that scale."""


def series(name: str, frame: int, x: str, y: str, coloured_by: str | None = None) -> xychart.XYSeriesConfig:
    """One series: fields `x`, `y` and `coloured_by` of the frame at place `frame`."""
    built = (
        xychart.XYSeriesConfig()
        .name(xychart.XychartXYSeriesConfigName().fixed(name))
        .frame(xychart.XychartXYSeriesConfigFrame().matcher(_matcher("byIndex", frame)))
        .x(xychart.XychartXYSeriesConfigX().matcher(_matcher("byName", x)))
        .y(xychart.XychartXYSeriesConfigY().matcher(_matcher("byName", y)))
    )
    if coloured_by is None:
        return built
    return built.color(xychart.XychartXYSeriesConfigColor().matcher(_matcher("byName", coloured_by)))


def transformation(name: str, options: dict[str, Any], *ref_ids: str) -> DataTransformerConfig:
    """A transformation of all frames, or of those of the given queries."""
    only = FrameMatcher(id_val="byRefId", options=f"/^({'|'.join(ref_ids)})$/") if ref_ids else None
    return DataTransformerConfig(id_val=name, filter_val=only, options=options)


def points(panel: xychart.Panel, size: int, *, opacity: int, line_width: int) -> xychart.Panel:
    """Filled points without an edge, with a legend; what is drawn otherwise is said by overrides."""
    return (
        panel.show(XYShowMode.POINTS)
        .point_size(xychart.XychartFieldConfigPointSize().fixed(size))
        .point_stroke_width(0)
        .fill_opacity(opacity)
        .line_width(line_width)
        .decimals(3)
        .legend(legend())
    )


def axis(label: str) -> DynamicConfigValue:
    """For an override: the axis' label."""
    return DynamicConfigValue("custom.axisLabel", label)


def line(colour_name: str) -> list[DynamicConfigValue]:
    """For an override: a line without points."""
    return [DynamicConfigValue("custom.show", "lines"), colour(colour_name)]


def dots(size: int, opacity: int = 100) -> list[DynamicConfigValue]:
    """For an override: filled points of `size` pixels."""
    return [
        DynamicConfigValue("custom.pointSize", {"fixed": size}),
        DynamicConfigValue("custom.fillOpacity", opacity),
        DynamicConfigValue("custom.pointStrokeWidth", 0),
    ]


def mark(colour_name: str, size: int, shape: str = "circle", width: int = 2) -> list[DynamicConfigValue]:
    """For an override: an empty ring or square that leaves visible what it marks."""
    return [
        colour(colour_name),
        DynamicConfigValue("custom.pointShape", shape),
        DynamicConfigValue("custom.pointSize", {"fixed": size}),
        DynamicConfigValue("custom.pointStrokeWidth", width),
        DynamicConfigValue("custom.fillOpacity", 0),
    ]


def _matcher(kind: str, options: object) -> xychart.MatcherConfig:
    return xychart.MatcherConfig().id(kind).options(options)
