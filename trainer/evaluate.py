"""Measures a model on rows it does not learn from, without leaving a trace in it.

All rows, dropout off, sums over counts, the loss of every row kept; the model's mode is restored, and neither
parameters nor random state are touched. `tests/trainer/test_evaluate.py` proves training bit-equal with and without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from catalog.base import blas
from catalog.base.lora import Adapter, remove_adapter
from trainer.batches import Batch, in_order_of_length, make_batch
from trainer.objective import Objective
from trainer.rows import TrainingRow
from trainer.world import ALONE, World

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx.utils import tree_unflatten  # noqa: E402
from mlx_lm.tuner.dora import DoRALinear  # noqa: E402
from mlx_lm.tuner.lora import LoRALinear  # noqa: E402

ROWS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Measurement:
    """Loss of each row: nats summed over what its objective counts (its supervised tokens), and how many those are."""

    nats: tuple[float, ...]
    counts: tuple[int, ...]
    margins: tuple[float, ...] = ()
    """For pairs, by how much each chosen answer is preferred."""

    @property
    def loss(self) -> float:
        """Nats per counted thing over all rows; NaN when there are none."""
        return math.fsum(self.nats) / sum(self.counts) if self.counts else math.nan

    @property
    def accuracy(self) -> float | None:
        """Share of pairs whose chosen answer is preferred; a tie counts half. None without pairs."""
        if not self.margins:
            return None
        return sum(1.0 if margin > 0 else 0.5 * (margin == 0) for margin in self.margins) / len(self.margins)

    @property
    def margin(self) -> float | None:
        """Mean preference for the chosen answers; None without pairs."""
        return math.fsum(self.margins) / len(self.margins) if self.margins else None


@dataclass(frozen=True, slots=True)
class Exam:
    """Fixed rows in fixed batches, so that two measurements differ only by the model."""

    batches: tuple[Batch, ...]
    places: tuple[tuple[int, ...], ...]
    """For each batch, which rows it holds."""
    examples: int


def exam(rows: Sequence[TrainingRow]) -> Exam:
    """Make the batches once for all measurements."""
    places = in_order_of_length(rows, ROWS_AT_ONCE)
    batches = tuple(make_batch([rows[index] for index in batch]) for batch in places)
    return Exam(batches, tuple(map(tuple, places)), len(rows))


def measure(
    model: nn.Module,
    objective: Objective,
    exam: Exam,
    between: Callable[[], None] = lambda: None,
    world: World = ALONE,
) -> Measurement:
    """Loss of every row of the exam, its batches shared among the ranks.

    `between` is called before each rank's next batch and may raise to give up.
    """
    nats, counts, margins = found = np.zeros((3, exam.examples))
    has_margins = False
    with not_training(model):
        for batch, places in shared(exam, between, world):
            grades = objective.grade(batch)
            nats[list(places)], counts[list(places)] = grades.nats, grades.counts
            if grades.margins is not None:
                margins[list(places)], has_margins = grades.margins, True
    nats, counts, margins = world.sum_floats(found).tolist()
    has_margins = bool(world.highest(has_margins))
    return Measurement(tuple(nats), tuple(map(int, counts)), tuple(margins) if has_margins else ())


def shared(exam: Exam, between: Callable[[], None], world: World) -> Iterator[tuple[Batch, tuple[int, ...]]]:
    """This rank's batches of an exam and the rows they hold; `between` is called equally often on every rank."""
    for first in range(0, len(exam.batches), world.size):
        between()
        if first + world.rank < len(exam.batches):
            yield exam.batches[first + world.rank], exam.places[first + world.rank]


@contextmanager
def wearing(model: nn.Module, adapter: Adapter) -> Iterator[None]:
    """The model (which wears no LoRA) with `adapter` on it, for the length of the block."""
    modules = dict(model.named_modules())
    layers = []
    for path, (a, b) in adapter.pairs.items():
        magnitude = adapter.magnitudes.get(path)
        kind = LoRALinear if magnitude is None else DoRALinear
        layer = kind.from_base(modules[path], r=adapter.rank, dropout=0.0, scale=1.0)
        layer.lora_a, layer.lora_b = mx.array(a), mx.array(b)
        if magnitude is not None:
            layer.m = mx.array(magnitude)
        layers.append((path, layer))
    model.update_modules(tree_unflatten(layers))
    try:
        yield
    finally:
        remove_adapter(model)


@contextmanager
def not_training(model: nn.Module) -> Iterator[None]:
    """Dropout off for the length of the block; the mode is given back."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
