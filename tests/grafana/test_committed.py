"""The committed JSON is what the code makes, and is whole: ids, places, descriptions, units, the one datasource."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import pytest

from grafana.queries import panels
from grafana.render import DASHBOARDS, dashboard_path, rendered

GRID_COLUMNS = 24
WITHOUT_UNIT = {"row", "table", "xychart"}
"""A table's columns and the axes of the parameter plane have none of one kind."""


@pytest.fixture(params=DASHBOARDS)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(rendered(request.param))
    return loaded


@pytest.mark.parametrize("name", DASHBOARDS)
def test_committed_json_is_byte_equal_to_what_the_code_makes(name: str) -> None:
    assert dashboard_path(name).read_bytes() == rendered(name), "run `python -m grafana` and commit its result"


def test_no_dashboard_is_committed_that_no_code_makes() -> None:
    committed = {path.stem for path in dashboard_path("any").parent.glob("*.json")}
    assert committed == set(DASHBOARDS)


def test_panel_ids_are_set_and_unique(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in panels(dashboard)]
    assert ids == list(range(1, len(ids) + 1))


def test_panel_titles_are_unique(dashboard: dict[str, Any]) -> None:
    titles = [panel["title"] for panel in panels(dashboard)]
    assert len(titles) == len(set(titles))


def test_no_panel_overlaps_another_or_leaves_the_grid(dashboard: dict[str, Any]) -> None:
    cells = {panel["title"]: _cells(panel["gridPos"]) for panel in panels(dashboard)}
    for title, taken in cells.items():
        assert max(x for x, _ in taken) < GRID_COLUMNS, title
    for (one, one_cells), (other, other_cells) in combinations(cells.items(), 2):
        assert not one_cells & other_cells, f"{one} and {other} overlap"


def test_every_panel_says_what_was_measured(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        if panel["type"] != "row":
            assert len(panel["description"]) > 40, panel["title"]


def test_every_number_has_a_unit_and_every_graph_an_axis_label(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        if panel["type"] not in WITHOUT_UNIT:
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        if panel["type"] == "timeseries":
            assert panel["fieldConfig"]["defaults"]["custom"]["axisLabel"], panel["title"]


def test_every_panel_and_query_asks_the_provisioned_datasource(dashboard: dict[str, Any]) -> None:
    ours = {"type": "prometheus", "uid": "ragweld-prometheus"}
    for panel in panels(dashboard):
        if panel["type"] != "row":
            assert panel["datasource"] == ours, panel["title"]
            assert [target["datasource"] for target in panel["targets"]] == [ours] * len(panel["targets"])
    asking = [variable for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    assert [variable["datasource"] for variable in (*asking, *dashboard["annotations"]["list"])] == [ours] * (
        len(asking) + 2
    )


def test_links_and_annotations_are_seen_above_the_panels(dashboard: dict[str, Any]) -> None:
    """The SDK's own default is a menu."""
    shown = [*dashboard["links"], *dashboard["annotations"]["list"]]
    assert len(shown) == 4
    assert not any("placement" in one for one in shown)


def test_links_to_the_studio_begin_where_the_person_says_that_the_gateway_is(dashboard: dict[str, Any]) -> None:
    assert "studio" in {variable["name"] for variable in dashboard["templating"]["list"]}
    assert "${studio}/studio" in {link.get("url") for link in dashboard["links"]}


def test_every_override_names_a_field_that_the_panel_has(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        targets = panel.get("targets", ())
        fields = {"byName": _fields(panel), "byFrameRefID": {target["refId"] for target in targets}}
        for override in panel.get("fieldConfig", {}).get("overrides", ()):
            assert override["matcher"]["options"] in fields[override["matcher"]["id"]], panel["title"]


def test_series_that_one_join_feeds_take_fields_that_it_has(dashboard: dict[str, Any]) -> None:
    """What the transformations really make of real answers is tested with Grafana's own: `grafana/preview`."""
    for panel in panels(dashboard):
        joins = [step for step in panel.get("transformations", ()) if step["id"] == "joinByField"]
        if panel["type"] != "xychart" or not joins:
            continue
        legend = {target["refId"]: target["legendFormat"] for target in panel["targets"]}
        frames = [
            {name for ref_id, name in legend.items() if "filter" not in join or ref_id in join["filter"]["options"]}
            for join in joins
        ]
        for series in panel["options"]["series"]:
            wanted = {series[axis]["matcher"]["options"] for axis in ("x", "y", "color") if axis in series}
            assert wanted <= frames[series["frame"]["matcher"]["options"]]


def _fields(panel: dict[str, Any]) -> set[str]:
    """Names that a panel's fields can have: legends, columns as renamed, a table's values, labels that become axes."""
    targets = panel.get("targets", ())
    renamed = [step["options"].get("renameByName", {}) for step in panel.get("transformations", ())]
    return {
        *(target.get("legendFormat") for target in targets),
        *(f"Value #{target['refId']}" for target in targets if target.get("format") == "table"),
        *(name for names in renamed for name in names.values()),
        *(["x", "y", "step"] if any(target.get("format") == "table" for target in targets) else []),
    }


def _cells(place: dict[str, int]) -> set[tuple[int, int]]:
    columns, lines = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
    return {(x, y) for x in columns for y in lines}
