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
    assert [variable["datasource"] for variable in dashboard["templating"]["list"]] == [ours]


def test_every_override_names_a_field_that_the_panel_has(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        fields = {target.get("legendFormat") for target in panel.get("targets", ())}
        for override in panel.get("fieldConfig", {}).get("overrides", ()):
            assert override["matcher"]["options"] in fields, panel["title"]


def test_every_series_of_the_descent_is_mapped_to_a_field_of_its_frame(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        if panel["type"] != "xychart":
            continue
        legend = {target["refId"]: target["legendFormat"] for target in panel["targets"]}
        frames = [
            {name for ref_id, name in legend.items() if ref_id in step["filter"]["options"]}
            for step in panel["transformations"]
        ]
        for series in panel["options"]["series"]:
            wanted = {series[axis]["matcher"]["options"] for axis in ("x", "y", "color") if axis in series}
            assert wanted <= frames[series["frame"]["matcher"]["options"]]


def _cells(place: dict[str, int]) -> set[tuple[int, int]]:
    columns, lines = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
    return {(x, y) for x in columns for y in lines}
