"""What a run learns: from a batch, a sum of losses and the count that this sum is divided by.

An objective sees the batch's token losses (`trainer.loss`) and nothing of the optimizer, the order of rows or files.
Sums and counts of micro-batches add up, so how rows are cut into them changes nothing.
`tests/trainer/test_objective.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from catalog.base import blas
from trainer.batches import Batch
from trainer.loss import Scorer

blas.preload()

import mlx.core as mx  # noqa: E402

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grades:
    """What each row of a batch costs: nats, and what they are counted by (tokens, or one for a pair)."""

    nats: Vector
    counts: Vector
    margins: Vector | None = None
    """For pairs, by how much the chosen answer is preferred."""


class Objective(Protocol):
    """How a batch is judged."""

    @property
    def needs_reference(self) -> bool:
        """Whether pairs must know what the model held of them before learning (`trainer.preference`)."""

    @property
    def in_words(self) -> str:
        """The loss's name, as a person reads it: what is compared when two models are."""

    def loss_sum(self, batch: Batch) -> mx.array:
        """Sum of nats over what `count` counts; differentiable."""

    def count(self, batch: Batch) -> int:
        """What the sum is divided by, together with those of other micro-batches."""

    def grade(self, batch: Batch) -> Grades:
        """The same losses, row by row."""


@dataclass(frozen=True, slots=True)
class Imitation:
    """Cross-entropy of every supervised token: say what the data say."""

    scorer: Scorer
    needs_reference = False

    @property
    def in_words(self) -> str:
        return "loss in nats per token"

    def loss_sum(self, batch: Batch) -> mx.array:
        return self.scorer.loss_sum(batch)

    def count(self, batch: Batch) -> int:
        return batch.supervised_tokens

    def grade(self, batch: Batch) -> Grades:
        losses = np.array(self.scorer.token_losses(batch), np.float64)[: batch.supervised_tokens]
        return Grades(_by_answer(batch, losses), _by_answer(batch, np.ones_like(losses)))


def _by_answer(batch: Batch, values_P: Vector) -> Vector:
    return np.bincount(batch.answer_of_P, values_P, batch.answers).astype(np.float64)
