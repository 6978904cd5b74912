"""The plane through the start that holds most of a path, found from inner products alone.

PCA of displacements from a fixed point, as the loss-landscape literature does it (Li et al. 2018, section 7.2, whose
fixed point is the end). Directions are sums of the displacements, so whatever numbers gave the inner products (1,024 of
a sketch, or all trainable ones) can be summed by the same weights. A frame that follows an earlier one is turned within
its plane towards it (Procrustes), so that a picture that is refitted neither flips nor spins. Pure.
`tests/trainer/picture/test_plane.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

STRAIGHT = 1e-3
"""Second singular value over the first below which a path is a line, up to the rounding of what was kept of it."""
GROWTH = 1.5
"""A plane is fitted again when its path has so many times more points."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A plane and where the path lies on it. `weights_2N` sum displacements to two orthonormal directions."""

    weights_2N: Vector
    places_N2: Vector
    off_plane_N: Vector
    share: float
    """Of the squared displacements, summed over the points."""


def fit(gram_NN: Vector, earlier_2N: Vector | None = None) -> Fit | None:
    """The plane of a path given its points' inner products; None when the path is a line, or went beyond all numbers.

    `earlier_2N` are an earlier frame's weights over the same points (0 for those that it did not have). Without them,
    the last point has positive x and the point farthest from the x axis positive y.
    """
    if not np.isfinite(gram_NN).all():
        return None
    sizes, vectors = np.linalg.eigh(gram_NN)
    first, second = sizes[-1], sizes[-2] if len(sizes) > 1 else 0.0
    if not second > STRAIGHT**2 * first:
        return None
    weights = np.stack([vectors[:, -1] / np.sqrt(first), vectors[:, -2] / np.sqrt(second)])
    turn = _signs(weights @ gram_NN) if earlier_2N is None else procrustes(earlier_2N @ gram_NN @ weights.T)
    return placed(turn @ weights, gram_NN)


def placed(weights_2N: Vector, gram_NN: Vector) -> Fit:
    """A path on the plane whose directions have these weights."""
    places = (weights_2N @ gram_NN).T
    within = np.sum(places**2, axis=1)
    whole = np.diag(gram_NN)
    off_plane = np.sqrt(np.maximum(whole - within, 0.0))
    return Fit(weights_2N, places, off_plane, float(np.sum(within) / np.sum(whole)))


def procrustes(inner_22: Vector) -> Vector:
    """The rotation (or reflection) of a new frame that brings it nearest to an earlier one.

    `inner_22[i, j]` is the inner product of the earlier direction i and the new direction j.
    """
    left, _, right = np.linalg.svd(inner_22)
    return np.asarray(left @ right)


def _signs(places_2N: Vector) -> Vector:
    x, y = places_2N
    return np.diag([_sign(x[-1]), _sign(y[np.argmax(np.abs(y))])])


def _sign(value: float) -> float:
    return -1.0 if value < 0 else 1.0


def milestones(first: int, growth: float = GROWTH) -> Iterator[int]:
    """Counts of points at which a plane is fitted: ever farther apart, so that all fits together cost little."""
    count = first
    while True:
        yield count
        count = max(count + 1, int(np.ceil(growth * count)))


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` indices, evenly spread, the last one among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist() if count else []
