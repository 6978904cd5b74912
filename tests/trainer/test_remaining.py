"""The time left is told from the run's own latest steps, and never from a clock that may jump."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.remaining import WINDOW, Remaining


def test_before_the_first_step_nothing_is_known() -> None:
    assert Remaining().seconds(10) is None


@given(st.floats(0.001, 100), st.integers(1, 100), st.integers(0, 1000))
def test_an_even_pace_goes_on(step_s: float, done: int, left: int) -> None:
    remaining = Remaining()
    for step in range(done):
        remaining.passed(step * step_s, (step + 1) * step_s)
    assert remaining.seconds(left) == pytest.approx(left * step_s, rel=1e-6)


def test_what_comes_between_steps_counts_and_what_was_long_ago_does_not() -> None:
    remaining = Remaining()
    remaining.passed(0.0, 1000.0)
    for step in range(WINDOW + 1):
        remaining.passed(1000.0 + 3 * step, 1002.0 + 3 * step)
    assert remaining.seconds(10) == 30.0
