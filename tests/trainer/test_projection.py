"""The plane carries the motion, and the point says by how much it misses."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from trainer.projection import SKETCH_SIZE, Path, Plane, Vector, fit_plane, held_points, sketch


def axes(count: int) -> Vector:
    """Orthonormal directions in sketch space."""
    random = np.random.default_rng(3).standard_normal((SKETCH_SIZE, count))
    return np.linalg.qr(random)[0].T


def spiral(count: int = 6) -> list[Vector]:
    """Points within a known plane."""
    first, second, _ = axes(3)
    return [step * np.cos(step / 4) * first + step * np.sin(step / 4) * second for step in range(1, count + 1)]


def test_a_sketch_keeps_lengths_and_distances() -> None:
    mx.random.seed(0)
    points = [mx.random.normal((110_000,)) * size for size in (0.1, 1.0, 5.0)]
    for point in points:
        assert np.linalg.norm(sketch(point)) == pytest.approx(mx.linalg.norm(point).item(), rel=0.06)
    apart = mx.linalg.norm(points[1] - points[2]).item()
    assert np.linalg.norm(sketch(points[1]) - sketch(points[2])) == pytest.approx(apart, rel=0.06)


def test_a_sketch_of_few_numbers_loses_nothing() -> None:
    point = mx.array([3.0, -4.0])
    assert np.linalg.norm(sketch(point)) == pytest.approx(5.0)


def test_motion_within_a_plane_is_held_whole() -> None:
    points = spiral()
    plane = fit_plane(points)
    for point in points:
        placed = plane.place(point)
        assert placed.share == pytest.approx(1.0)
        assert placed.off_plane == pytest.approx(0.0, abs=1e-9)
        assert np.hypot(placed.x, placed.y) == pytest.approx(np.linalg.norm(point))
    assert plane.place(points[-1]).x > 0


def test_motion_that_leaves_the_plane_says_how_far_and_how_much() -> None:
    first, _, third = axes(3)
    plane = fit_plane(spiral())
    placed = plane.place(3 * first + 4 * third)
    assert placed.off_plane == pytest.approx(4.0)
    assert placed.share == pytest.approx(9 / 25)


def test_the_start_is_the_origin_and_misses_nothing() -> None:
    placed = fit_plane(spiral()).place(np.zeros(SKETCH_SIZE))
    assert (placed.x, placed.y, placed.off_plane, placed.share) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("points", [1, 2, 6])
def test_a_straight_motion_gets_a_whole_plane(points: int) -> None:
    (line,) = axes(1)
    plane = fit_plane([step * line for step in range(1, points + 1)])
    assert plane.directions @ plane.directions.T == pytest.approx(np.eye(2), abs=1e-9)
    assert plane.place(2.0 * line).x == pytest.approx(2.0)
    assert plane.place(2.0 * line).share == pytest.approx(1.0)


def test_a_nearly_straight_motion_is_seen_turning() -> None:
    line, turn = axes(2)
    plane = fit_plane([step * line for step in range(1, 6)] + [6 * line + 0.01 * turn])
    assert abs(plane.place(turn).y) == pytest.approx(1.0, abs=1e-3)


def test_equal_motions_have_equal_digests_and_others_do_not() -> None:
    assert fit_plane(spiral()).digest == fit_plane(spiral()).digest
    assert fit_plane(spiral()).digest != fit_plane(spiral(5)).digest


def test_the_first_points_are_held_back_and_then_given_out_in_order() -> None:
    path: Path[int] = Path(hold=3)
    points = spiral(5)
    given = [path.add(step, points[step - 1]) for step in range(1, 6)]
    assert [[step for step, _ in some] for some in given] == [[], [], [1, 2, 3], [4], [5]]
    placed = [point for some in given for _, point in some]
    plane = fit_plane(points[:3])
    assert placed == [plane.place(point) for point in points]
    assert {point.digest for point in placed} == {plane.digest}
    assert path.release() == []


def test_a_run_that_ends_early_gives_out_what_it_held() -> None:
    path: Path[str] = Path(hold=6)
    for name, point in zip("abc", spiral(3), strict=True):
        assert path.add(name, point) == []
    assert [name for name, _ in path.release()] == ["a", "b", "c"]
    assert isinstance(path.plane, Plane)


def test_a_sixth_of_the_points_decides_the_plane_but_nobody_waits_long() -> None:
    assert [held_points(planned) for planned in (1, 36, 60, 88, 10_000)] == [6, 6, 10, 14, 16]
