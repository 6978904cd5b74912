"""The learning rate rises, then falls, and no step is wasted at zero."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.settings import LrSchedule
from trainer.schedule import learning_rate, warmup_steps


def rates(total: int, ratio: float, schedule: LrSchedule = "cosine") -> list[float]:
    return [
        learning_rate(step, total_steps=total, peak=0.5, warmup_ratio=ratio, schedule=schedule)
        for step in range(1, total + 1)
    ]


@given(st.integers(1, 300), st.floats(0, 0.9), st.sampled_from(get_args(LrSchedule)))
def test_it_rises_to_the_peak_and_never_again(total: int, ratio: float, schedule: LrSchedule) -> None:
    rising = warmup_steps(total, ratio)
    found = rates(total, ratio, schedule)
    assert all(0 < rate <= 0.5 for rate in found)
    assert found[:rising] == sorted(found[:rising])
    assert found[max(rising - 1, 0) :] == sorted(found[max(rising - 1, 0) :], reverse=True)


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    assert rates(100, 0.1)[:10] == pytest.approx([0.05 * step for step in range(1, 11)])


def test_the_cosine_is_at_half_the_peak_half_way_down() -> None:
    assert rates(109, 0.1)[60 - 1] == pytest.approx(0.25, abs=0.01)


def test_the_line_falls_evenly_and_the_constant_stays() -> None:
    falling = rates(109, 10 / 109, "linear")[10:]
    assert {round(before - after, 9) for before, after in itertools.pairwise(falling)} == {0.005}
    assert rates(100, 0.1, "constant")[9:] == [0.5] * 91
