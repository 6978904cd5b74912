"""Learning from pairs of answers: DPO against the model from which learning began, ORPO without a reference.

DPO (Rafailov et al., Direct Preference Optimization, 2023, eq. 7): of a pair with chosen answer w and rejected l,
    -log sigmoid(beta * ((log p(w) - log r(w)) - (log p(l) - log r(l)))),
where p is the model with its adapter and r the same model without it, so that no second one is in memory. What is in
the brackets, times beta, is the margin of the implicit reward.
ORPO (Hong et al., Monolithic Preference Optimization without Reference Model, 2024, eq. 6-7): with m(y) the mean
log-probability of an answer's tokens and odds(y) = e^m(y) / (1 - e^m(y)),
    -m(w) - lambda * log sigmoid(log odds(w) - log odds(l)); the margin is the difference of log odds.
Both are sums over pairs, to be divided by pairs. `tests/trainer/test_preference.py` computes them again with numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from catalog.base import blas
from catalog.base.lora import without_adapter
from catalog.base.rows import Pair, TrainingRow
from trainer.batches import Batch
from trainer.evaluate import exam, not_training, shared
from trainer.loss import Scorer
from trainer.objective import Grades
from trainer.world import ALONE, World

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402

MOST_CERTAIN = -1e-6
"""Mean log-probability beyond which odds no longer grow; at 0 they would be infinite."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """Loss and margin of each pair [N]."""

    losses: mx.array
    margins: mx.array

    @property
    def grades(self) -> Grades:
        losses = np.array(self.losses, np.float64)
        return Grades(losses, np.ones_like(losses), np.array(self.margins, np.float64))


class _OfPairs:
    """A loss of which each pair has its own part."""

    __slots__ = ()

    def loss_sum(self, batch: Batch) -> mx.array:
        return self._judge(batch).losses.sum()

    def count(self, batch: Batch) -> int:
        return batch.rows

    def grade(self, batch: Batch) -> Grades:
        return self._judge(batch).grades

    def _judge(self, batch: Batch) -> _Judged:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class DirectPreference(_OfPairs):
    """DPO. `beta` in 1/nats: how dearly the model pays for leaving the reference."""

    scorer: Scorer
    beta: float
    needs_reference = True

    @property
    def in_words(self) -> str:
        return f"DPO loss (beta {self.beta:g}, against the base without adapter)"

    def _judge(self, batch: Batch) -> _Judged:
        nats_N2 = answer_nats(self.scorer, batch).reshape(-1, 2)
        margins = self.beta * (nats_N2[:, 1] - nats_N2[:, 0] - batch.references_N)
        return _Judged(_minus_log_sigmoid(margins), margins)


@dataclass(frozen=True, slots=True)
class OddsRatio(_OfPairs):
    """ORPO. `weight` is the paper's lambda: nats of preference that count as much as one of imitation."""

    scorer: Scorer
    weight: float
    needs_reference = False

    @property
    def in_words(self) -> str:
        return f"ORPO loss (lambda {self.weight:g})"

    def _judge(self, batch: Batch) -> _Judged:
        tokens_A = mx.zeros(batch.answers).at[_answer_of(batch)].add(batch.weights_P)
        means_N2 = (-answer_nats(self.scorer, batch) / tokens_A).reshape(-1, 2)
        certain_N2 = mx.minimum(means_N2, MOST_CERTAIN)
        log_odds_N2 = certain_N2 - mx.log(-mx.expm1(certain_N2))
        margins = log_odds_N2[:, 0] - log_odds_N2[:, 1]
        return _Judged(self.weight * _minus_log_sigmoid(margins) - means_N2[:, 0], margins)


def answer_nats(scorer: Scorer, batch: Batch) -> mx.array:
    """Nats of each answer [A], the sum of its tokens'; of a pair the chosen one comes first."""
    losses_P = scorer.token_losses(batch) * batch.weights_P
    return mx.zeros(batch.answers).at[_answer_of(batch)].add(losses_P)


def with_reference(
    model: nn.Module,
    scorer: Scorer,
    rows: Sequence[TrainingRow],
    between: Callable[[], None] = lambda: None,
    world: World = ALONE,
) -> tuple[TrainingRow, ...]:
    """The pairs with what the model without its adapter holds of them, measured once, in batches that depend on the
    rows alone and are shared among the ranks. `between` is called before each and may raise to give up."""
    references = np.zeros(len(rows))
    with not_training(model), without_adapter(model):
        for batch, places in shared(exam(rows), between, world):
            nats_N2 = np.array(answer_nats(scorer, batch)).reshape(-1, 2)
            references[list(places)] = nats_N2[:, 1] - nats_N2[:, 0]
    return tuple(_with(row, held) for row, held in zip(rows, world.sum_floats(references).tolist(), strict=True))


def _with(row: TrainingRow, reference: float) -> Pair:
    assert isinstance(row, Pair)
    return replace(row, reference=reference)


def _answer_of(batch: Batch) -> mx.array:
    """For each position its answer; padded ones, whose weight is 0, point at the first."""
    padding = batch.weights_P.size - len(batch.answer_of_P)
    return mx.array(np.concatenate([batch.answer_of_P, np.zeros(padding, np.int64)]))


def _minus_log_sigmoid(margins: mx.array) -> mx.array:
    return mx.logaddexp(mx.zeros_like(margins), -margins)
