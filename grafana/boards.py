"""What every dashboard of the house has: its frame, the ways out of it, and the moves of the alias as annotations.

Ways out are the other dashboards (by tag) and the Studio, whose address is a text field of the dashboard, because only
the person knows how their browser reaches the gateway.
"""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableRefresh,
    VariableSort,
)

from grafana.panels import DATASOURCE

TAG = "ragweld"
STUDIO = "${studio}/studio"
STUDIO_RUN = f"{STUDIO}#/runs/"
MOVED = "ragweld_alias_moved_timestamp_seconds"
INSTANCE = 'instance=~"$instance"'
"""The matcher of the variable that `of_gateways` adds."""

Board = Any
"""A dashboard builder of the SDK, which has no types."""


def board(title: str, uid: str, description: str) -> Board:
    """An empty dashboard with links and annotations; variables and sections are added by the caller."""
    return (
        dashboard_builders.Dashboard(f"ragweld: {title}")
        .uid(uid)
        .description(description)
        .tags([TAG])
        .refresh("5s")
        .time("now-15m", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .links([_to_others(), to_studio("Studio", STUDIO)])
        .annotation(_moves("Promotions", "green", 'reason!~".*rollback.*"'))
        .annotation(_moves("Rollbacks", "red", 'reason=~".*rollback.*"'))
    )


def with_studio(builder: Board) -> Board:
    """Ask where the gateway is for the person's browser."""
    return builder.with_variable(
        dashboard_builders.TextBoxVariable("studio")
        .label("Gateway")
        .description("Address of the gateway as your browser reaches it; links to the Studio begin with it.")
        .default_value("http://127.0.0.1:8000")
    )


def of_gateways(builder: Board) -> Board:
    """Let the person choose among gateways; all of them at first."""
    return builder.with_variable(
        of_labels("instance", "Gateways", "ragweld_engine_ready", "instance", VariableSort.ALPHABETICAL_ASC)
        .description("The gateways that Prometheus scrapes.")
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def of_labels(
    name: str, label: str, metric: str, of_label: str, sort: VariableSort
) -> dashboard_builders.QueryVariable:
    """A variable with the values of one label of one metric."""
    query = f"label_values({metric}, {of_label})"
    return (
        dashboard_builders.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query({"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(sort)
    )


def to_studio(title: str, url: str) -> dashboard_builders.DashboardLink:
    """A link to a page of the Studio."""
    return (
        dashboard_builders.DashboardLink(title)
        .type(DashboardLinkType.LINK)
        .icon("external link")
        .tooltip("The Studio of the gateway: start runs, watch them, promote, roll back, ask.")
        .url(url)
        .target_blank(True)
    )


def _to_others() -> dashboard_builders.DashboardLink:
    return (
        dashboard_builders.DashboardLink("ragweld")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .keep_time(True)
        .include_vars(False)
    )


def _moves(name: str, colour: str, matcher: str) -> dashboard_builders.AnnotationQuery:
    """Moves of the alias at their own times, which the series' values say in seconds; Grafana wants milliseconds."""
    return (
        dashboard_builders.AnnotationQuery()
        .name(name)
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(colour)
        .expr(f"1000 * {MOVED}{{{matcher}}}")
        .step("1s")
        .use_value_for_time(True)
        .title_format("{{base}}: version {{version}} is {{adapter}}")
        .text_format("{{reason}}")
    )
