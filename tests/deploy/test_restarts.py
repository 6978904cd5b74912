"""A process that ended is started again after a growing delay, and not for ever."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from deploy.restarts import (
    FIRST_DELAY_S,
    LONGEST_DELAY_S,
    MOST_QUICK_DEATHS,
    QUICK_S,
    GiveUp,
    Life,
    Restart,
    next_restart,
)


def lives(*lengths_s: float, exit_code: int = 1) -> list[Life]:
    return [Life(0.0, length_s, exit_code) for length_s in lengths_s]


def test_the_first_death_is_answered_soon() -> None:
    assert next_restart(lives(1.0)) == Restart(FIRST_DELAY_S)


def test_quick_deaths_in_a_row_wait_twice_as_long_up_to_a_limit() -> None:
    delays = [next_restart(lives(*[1.0] * count)) for count in range(1, MOST_QUICK_DEATHS)]
    assert delays == [Restart(delay_s) for delay_s in (0.5, 1, 2, 4, 8, 16, LONGEST_DELAY_S)]


def test_a_long_life_is_forgiven() -> None:
    assert next_restart(lives(*[1.0] * 6, QUICK_S, 1.0)) == Restart(FIRST_DELAY_S)


def test_too_many_quick_deaths_end_the_trying() -> None:
    assert isinstance(next_restart(lives(*[1.0] * MOST_QUICK_DEATHS)), GiveUp)


def test_a_wrong_setting_is_not_tried_again() -> None:
    assert isinstance(next_restart(lives(1.0, exit_code=os.EX_CONFIG)), GiveUp)


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=30))
def test_every_delay_is_bounded(lengths_s: list[float]) -> None:
    match next_restart(lives(*lengths_s)):
        case Restart(delay_s):
            assert FIRST_DELAY_S <= delay_s <= LONGEST_DELAY_S
        case GiveUp():
            assert all(length_s < QUICK_S for length_s in lengths_s[-MOST_QUICK_DEATHS:])
