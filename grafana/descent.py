"""The live path: where the trainable parameters went in the run's frozen plane, a point a scrape, coloured by loss.

After the two joins frame 0 is the path (a row a scrape: x, y and probe loss of one step, since one scrape is one
snapshot) and frame 1 the current point. One y field has one look, so y is asked twice: once for the line, once for the
coloured points.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import xychart
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig
from grafana_foundation_sdk.models.xychart import SeriesMapping

from grafana.panels import DATASOURCE, Query, coloured_by_value, latest, over_time
from grafana.xy import ACROSS, LOSS_COLOURS, UP, axis, line, mark, points, series, transformation

MAX_POINTS = 3000
"""Points asked for, so that a run of under 50 minutes keeps every scrape at 1 s."""

_PATH_FRAME, _NOW_FRAME = 0, 1
_X, _LINE_Y, _POINT_Y, _LOSS = "x", "y of the line", "y of the points", "probe loss"
_NOW_X, _NOW_Y = "x now", "y now"

_DESCRIPTION = """\
The displacement of the trainable parameters from their start (0, 0), in the plane of the run's first motion, which is \
then frozen; measured on a sketch of 1,024 numbers that keeps distances within about 2 %. One point a scrape: x, y and \
loss belong to the same step. Colour: loss on the run's fixed probe batch, blue the lowest shown, red the highest. The \
ring is the latest point. How much of the motion the plane holds, and how far off it the true point is, stand beside."""


def live_path(run: str) -> xychart.Panel:
    """The panel for the series selected by the label matcher `run`."""
    panel = xychart.Panel().title("Path, live").description(_DESCRIPTION).datasource(DATASOURCE)
    for ref_id, query in _queries(run).items():
        panel.with_target(query.ref_id(ref_id).datasource(DATASOURCE))
    return (
        _styled(panel)
        .max_data_points(MAX_POINTS)
        .transformations([_joined_by_time("A", "B", "C", "D"), _joined_by_time("E", "F")])
        .mapping(SeriesMapping.MANUAL)
        .series(
            [
                series("path", _PATH_FRAME, _X, _LINE_Y),
                series("a step, coloured by probe loss", _PATH_FRAME, _X, _POINT_Y, _LOSS),
                series("now", _NOW_FRAME, _NOW_X, _NOW_Y),
            ]
        )
    )


def _queries(run: str) -> dict[str, Query]:
    x, y = f"ragweld_train_projection_x{run}", f"ragweld_train_projection_y{run}"
    return {
        "A": over_time(x, _X),
        "B": over_time(y, _LINE_Y),
        "C": over_time(y, _POINT_Y),
        "D": over_time(f"ragweld_train_probe_loss{run}", _LOSS),
        "E": latest(x, _NOW_X),
        "F": latest(y, _NOW_Y),
    }


def _styled(panel: xychart.Panel) -> xychart.Panel:
    up = axis(UP)
    return (
        points(panel, 6, opacity=85, line_width=1)
        .override_by_name(_X, [axis(ACROSS)])
        .override_by_name(_LINE_Y, [up, *line("#8e8e8e")])
        .override_by_name(_POINT_Y, [up])
        .override_by_name(_LOSS, [coloured_by_value(LOSS_COLOURS)])
        .override_by_name(_NOW_Y, [up, *mark("text", 16)])
    )


def _joined_by_time(*ref_ids: str) -> DataTransformerConfig:
    return transformation("joinByField", {"byField": "Time", "mode": "outer"}, *ref_ids)
