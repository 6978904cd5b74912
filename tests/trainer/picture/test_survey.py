"""Coarse first, everything once, and a count says where to go on."""

from __future__ import annotations

import numpy as np
import pytest

from catalog.pictures import Probe
from trainer.picture import plane
from trainer.picture.marks import Mark
from trainer.picture.survey import LEVELS, Survey, axes, levels

POINTS = np.cumsum(np.random.default_rng(2).standard_normal((6, 50)), axis=0)
PROBE = Probe(rows=4, tokens=60, sha256="f" * 64)


def survey(grid: int = 21, digest: str = "d") -> Survey:
    fit = plane.fit(POINTS @ POINTS.T)
    assert fit is not None
    marks = [Mark(step, 2.0, 1.0 + step, 1e-3) for step in range(1, 7)]
    return Survey("run", marks, fit, digest, PROBE, grid)


@pytest.mark.parametrize("grid", [1, 2, 4, 5, 6, 9, 12, 21])
def test_every_point_is_measured_once_and_the_coarse_ones_first(grid: int) -> None:
    painted = survey(grid)
    seen = []
    while (spot := painted.next_spot) is not None:
        seen.append(spot)
        painted.take(1.0)
    cells = [(spot.row, spot.column) for spot in seen if spot.row is not None]
    assert len(cells) == len(set(cells)) == grid**2
    assert [spot.column for spot in seen if spot.row is None] == list(range(6))
    assert painted.measured == painted.surface("now").total == grid**2 + 6
    assert painted.levels_done == len(levels(grid))
    first = min(grid, LEVELS[0]) ** 2
    assert all(spot.row is not None for spot in seen[:first])
    assert {row for row, _ in cells[:first]} >= {0, grid - 1}


def test_the_coarse_grids_are_even_and_nested() -> None:
    painted = survey(21)
    rows: list[set[int]] = []
    for _ in levels(21):
        done = painted.levels_done
        while painted.levels_done == done:
            painted.take(1.0)
        rows.append(set(np.nonzero(np.isfinite(painted.losses))[0].tolist()))
    assert rows[0] == {0, 5, 10, 15, 20}
    assert rows[0] < rows[1] < rows[2] == set(range(21))
    assert len(rows[1]) == 9


def test_the_grid_spans_the_start_and_the_path_and_a_third_more() -> None:
    places = np.array([[1.0, 0.5], [4.0, -0.5], [10.0, 1.5]])
    xs, ys = axes(places, 21)
    assert (xs[0], xs[-1]) == pytest.approx((-1.5, 11.5))
    assert (ys[0], ys[-1]) == pytest.approx((-0.8, 1.8))
    assert np.ptp(axes(np.array([[1.0, 0.0], [10.0, 0.0]]), 5)[1]) == pytest.approx(1.3)


def test_a_later_life_goes_on_where_the_count_says() -> None:
    whole, first = survey(), survey()
    for number in range(441 + 6):
        whole.take(float(number) if number % 50 else float("nan"))
    for number in range(200):
        first.take(float(number) if number % 50 else float("nan"))
    second = survey()
    assert second.go_on_from(first.surface("then"))
    for number in range(200, 441 + 6):
        second.take(float(number) if number % 50 else float("nan"))
    assert second.surface("now") == whole.surface("now")
    assert second.next_spot is None


def test_what_was_measured_on_another_plane_or_probe_is_not_taken_over() -> None:
    first = survey()
    first.take(1.0)
    assert not survey(digest="e").go_on_from(first.surface("then"))
    assert not survey(grid=9).go_on_from(first.surface("then"))


def test_metrics_show_what_is_measured_and_finite() -> None:
    painted = survey(2)
    for loss in (1.0, float("inf"), 3.0):
        painted.take(loss)
    picture = painted.picture()
    assert [loss for _, _, loss in picture.grid] == [1.0, 3.0]
    assert [step for step, *_ in picture.path] == [1, 2, 3, 4, 5, 6]
    assert painted.surface("now").loss == [[1.0, None], [3.0, None]]


def test_words_say_how_far_the_plane_is_from_the_path() -> None:
    painted = survey(2)
    for _ in range(4):
        painted.take(1.0)
    assert "2 x 2 points of the plane of 6 snapshots" in painted.in_words()
    for mark in painted.marks:
        painted.take(mark.probe_loss + 0.25)
    assert painted.in_words().endswith("the plane's loss misses the path's own by 0.25 nats on average.")
