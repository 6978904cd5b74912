"""Where panels stand: sections with a title, boxes in Grafana's grid, numbers in reading order.

Knows nothing of what the panels show.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.models.dashboard import Dashboard, GridPos

Panel = Any
"""A panel builder; each panel type of the SDK is a class of its own without a common base of use here."""


class Box(NamedTuple):
    """A place inside a section, in Grafana's grid: 24 columns, rows of 30 pixels."""

    x: int
    y: int
    width: int
    height: int


class Section(NamedTuple):
    """A row's title and what stands beneath it."""

    title: str
    panels: tuple[tuple[Box, Panel], ...]


def assembled(builder: dashboard_builders.Dashboard, sections: Iterable[Section]) -> Dashboard:
    """Stack the sections, place their panels, number everything from 1, and show links and annotations above it."""
    top = 0
    for section in sections:
        builder.with_row(dashboard_builders.Row(section.title).grid_pos(GridPos(h=1, w=24, x=0, y=top)))
        for box, panel in section.panels:
            builder.with_panel(panel.grid_pos(GridPos(h=box.height, w=box.width, x=box.x, y=top + 1 + box.y)))
        top += 1 + max(box.y + box.height for box, _ in section.panels)
    dashboard = builder.build()
    for number, panel in enumerate(dashboard.panels, start=1):
        panel.id_val = number
    return _without_foreign_defaults(dashboard)


def _without_foreign_defaults(dashboard: Dashboard) -> Dashboard:
    """Leave out what the SDK adds by itself and @grafana/schema 13 does not know, or what hides links in a menu."""
    for shown in (*dashboard.links, *dashboard.annotations.list_val):
        shown.placement = None
    for variable in dashboard.templating.list_val:
        variable.auto = variable.auto_min = variable.auto_count = None
    for panel in dashboard.panels:
        if panel.type_val == "table":
            panel.options.footer = None
    return dashboard
