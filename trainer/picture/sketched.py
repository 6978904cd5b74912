"""The path on the plane of its own sketches, fitted again as the run goes: what a person watches.

Fitted whenever there are half as many more points, each time turned towards the frame before, and each time told. All
points are then placed anew, which a database of metrics could not do. The file is written again when that costs at most
a hundredth of the time. `tests/trainer/picture/test_plane.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalog import pictures
from catalog.pictures import PathPlane
from trainer.picture import plane
from trainer.picture.marks import Mark
from trainer.picture.plane import Vector
from trainer.picture.sketchbook import Sketchbook
from trainer.projection import SKETCH_SEED, SKETCH_SIZE

MOST_FITTED = 256
MOST_DRAWN = 1000
"""Points of a longer path are thinned evenly."""
COST_SHARE = 0.01
FEWEST_FITTED = 3
NOTE = (
    "PCA, through the start, of a sketch of 1,024 numbers at {count} points, fitted again as the run goes and turned "
    "towards the frame before. A pure random walk also shows a high share on such a plane."
)


@dataclass(frozen=True, slots=True)
class Frame:
    """Two orthonormal directions in sketch space, and how many points they were fitted to."""

    directions: Vector
    count: int
    digest: str


class SketchedPath:
    """The sketches of a run and the latest plane of them. `tell` is given each refit in words."""

    def __init__(self, folder: Path, clock: Callable[[], float], tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._clock = clock
        self._tell = tell
        self._book = Sketchbook(folder / "sketches.f32")
        self._frame: Frame | None = None
        self._milestones: Iterator[int] = plane.milestones(FEWEST_FITTED)
        self._next_fit = next(self._milestones)
        self._write_after_s = clock()

    def open(self, through_step: int) -> None:
        """Take up an earlier life: its points, and its frames one after the other, so that this one follows them."""
        self._book.open(through_step)
        while self._next_fit <= len(self._book.marks):
            self._fit(self._next_fit)
            self._next_fit = next(self._milestones)

    def add(self, mark: Mark, sketch: Vector) -> None:
        """One more point. Raises OSError when the disk refuses it; it is drawn nevertheless."""
        try:
            self._book.add(mark, sketch)
        finally:
            count = len(self._book.marks)
            if count >= self._next_fit:
                self._refit(count)
                self._next_fit = next(self._milestones)
        self._write_if_cheap()

    def finish(self) -> None:
        """Fit to all points and write. Raises OSError."""
        count = len(self._book.marks)
        if self._frame is None or self._frame.count < count:
            self._refit(count)
        self._write()

    def _refit(self, count: int) -> None:
        if self._fit(count) and self._frame is not None:
            share = pictures.share_of(self._drawn(self._frame).points)
            self._tell(
                f"The plane of the sketched path is fitted to its {count} points ({self._frame.digest[:12]}); it holds "
                f"{share:.0%} of their squared displacement."
            )

    def _fit(self, count: int) -> bool:
        """Fit to the first `count` points; False where there is none, or they are a line."""
        if not count:
            return False
        points = self._book.points(plane.evenly(count, MOST_FITTED))
        found = plane.fit(points @ points.T)
        if found is None:
            return False
        directions = found.weights_2N @ points
        if self._frame is not None:
            directions = plane.procrustes(self._frame.directions @ directions.T) @ directions
        self._frame = Frame(directions, count, _digest(directions))
        return True

    def _write_if_cheap(self) -> None:
        if self._frame is None or self._clock() < self._write_after_s:
            return
        began_s = self._clock()
        self._write()
        ended_s = self._clock()
        self._write_after_s = ended_s + (ended_s - began_s) / COST_SHARE

    def _write(self) -> None:
        if self._frame is not None:
            pictures.write_plane(self._folder, self._drawn(self._frame))

    def _drawn(self, frame: Frame) -> PathPlane:
        shown = plane.evenly(len(self._book.marks), MOST_DRAWN)
        points = self._book.points(shown)
        places = points @ frame.directions.T
        off_plane = np.linalg.norm(points - places @ frame.directions, axis=1)
        drawn = [
            self._book.marks[index].at(x, y, off)
            for index, (x, y), off in zip(shown, places.tolist(), off_plane.tolist(), strict=True)
        ]
        note = NOTE.format(count=frame.count)
        return PathPlane(
            kind="sketch_pca", digest=frame.digest, share=pictures.share_of(drawn), note=note, points=drawn
        )


def _digest(directions: Vector) -> str:
    return hashlib.sha256(f"{SKETCH_SEED} {SKETCH_SIZE} ".encode() + directions.astype("<f4").tobytes()).hexdigest()
