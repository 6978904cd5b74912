"""A plane found from inner products is the plane of the numbers themselves, and it neither flips nor spins."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from trainer.picture import plane
from trainer.picture.plane import Vector
from trainer.projection import sketch

NUMBERS = 20_000


def path(points: int = 40, seed: int = 0) -> Vector:
    """Displacements as a run has them: a few long directions that bend, and noise in all."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.standard_normal((NUMBERS, 4)))[0].T
    times = np.linspace(0, 1, points + 1)[1:]
    bends = np.stack([times, times**2, np.sin(3 * times) / 3, times**3 / 4], axis=1) * [8, 5, 3, 1]
    return bends @ axes + 0.002 * np.cumsum(random.standard_normal((points, NUMBERS)), axis=0) / np.sqrt(points)


def gram(points: Vector) -> Vector:
    return points @ points.T


def test_the_directions_are_orthonormal_sums_of_the_displacements() -> None:
    points = path()
    found = plane.fit(gram(points))
    assert found is not None
    directions = found.weights_2N @ points
    assert directions @ directions.T == pytest.approx(np.eye(2), abs=1e-9)
    assert points @ directions.T == pytest.approx(found.places_N2)
    off_plane = np.linalg.norm(points - found.places_N2 @ directions, axis=1)
    assert off_plane == pytest.approx(found.off_plane_N, abs=1e-6)
    assert found.share == pytest.approx(np.sum(found.places_N2**2) / np.sum(points**2))
    assert found.places_N2[-1, 0] > 0


def test_no_plane_through_the_start_holds_more() -> None:
    points = path()
    found = plane.fit(gram(points))
    assert found is not None
    singular = np.linalg.svd(points, compute_uv=False)
    assert found.share == pytest.approx(np.sum(singular[:2] ** 2) / np.sum(singular**2))


@pytest.mark.parametrize("seed", range(3))
def test_the_plane_of_the_sketches_is_the_true_one_within_a_twentieth(seed: int) -> None:
    points = path(seed=seed)
    sketches = np.stack([sketch(mx.array(point.astype(np.float32))) for point in points])
    true, sketched = plane.fit(gram(points)), plane.fit(gram(sketches))
    assert true is not None and sketched is not None
    turned = sketched.places_N2 @ plane.procrustes(true.places_N2.T @ sketched.places_N2).T
    missed = np.linalg.norm(turned - true.places_N2) / np.linalg.norm(true.places_N2)
    assert missed < 0.05
    assert sketched.share == pytest.approx(true.share, abs=0.05)


def test_a_frame_follows_the_one_before() -> None:
    points = path()
    before = plane.fit(gram(points[:20]))
    assert before is not None
    for flip in np.diag([1, -1]), np.diag([-1, 1]), np.array([[0, -1], [1, 0]]):
        earlier = np.zeros((2, 40))
        earlier[:, :20] = flip @ before.weights_2N
        after = plane.fit(gram(points), earlier)
        free = plane.fit(gram(points))
        assert after is not None and free is not None
        overlap = (earlier @ points) @ (after.weights_2N @ points).T
        assert np.trace(overlap) == pytest.approx(np.linalg.svd(overlap, compute_uv=False).sum())
        assert np.all(np.diag(overlap) > 0.5)
        assert after.share == pytest.approx(free.share)


def test_refitted_again_and_again_a_point_does_not_jump_across() -> None:
    points = path(60)
    frame, places = None, []
    for count in range(20, 61, 4):
        earlier = None
        if frame is not None:
            earlier = np.zeros((2, count))
            earlier[:, : frame.weights_2N.shape[1]] = frame.weights_2N
        frame = plane.fit(gram(points[:count]), earlier)
        assert frame is not None
        places.append(frame.places_N2[19])
    jumps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert np.all(jumps < 0.3 * np.linalg.norm(points[19]))


def test_a_line_has_no_plane() -> None:
    (line,) = path(1)
    points = np.outer([1.0, 2.0, 3.0], line)
    assert plane.fit(gram(points)) is None
    assert plane.fit(gram(points[:1])) is None
    assert plane.fit(np.zeros((3, 3))) is None


def test_fits_come_ever_farther_apart() -> None:
    counts = plane.milestones(4)
    assert [next(counts) for _ in range(8)] == [4, 6, 9, 14, 21, 32, 48, 72]


def test_thinning_keeps_the_last() -> None:
    assert plane.evenly(0, 5) == []
    assert plane.evenly(3, 5) == [0, 1, 2]
    thinned = plane.evenly(1000, 5)
    assert len(thinned) == 5
    assert (thinned[0], thinned[-1]) == (0, 999)
