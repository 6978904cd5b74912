"""Measures the true loss at points of a plane in parameter space, and puts every number back as it was.

The model's trainable arrays are exchanged for others and exchanged back, dropout is off, no random number is drawn: a
run with a surface is bit-equal to one without. `tests/trainer/picture/test_surface.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from catalog.base import blas
from catalog.pictures import Frame, Probe
from trainer.evaluate import Exam, measure
from trainer.lesson import Lesson
from trainer.picture import plane
from trainer.picture.plane import Fit, Vector
from trainer.picture.snapshots import FEWEST, Gallery
from trainer.picture.survey import Survey, digest_of

blas.preload()

import mlx.core as mx  # noqa: E402


class Painter:
    """A survey and what it takes to go on with it."""

    def __init__(self, lesson: Lesson, survey: Survey, directions: list[mx.array]) -> None:
        self.survey = survey
        self._lesson = lesson
        self._directions = directions

    def measure_next(self, look: Callable[[], None] = lambda: None) -> None:
        """Measure at the survey's next spot. `look` may raise to give up; nothing has happened then."""
        spot = self.survey.next_spot
        if spot is not None:
            self.survey.take(self.loss_at(spot.x, spot.y, look))

    def loss_at(self, x: float, y: float, look: Callable[[], None] = lambda: None) -> float:
        """The loss on the probe batch at a point of the plane."""
        first, second = self._directions
        learner = self._lesson.learner
        with _standing_at(self._lesson, learner.start + x * first + y * second):
            return measure(learner.model, self._lesson.objective, self._lesson.probe, look).loss


@contextmanager
def _standing_at(lesson: Lesson, numbers: mx.array) -> Iterator[None]:
    learner = lesson.learner
    own = learner.tensors()
    learner.model.load_weights(list(learner.shaped(numbers).items()), strict=False)
    try:
        yield
    finally:
        learner.model.load_weights(list(own.items()), strict=False)


def plan(run_id: str, lesson: Lesson, snapshots: Path, grid: int, earlier: Frame | None = None) -> Painter | None:
    """The survey of the plane of the snapshots kept so far, turned towards an earlier one; None when they are a line
    or too few."""
    gallery = Gallery(snapshots)
    if len(gallery.marks) < FEWEST:
        return None
    fit = _fit(gallery, earlier)
    if fit is None:
        return None
    directions = gallery.combine(fit.weights_2N)
    digest = digest_of([np.array(direction).astype("<f4").tobytes() for direction in directions])
    survey = Survey(run_id, gallery.marks, fit, digest, probe_of(lesson.probe), grid)
    return Painter(lesson, survey, directions)


def _fit(gallery: Gallery, earlier: Frame | None) -> Fit | None:
    """The plane of the snapshots; of the very same ones, the very same plane."""
    if earlier is None:
        return plane.fit(gallery.gram())
    if earlier.steps == gallery.steps:
        return plane.placed(np.array(earlier.weights), gallery.gram())
    return plane.fit(gallery.gram(), _earlier_weights(earlier, gallery.steps))


def _earlier_weights(earlier: Frame, steps: list[int]) -> Vector | None:
    """An earlier frame's weights over the snapshots of now; None when one that it needs is gone."""
    if not set(earlier.steps) <= set(steps):
        return None
    weights = np.zeros((2, len(steps)))
    weights[:, [steps.index(step) for step in earlier.steps]] = earlier.weights
    return weights


def probe_of(exam: Exam) -> Probe:
    """Which rows the loss is measured on."""
    digest = hashlib.sha256()
    for batch in exam.batches:
        for array in (batch.inputs_BL, batch.positions_P, batch.targets_P):
            digest.update(np.array(array).astype("<i4").tobytes())
    tokens = sum(batch.supervised_tokens for batch in exam.batches)
    return Probe(rows=exam.examples, tokens=tokens, sha256=digest.hexdigest())
