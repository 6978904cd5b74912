"""The picture of a run while it goes: told of every telemetry point, given a bounded share of the time between steps.

At a telemetry point a sketch and now and then a snapshot are kept. Between steps, while the surface has taken less than
its share of the run's time, one more of its points is measured; the plane is fitted again whenever there are twice as
many snapshots, and what was measured before stays shown until the new one has its coarsest grid. What the disk
refuses is told, and the run goes on without it. `tests/trainer/picture/test_surface.py`; `tests/trainer/test_resume.py`
proves that a run is bit-equal with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalog import files, pictures
from catalog.base import blas
from catalog.pictures import Surface
from trainer.evaluate import measure
from trainer.exporter import Picture, RunSnapshot
from trainer.lesson import Lesson
from trainer.picture import painter, plane, snapshots
from trainer.picture.marks import Mark
from trainer.picture.painter import Painter
from trainer.picture.plane import Vector
from trainer.picture.sketched import SketchedPath
from trainer.projection import SKETCH_SIZE
from trainer.telemetry import Reporter

blas.preload()

import mlx.core as mx  # noqa: E402

SNAPSHOTS_FOLDER = "snapshots"
FIRST_PLANE = 4
"""Snapshots of which the first plane is made."""
GROWTH = 2.0
"""The plane is fitted again when there are so many times more of them: each costs the coarsest grid at least."""
SHOWN_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Easel:
    """Where a picture is put: its folder, /metrics, and the time it is told with."""

    folder: Path
    draw: Callable[[Picture], None]
    clock: Callable[[], float]
    stamp: Callable[[], str]

    def show(self, painting: Painter, numbers: int) -> None:
        """Put up what is measured so far."""
        survey = painting.survey
        pictures.write_plane(self.folder, survey.path(numbers))
        pictures.write_surface(self.folder, survey.surface(self.stamp()))
        self.draw(survey.picture())


class LivePicture:
    """One run's picture, for one life of the run."""

    def __init__(self, lesson: Lesson, reporter: Reporter, easel: Easel, look: Callable[[], None]) -> None:
        self._lesson = lesson
        self._reporter = reporter
        self._easel = easel
        self._look = look
        self._path = SketchedPath(easel.folder, easel.clock, self._tell_refit)
        self._snapshots = easel.folder / SNAPSHOTS_FOLDER
        self._numbers = lesson.learner.start.size
        points = math.ceil(lesson.steps / lesson.plan.telemetry_interval_steps)
        self._spacing = snapshots.spacing(points, self._numbers, lesson.plan.snapshot_bytes)
        self._kept = 0
        self._planes: Iterator[int] = plane.milestones(FIRST_PLANE, GROWTH)
        self._next_plane = next(self._planes)
        self._painting: Painter | None = None
        self._shown: Surface | None = None
        self._began_s = easel.clock()
        self._spent_s = 0.0
        self._last_s = 0.0
        self._shown_s = self._began_s

    def open(self, through_step: int) -> None:
        """Take up what an earlier life kept until a step; a run that begins again draws its start again too."""
        kept_through = through_step or -1
        with self._disk_may_refuse():
            self._path.open(kept_through)
            snapshots.forget_after(self._snapshots, kept_through)
            self._kept = len(list(self._snapshots.glob("step_*")))
            self._shown = pictures.read_surface(self._easel.folder)
        if through_step == 0:
            self._begin()

    def _begin(self) -> None:
        """The start, where nothing was learned, is a point of the path like any other."""
        learner = self._lesson.learner
        probe = measure(learner.model, self._lesson.objective, self._lesson.probe, self._look)
        start = RunSnapshot(self._reporter.run_id, self._lesson.base.base, probe_loss=probe.loss)
        self.observed(start, mx.zeros_like(learner.start), np.zeros(SKETCH_SIZE))

    def observed(self, reading: RunSnapshot, displacement: mx.array, sketch: Vector) -> None:
        """A telemetry point."""
        mark = Mark.of(reading)
        with self._disk_may_refuse():
            self._path.add(mark, sketch)
        if self._is_kept(reading.step):
            with self._disk_may_refuse():
                snapshots.write(self._snapshots, mark, displacement)
                self._kept += 1

    def between_steps(self) -> None:
        """Go on with the surface while it has taken less than its share of the time. `look` may raise."""
        share = self._lesson.plan.surface_share
        while self._has_work() and self._spent_s + self._last_s <= share * (self._easel.clock() - self._began_s):
            began_s = self._easel.clock()
            with self._disk_may_refuse():
                self._go_on()
            self._last_s = self._easel.clock() - began_s
            self._spent_s += self._last_s

    def end(self) -> None:
        """The run has no more steps: its final plane is that of all snapshots, and its surface is left to be finished
        when no run waits."""
        with self._disk_may_refuse():
            self._path.finish()
            painting = self._new_painting()
            if painting is None:
                return
            pictures.write_plane(self._easel.folder, painting.survey.path(self._numbers))
            if self._wants_surface:
                files.write_bytes(self._easel.folder / pictures.UNFINISHED, painting.survey.probe.sha256.encode())

    @property
    def _wants_surface(self) -> bool:
        return self._lesson.plan.surface_grid > 0 and self._lesson.probe.examples > 0

    def _has_work(self) -> bool:
        if not self._wants_surface:
            return False
        return self._is_plane_due or (self._painting is not None and self._painting.survey.next_spot is not None)

    @property
    def _is_plane_due(self) -> bool:
        """Whether there are twice as many snapshots; what is being measured is shown once before it is left."""
        shown = self._painting is None or self._painting.survey.has_first_level
        return shown and self._kept >= self._next_plane

    def _go_on(self) -> None:
        """Fit a plane that is due, or measure one point."""
        if self._is_plane_due:
            while self._kept >= self._next_plane:
                self._next_plane = next(self._planes)
            self._painting = self._new_painting() or self._painting
        elif self._painting is not None:
            self._measure(self._painting)

    def _new_painting(self) -> Painter | None:
        shown = self._shown if self._painting is None else self._painting.survey.surface("")
        earlier = None if shown is None else shown.frame
        run_id = self._reporter.run_id
        return painter.plan(run_id, self._lesson, self._snapshots, self._lesson.plan.surface_grid, earlier)

    def _measure(self, painting: Painter) -> None:
        levels = painting.survey.levels_done
        painting.measure_next(self._look)
        is_level_done = painting.survey.levels_done > levels
        is_due = painting.survey.has_first_level and self._easel.clock() - self._shown_s >= SHOWN_EVERY_S
        if is_level_done or is_due:
            self._shown_s = self._easel.clock()
            self._easel.show(painting, self._numbers)
        if is_level_done:
            self._tell("surface_measured", painting.survey.in_words())

    def _is_kept(self, step: int) -> bool:
        if self._spacing is None:
            return False
        return step % (self._spacing * self._lesson.plan.telemetry_interval_steps) == 0 or step == self._lesson.steps

    def _tell_refit(self, words: str) -> None:
        self._tell("plane_refit", words)

    def _tell(self, status: str, words: str) -> None:
        self._reporter.tell("state", status=status, step=self._reporter.snapshot.step, message=words)

    @contextmanager
    def _disk_may_refuse(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._reporter.warn(f"The run's picture is not complete: {error.strerror or error}. The run goes on.")
