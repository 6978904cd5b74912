"""Order is a pure function of (seed, epoch, step), and little of a batch is padding."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.batches import (
    POSITIONS_MULTIPLE,
    StepRows,
    course,
    epoch_order,
    in_order_of_length,
    make_batch,
    part_seed,
    steps_per_epoch,
)
from trainer.rows import Row

LENGTHS = np.random.default_rng(0).integers(20, 400, 203).tolist()


def row(length: int, answer: int) -> Row:
    return Row(1, tuple(range(100, 100 + length)), (False,) * (length - answer) + (True,) * answer)


def all_steps(seed: int, after_step: int = 0) -> list[StepRows]:
    return list(course(LENGTHS, seed=seed, epochs=3, batch_size=4, accumulation=8, after_step=after_step))


@given(st.integers(1, 200), st.integers(1, 9), st.integers(1, 9), st.integers(0, 5), st.integers(0, 5))
def test_every_row_is_learned_once_an_epoch(rows: int, batch: int, accumulation: int, seed: int, epoch: int) -> None:
    lengths = LENGTHS[:rows]
    steps = epoch_order(lengths, seed=seed, epoch=epoch, batch_size=batch, accumulation=accumulation)
    micro_batches = list(itertools.chain(*steps))
    assert sorted(itertools.chain(*micro_batches)) == list(range(rows))
    assert len(steps) == steps_per_epoch(rows, batch, accumulation)
    assert all(1 <= len(step) <= accumulation for step in steps)
    assert all(len(micro_batch) <= batch for micro_batch in micro_batches)


def test_equal_seeds_give_equal_orders_and_others_do_not() -> None:
    assert all_steps(1) == all_steps(1) != all_steps(2)
    first, second = all_steps(1)[0], all_steps(1)[steps_per_epoch(len(LENGTHS), 4, 8)]
    assert (first.epoch, second.epoch) == (0, 1)
    assert first.micro_batches != second.micro_batches


def test_the_order_after_a_step_does_not_depend_on_how_one_came_there() -> None:
    whole = all_steps(5)
    assert [step.step for step in whole] == list(range(1, len(whole) + 1))
    for done in (0, 1, 6, 7, 8, len(whole) - 1, len(whole)):
        assert all_steps(5, after_step=done) == whole[done:]


def test_each_part_of_each_step_has_random_numbers_of_its_own() -> None:
    seeds = {part_seed(seed, step, part) for seed in range(20) for step in range(200) for part in range(3)}
    assert len(seeds) == 12_000
    assert 0 <= part_seed((1 << 31) - 1, (1 << 31) - 1, 99) < 1 << 64


def test_rows_of_like_length_meet() -> None:
    micro_batches = [batch for step in all_steps(0) for batch in step.micro_batches]
    padded = sum(max(LENGTHS[index] for index in batch) * len(batch) for batch in micro_batches)
    assert padded <= 1.04 * 3 * sum(LENGTHS)


def test_a_batch_points_at_the_token_before_each_supervised_one() -> None:
    batch = make_batch([row(5, 2), row(3, 1)])
    assert batch.inputs_BL.tolist() == [[100, 101, 102, 103], [100, 101, 0, 0]]
    assert batch.positions_P.tolist()[:3] == [2, 3, 5]
    assert batch.targets_P.tolist()[:3] == [103, 104, 102]
    assert batch.weights_P.tolist() == [1.0] * 3 + [0.0] * (POSITIONS_MULTIPLE - 3)
    assert batch.answer_of_P.tolist() == [0, 0, 1]
    assert (batch.rows, batch.tokens, batch.supervised_tokens) == (2, 8, 3)


def test_measuring_visits_every_row_once() -> None:
    rows = [row(length, 2) for length in LENGTHS]
    batches = in_order_of_length(rows, 8)
    assert sorted(itertools.chain(*batches)) == list(range(len(rows)))
    assert all(len(batch) <= 8 for batch in batches)
