"""Every PromQL expression of a dashboard's JSON as Grafana would send it: of panels, inside rows too, and annotations.

Reads JSON alone, so it holds for any dashboard. A variable without a value is an error, not an empty string.
`tests/grafana/test_queries.py` proves it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

GRAFANA_VARIABLES: Mapping[str, str] = {
    "__interval": "1s",
    "__interval_ms": "1000",
    "__rate_interval": "8s",
    "__range": "900s",
    "__range_s": "900",
    "__range_ms": "900000",
}
"""What Grafana fills in itself, for our steps (1 s, and 2 s for rates) over the dashboard's 15 minutes."""

_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)(?::\w+)?\}|(?P<plain>\w+))")
_MATCHERS_AND_GROUPS = re.compile(r'\{[^}]*\}|\b(?:by|without|on|ignoring)\s*\([^)]*\)|"[^"]*"')
_OUR_NAME = re.compile(r"\b(?:ragweld_|gen_ai_|vllm:)[a-zA-Z0-9_:]+")


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query as it is sent. `panel` is a panel's title or says which annotation; `instant` False is over a range."""

    panel: str
    ref_id: str
    expr: str
    instant: bool


class UnknownVariable(KeyError):
    """An expression names a dashboard variable that was given no value."""


def expressions(dashboard: Mapping[str, Any], variables: Mapping[str, str]) -> list[PanelQuery]:
    """All queries in reading order. `variables` are the dashboard's own (`run_id`) and may replace Grafana's."""
    values = {**GRAFANA_VARIABLES, **variables}
    asked = [
        PanelQuery(panel["title"], target["refId"], _filled(target["expr"], values), bool(target.get("instant")))
        for panel in panels(dashboard)
        for target in panel.get("targets", ())
    ]
    marked = [
        PanelQuery(f"annotation {annotation['name']}", "Anno", _filled(annotation["expr"], values), instant=False)
        for annotation in dashboard.get("annotations", {}).get("list", ())
    ]
    return asked + marked


def panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All panels in reading order, rows and the panels inside collapsed rows too."""
    for panel in dashboard.get("panels", ()):
        yield panel
        yield from panels(panel)


def metric_names(expr: str) -> set[str]:
    """The names of our metrics in an expression or in `label_values(...)`; label names do not count."""
    return set(_OUR_NAME.findall(_MATCHERS_AND_GROUPS.sub(" ", expr)))


def _filled(expr: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match["braced"] or match["plain"]
        if name not in values:
            raise UnknownVariable(f"{name} in {expr}")
        return values[name]

    return _VARIABLE.sub(value, expr)
