"""Gradient descent: the loss measured around a run's path as a grid of coloured dots, and the path over it.

Everything is a labelled instant query, so what is shown is what is known now: a row for each grid point or step, with
its place in the labels. Frames are found by their place and a query without an answer leaves none, so those that may be
empty while there is a path stand last. The surface is on the plane of the run's kept snapshots.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import xychart
from grafana_foundation_sdk.models.xychart import SeriesMapping

from grafana.boards import MOVED
from grafana.panels import DATASOURCE, Query, coloured_by_value, rows
from grafana.xy import ACROSS, LOSS_COLOURS, UP, axis, dots, line, mark, points, series, transformation

_PATH, _LINE, _GRID, _START, _NOW, _BEST, _PROMOTED = "ABCDEFG"
"""Ref ids; the frame of each has the place of its letter."""

_DESCRIPTION = """\
True loss on the run's fixed probe batch, measured at the points of a grid on the plane of the run's kept snapshots \
(dots), and where the run itself was (path; its loss is measured at the true point, which may be off the plane). Both \
on one scale of colour: blue the lowest loss shown, red the highest; both ends stand beside. Square: the start. Ring: \
now. Orange: nearest to the best on held-out rows. Green: promoted. The grid fills up as it is measured, and is whole \
after the run."""


def gradient_descent(run_id: str) -> xychart.Panel:
    """The panel for one run; `run_id` may be a variable."""
    panel = xychart.Panel().title("Gradient descent").description(_DESCRIPTION).datasource(DATASOURCE)
    for ref_id, query in _queries(run_id).items():
        panel.with_target(query.ref_id(ref_id).datasource(DATASOURCE))
    return (
        _styled(panel)
        .transformations(
            [
                transformation("convertFieldType", {"conversions": [_number(name) for name in ("x", "y", "step")]}),
                transformation("sortBy", {"sort": [{"field": "step"}]}),
            ]
        )
        .mapping(SeriesMapping.MANUAL)
        .series(
            [
                series("loss measured on the plane", _place(_GRID), "x", "y", f"Value #{_GRID}"),
                series("path", _place(_LINE), "x", "y"),
                series("a step, coloured by its loss", _place(_PATH), "x", "y", f"Value #{_PATH}"),
                series("start", _place(_START), "x", "y"),
                series("best", _place(_BEST), "x", "y"),
                series("promoted", _place(_PROMOTED), "x", "y"),
                series("now", _place(_NOW), "x", "y"),
            ]
        )
    )


def _queries(run_id: str) -> dict[str, Query]:
    path = f'ragweld_train_path_loss{{run_id="{run_id}"}}'
    marks = {mark: f'ragweld_train_path_mark{{run_id="{run_id}", mark="{mark}"}}' for mark in ("start", "now", "best")}
    return {
        _PATH: rows(path),
        _LINE: rows(path),
        _GRID: rows(f'ragweld_train_surface_loss{{run_id="{run_id}"}}'),
        _START: rows(marks["start"]),
        _NOW: rows(marks["now"]),
        _BEST: rows(marks["best"]),
        _PROMOTED: rows(f'{marks["best"]} and on () {MOVED}{{reason=~".*{run_id}"}}'),
    }


def _styled(panel: xychart.Panel) -> xychart.Panel:
    up = axis(UP)
    return (
        points(panel, 8, opacity=100, line_width=2)
        .override_by_name("x", [axis(ACROSS)])
        .override_by_name("y", [up])
        .override_by_query(_GRID, dots(18, opacity=70))
        .override_by_query(_LINE, line("text"))
        .override_by_query(_START, mark("text", 16, "square"))
        .override_by_query(_BEST, mark("orange", 22, width=3))
        .override_by_query(_PROMOTED, mark("green", 30, width=3))
        .override_by_query(_NOW, mark("text", 14))
        .override_by_name(f"Value #{_GRID}", [coloured_by_value(LOSS_COLOURS)])
        .override_by_name(f"Value #{_PATH}", [coloured_by_value(LOSS_COLOURS)])
    )


def _number(field: str) -> dict[str, str]:
    return {"targetField": field, "destinationType": "number"}


def _place(ref_id: str) -> int:
    return ord(ref_id) - ord("A")
