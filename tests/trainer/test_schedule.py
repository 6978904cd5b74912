"""The learning rate rises, then falls, and no step is wasted at zero."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.schedule import learning_rate, warmup_steps


def rates(total: int, ratio: float) -> list[float]:
    return [learning_rate(step, total_steps=total, peak=0.5, warmup_ratio=ratio) for step in range(1, total + 1)]


@given(st.integers(1, 300), st.floats(0, 0.9))
def test_it_rises_to_the_peak_and_falls_from_it(total: int, ratio: float) -> None:
    rising = warmup_steps(total, ratio)
    found = rates(total, ratio)
    assert all(0 < rate <= 0.5 for rate in found)
    assert found[:rising] == sorted(found[:rising])
    assert found[max(rising - 1, 0) :] == sorted(found[max(rising - 1, 0) :], reverse=True)


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    assert rates(100, 0.1)[:10] == pytest.approx([0.05 * step for step in range(1, 11)])


def test_the_cosine_is_at_half_the_peak_half_way_down() -> None:
    assert rates(109, 0.1)[60 - 1] == pytest.approx(0.25, abs=0.01)
