"""Which rows meet in which step, and in what shape: pure functions of (seed, epoch, step).

Rows of like length share a micro-batch, so that little is padding (the reference's length sort is a no-op and pads
away half of its work on chat data: mlx-lm issue 596). Packing rows into long ones was measured beside it and lost, 1.60
of the reference's pace against 2.0: attention over a packed row of 640 tokens costs its square. Nothing here depends on
what happened before, so a resumed run can equal one that was never stopped. `tests/trainer/test_batches.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from catalog.base import blas
from trainer.rows import TrainingRow

blas.preload()

import mlx.core as mx  # noqa: E402

PARTS_APART = 0x9E3779B97F4A7C15
POSITIONS_MULTIPLE = 16
"""Counts of supervised positions are padded to it, so that buffers and kernels are reused; padding weighs nothing."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded on the right, P supervised positions padded with weight 0; `answer_of[p]` is whose position p is.

    A conversation's row is one answer, however many turns are learned in it; a pair is two, the chosen one first.
    """

    inputs_BL: mx.array
    positions_P: mx.array
    """Index into the flattened [B * L] of the token *before* each supervised one."""
    targets_P: mx.array
    weights_P: mx.array
    answer_of_P: np.ndarray
    answers: int
    references_N: mx.array
    """For each row what `Pair.reference` says; 0 for a conversation's."""
    rows: int
    tokens: int
    """Real tokens, without padding."""
    supervised_tokens: int


@dataclass(frozen=True, slots=True)
class Part:
    """What is computed at once of a step, and its number in the step."""

    number: int
    batch: Batch


def make_batch(rows: Sequence[TrainingRow]) -> Batch:
    """Pad sequences to the longest of them and point at what is supervised."""
    answers = [answer for row in rows for answer in row.answers]
    sequences = [(number, sequence) for number, answer in enumerate(answers) for sequence in answer]
    length = max(row.length for row in rows) - 1
    inputs = np.zeros((len(sequences), length), np.int32)
    positions: list[int] = []
    targets: list[int] = []
    answer_of: list[int] = []
    for index, (number, sequence) in enumerate(sequences):
        inputs[index, : sequence.length - 1] = sequence.tokens[:-1]
        for place in range(1, sequence.length):
            if sequence.supervised[place]:
                positions.append(index * length + place - 1)
                targets.append(sequence.tokens[place])
                answer_of.append(number)
    count = len(positions)
    padding = -count % POSITIONS_MULTIPLE
    return Batch(
        inputs_BL=mx.array(inputs),
        positions_P=mx.array(positions + [0] * padding),
        targets_P=mx.array(targets + [0] * padding),
        weights_P=mx.array([1.0] * count + [0.0] * padding),
        answer_of_P=np.array(answer_of),
        answers=len(answers),
        references_N=mx.array([row.reference for row in rows]),
        rows=len(rows),
        tokens=sum(row.token_count for row in rows),
        supervised_tokens=count,
    )


def in_order_of_length(rows: Sequence[TrainingRow], batch_size: int) -> list[list[int]]:
    """Indices of all rows once, in batches of like length; for measuring."""
    ranked = sorted(range(len(rows)), key=lambda index: (rows[index].length, index))
    return [ranked[start : start + batch_size] for start in range(0, len(ranked), batch_size)]


def steps_per_epoch(rows: int, batch_size: int, accumulation: int) -> int:
    """Optimizer steps that visit every row once."""
    return math.ceil(math.ceil(rows / batch_size) / accumulation)


def epoch_order(
    lengths: Sequence[int], *, seed: int, epoch: int, batch_size: int, accumulation: int
) -> list[list[list[int]]]:
    """For each step of the epoch its micro-batches, as row indices; every row exactly once.

    Rows are shuffled, sorted by length (equal lengths stay shuffled), cut into micro-batches, and those are shuffled
    and spread evenly over the steps, so that no step learns from a mere remainder.
    """
    random = np.random.default_rng((seed, epoch))
    shuffled = random.permutation(len(lengths))
    by_length = shuffled[np.argsort(np.asarray(lengths)[shuffled], kind="stable")]
    micro_batches = [by_length[start : start + batch_size].tolist() for start in range(0, len(lengths), batch_size)]
    order = random.permutation(len(micro_batches))
    steps = np.array_split(order, steps_per_epoch(len(lengths), batch_size, accumulation))
    return [[micro_batches[index] for index in step] for step in steps]


@dataclass(frozen=True, slots=True)
class StepRows:
    """What one optimizer step (counted from 1 over the whole run) learns from."""

    step: int
    epoch: int
    micro_batches: list[list[int]]


def course(
    lengths: Sequence[int], *, seed: int, epochs: int, batch_size: int, accumulation: int, after_step: int = 0
) -> Iterator[StepRows]:
    """Every step after `after_step`, in order; earlier ones need not be replayed."""
    each = steps_per_epoch(len(lengths), batch_size, accumulation)
    for epoch in range(after_step // each, epochs):
        order = epoch_order(lengths, seed=seed, epoch=epoch, batch_size=batch_size, accumulation=accumulation)
        for offset, micro_batches in enumerate(order):
            step = epoch * each + offset + 1
            if step > after_step:
                yield StepRows(step, epoch, micro_batches)


def cut(indices: Sequence[int], pieces: int) -> list[list[int]]:
    """Rows of a micro-batch in at most so many pieces of about as many rows, in their order and so of like length."""
    if not indices:
        return []
    return [piece.tolist() for piece in np.array_split(np.asarray(indices), min(pieces, len(indices)))]


def part_seed(seed: int, step: int, part: int = 0) -> int:
    """Seed of the random state in which a part of a step computes its dropout."""
    return (((seed << 32) | step) + part * PARTS_APART) % (1 << 64)
