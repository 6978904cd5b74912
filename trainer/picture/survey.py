"""What is measured of a surface, and in which order: coarse first, so that there is always a whole picture.

A grid of 21 x 21 points is measured as 5 x 5 of them, then the path's own points, then 9 x 9, then all. The order is a
function of the grid and the path alone, so that the count of what is measured says where to go on. Pure.
`tests/trainer/picture/test_survey.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.pictures import Frame, PathPlane, Probe, Surface, SurfacePoint
from trainer.exporter import Picture
from trainer.picture.marks import Mark, known
from trainer.picture.plane import Fit

LEVELS = (5, 9)
MARGIN = 0.15
"""Beyond the path on each side, as a share of its extent: the grid spans the path and 30 % more."""
NARROWEST = 0.1
"""The least extent of an axis, as a share of the other's."""
NOTE = (
    "PCA, through the start, of {count} snapshots of all {numbers:,} trainable numbers, turned towards the frame "
    "before. A pure random walk also shows a high share on such a plane."
)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where to measure: a grid point, or the shadow of a path point (`row` None)."""

    x: float
    y: float
    row: int | None
    column: int


class Survey:
    """A plane with a path on it, a grid around it, and what was measured there so far."""

    def __init__(self, run_id: str, marks: list[Mark], fit: Fit, digest: str, probe: Probe, grid: int) -> None:
        self.run_id = run_id
        self.marks = marks
        self.fit = fit
        self.digest = digest
        self.probe = probe
        self.grid = grid
        self.xs, self.ys = axes(fit.places_N2, grid)
        self.losses = np.full((grid, grid), np.nan)
        self.shadows = np.full(len(marks), np.nan)
        self.measured = 0
        self._spots = list(spots(self.xs, self.ys, fit.places_N2))

    @property
    def next_spot(self) -> Spot | None:
        """Where to measure next; None when all is measured."""
        return self._spots[self.measured] if self.measured < len(self._spots) else None

    @property
    def has_first_level(self) -> bool:
        """Whether the coarsest grid is measured."""
        return self.measured >= min(self.grid, LEVELS[0]) ** 2

    @property
    def levels_done(self) -> int:
        """How many of the nested grids are whole."""
        counts = [side**2 + (len(self.marks) if place else 0) for place, side in enumerate(levels(self.grid))]
        whole = sum(self.measured >= count for count in counts)
        return whole if self.measured < len(self._spots) else len(counts)

    def take(self, loss: float) -> None:
        """The loss at the next spot."""
        spot = self._spots[self.measured]
        if spot.row is None:
            self.shadows[spot.column] = loss
        else:
            self.losses[spot.row, spot.column] = loss
        self.measured += 1

    def go_on_from(self, earlier: Surface) -> bool:
        """Take over what an earlier life measured, if it was of the same plane, grid and probe."""
        if (earlier.digest, earlier.grid, earlier.probe) != (self.digest, self.grid, self.probe):
            return False
        self.losses = np.array(earlier.loss, np.float64).reshape(self.grid, self.grid)
        self.shadows = np.array([point.plane_loss for point in earlier.points], np.float64)
        self.measured = earlier.measured
        return True

    def surface(self, updated: str) -> Surface:
        """What the API answers."""
        places, off_plane = self.fit.places_N2.tolist(), self.fit.off_plane_N.tolist()
        return Surface(
            run_id=self.run_id,
            digest=self.digest,
            kind="snapshot_pca",
            grid=self.grid,
            measured=self.measured,
            total=len(self._spots),
            xs=self.xs.tolist(),
            ys=self.ys.tolist(),
            loss=[[known(loss) for loss in row] for row in self.losses.tolist()],
            probe=self.probe,
            points=[
                SurfacePoint(
                    step=mark.step, x=x, y=y, off_plane=off, loss=known(mark.probe_loss), plane_loss=known(shadow)
                )
                for mark, (x, y), off, shadow in zip(self.marks, places, off_plane, self.shadows.tolist(), strict=True)
            ],
            share=self.fit.share,
            frame=Frame(steps=[mark.step for mark in self.marks], weights=self.fit.weights_2N.tolist()),
            updated=updated,
        )

    def path(self, numbers: int) -> PathPlane:
        """The path on this plane; `numbers` are the trainable ones."""
        places = zip(self.marks, self.fit.places_N2.tolist(), self.fit.off_plane_N.tolist(), strict=True)
        return PathPlane(
            kind="snapshot_pca",
            digest=self.digest,
            share=self.fit.share,
            note=NOTE.format(count=len(self.marks), numbers=numbers),
            points=[mark.at(x, y, off) for mark, (x, y), off in places],
        )

    def picture(self) -> Picture:
        """What /metrics shows."""
        rows, columns = np.nonzero(np.isfinite(self.losses))
        places = zip(self.marks, self.fit.places_N2.tolist(), strict=True)
        return Picture(
            self.run_id,
            grid=tuple(
                (float(self.xs[column]), float(self.ys[row]), float(self.losses[row, column]))
                for row, column in zip(rows, columns, strict=True)
            ),
            path=tuple((mark.step, x, y, mark.probe_loss) for mark, (x, y) in places if known(mark.probe_loss)),
            share=self.fit.share,
            off_plane=float(self.fit.off_plane_N[-1]),
        )

    def in_words(self) -> str:
        """What is measured, for people."""
        gap = np.nanmean(np.abs(self.shadows - [mark.probe_loss for mark in self.marks])) if self._has_gap() else None
        beside = "" if gap is None else f"; the plane's loss misses the path's own by {gap:.3g} nats on average"
        side = [0, *levels(self.grid)][self.levels_done]
        return (
            f"Measured the loss at {side} x {side} points of the plane of {len(self.marks)} snapshots, which holds "
            f"{self.fit.share:.0%} of the squared displacement{beside}."
        )

    def _has_gap(self) -> bool:
        return bool(np.isfinite(self.shadows - [mark.probe_loss for mark in self.marks]).any())


def axes(places_N2: NDArray[np.float64], grid: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Evenly spaced coordinates that span the start, the path and the margin."""
    low, high = np.minimum(places_N2.min(axis=0), 0.0), np.maximum(places_N2.max(axis=0), 0.0)
    extents = high - low
    wanted = np.maximum(extents, NARROWEST * extents.max()) * (1 + 2 * MARGIN)
    middle = (low + high) / 2
    x, y = (np.linspace(m - w / 2, m + w / 2, grid) for m, w in zip(middle, wanted, strict=True))
    return x, y


def levels(grid: int) -> list[int]:
    """Points along an axis of the nested grids, coarsest first."""
    return [*(side for side in LEVELS if side < grid), grid]


def spots(xs: NDArray[np.float64], ys: NDArray[np.float64], places_N2: NDArray[np.float64]) -> Iterator[Spot]:
    """Everything to measure, once, coarsest grid first, the path after it."""
    seen: set[tuple[int, int]] = set()
    for level, side in enumerate(levels(len(xs))):
        indices = np.unique(np.linspace(0, len(xs) - 1, side).round().astype(int)).tolist()
        for row in indices:
            for column in indices:
                if (row, column) not in seen:
                    seen.add((row, column))
                    yield Spot(float(xs[column]), float(ys[row]), row, column)
        if level == 0:
            yield from (Spot(x, y, None, index) for index, (x, y) in enumerate(places_N2.tolist()))


def digest_of(directions: list[bytes]) -> str:
    """Identifies a plane in parameter space by the bytes of its two directions."""
    return hashlib.sha256(b"parameters" + b"".join(directions)).hexdigest()
