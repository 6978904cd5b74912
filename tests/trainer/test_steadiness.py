"""A gradient that leaps is told from one that grows, from one of a run that swings, and from one that is small."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from trainer.steadiness import BEYOND_GUESSING, FEWEST, Bounds, bounds, longest_norm, what_is_wrong

NORMS = st.lists(st.floats(0, 1e6), min_size=FEWEST, max_size=64)


def test_a_run_that_only_begins_has_no_measure_yet() -> None:
    assert longest_norm([1.0] * (FEWEST - 1), 1.0) == math.inf


def test_ten_times_the_usual_is_too_long_in_a_steady_run() -> None:
    longest = longest_norm([2.0, 2.1, 1.9, 2.0] * 8, 1.0)
    assert 20 <= longest < 25


def test_a_run_that_swings_may_swing_further() -> None:
    swinging = np.exp(np.random.default_rng(0).normal(0, 1, 64)).tolist()
    assert longest_norm(swinging, 1.0) > max(swinging) * 10


@example([0.0] * 8 + [1.0] * 8, 1.0)
@given(NORMS, st.floats(0.01, 1000))
def test_a_gradient_that_need_not_be_cut_is_never_too_long(norms: list[float], most: float) -> None:
    assert longest_norm(norms, most) >= most


@given(st.lists(st.floats(1, 2), min_size=FEWEST, max_size=60), st.lists(st.floats(0, 1e30), max_size=4))
def test_a_few_leaps_among_the_latest_do_not_hide_the_next(norms: list[float], leaps: list[float]) -> None:
    assert longest_norm([*norms, *leaps], 0.0) < 2e4


def test_a_loss_far_beyond_the_untrained_and_beyond_guessing_is_too_large() -> None:
    expected = bounds([], 1.0, [7.0, 3.5])
    assert expected == Bounds(BEYOND_GUESSING * 7.0, math.inf)
    assert expected.hold(13.9, 1e9) and not expected.hold(14.1, 1.0)


@given(st.floats(), st.floats())
def test_what_is_not_finite_never_holds(loss: float, norm: float) -> None:
    assert Bounds().hold(loss, norm) == (math.isfinite(loss) and math.isfinite(norm))


def test_what_is_wrong_is_said_with_numbers() -> None:
    expected = Bounds(10.0, 20.0)
    assert what_is_wrong(math.nan, 1.0, expected) == "its loss or gradient is not finite"
    assert "its loss of 30 is" in what_is_wrong(30.0, 300.0, expected)
    assert "a length of 300; 20 is" in what_is_wrong(2.0, 300.0, expected)
