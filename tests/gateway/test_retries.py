"""What is asked again, when, and never by more than a fifth of the open requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import EngineFailed, Overloaded, RagweldError, Unavailable, UpstreamFailed, UpstreamTimedOut
from gateway.retries import LONGEST_PAUSE_S, RetryBudget, allows, pause_s


def busy(retry_after_s: float) -> RagweldError:
    return Overloaded("busy", retry_after_s=retry_after_s)


def failed(code: str) -> RagweldError:
    return UpstreamFailed("failed", code=code)


@pytest.mark.parametrize(
    ("error", "attempt", "draw", "seconds"),
    [
        (failed("upstream_unreachable"), 0, 0.0, 0.0),
        (failed("upstream_unreachable"), 0, 0.5, 0.125),
        (failed("upstream_cut"), 1, 0.5, 0.25),
        (failed("upstream_status_503"), 9, 0.5, LONGEST_PAUSE_S / 2),
        (busy(2), 0, 0.5, 2.125),
        (busy(7), 0, 0.5, None),
        (failed("upstream_status_401"), 0, 0.5, None),
        (failed("upstream_garbage"), 0, 0.5, None),
        (failed("upstream_error_body"), 0, 0.5, None),
        (UpstreamTimedOut("silent"), 0, 0.5, None),
        (Unavailable("resting"), 0, 0.5, None),
        (EngineFailed("failed"), 0, 0.5, None),
    ],
)
def test_what_may_pass_is_asked_again(error: RagweldError, attempt: int, draw: float, seconds: float | None) -> None:
    assert pause_s(error, attempt, draw) == seconds


@given(st.integers(0, 1000), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_bounded_however_often(attempt: int, draw: float) -> None:
    pause = pause_s(failed("upstream_cut"), attempt, draw)
    assert pause is not None and 0 <= pause <= LONGEST_PAUSE_S


@pytest.mark.parametrize(("active", "most"), [(1, 3), (15, 3), (20, 4), (200, 40)])
def test_the_budget_is_a_fifth_and_at_least_three(active: int, most: int) -> None:
    assert [allows(active, again) for again in (most - 1, most)] == [True, False]


def test_of_two_hundred_at_once_forty_are_asked_again() -> None:
    budget = RetryBudget()
    open_requests = [budget.request() for _ in range(200)]
    for request in open_requests:
        request.__enter__()
    tries = [budget.once_more() for _ in range(200)]
    assert sum(one.__enter__() for one in tries) == 40
    for one in (*tries, *open_requests):
        one.__exit__(None, None, None)
    assert (budget.active, budget.again) == (0, 0)
