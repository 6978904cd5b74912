"""A breaker's life as a table, and what holds whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.breaker import (
    FIRST_REST_S,
    JITTER,
    LONGEST_REST_S,
    Breaker,
    Closed,
    Event,
    Open,
    Trial,
    may_ask,
    next_breaker,
)

NOW = 1000.0
MIDDLE = 0.5
"""The draw that adds no jitter."""


def moved(breaker: Breaker, event: Event, now: float = NOW, draw: float = MIDDLE) -> Breaker:
    return next_breaker(breaker, event, now, opens_after=5, draw=draw)


MOVES: list[tuple[Breaker, Event, Breaker]] = [
    (Closed(), "asked", Closed()),
    (Closed(3), "spoke", Closed(3)),
    (Closed(3), "finished", Closed()),
    (Closed(3), "left", Closed(3)),
    (Closed(3), "failed", Closed(4)),
    (Closed(4), "failed", Open(NOW + 30, 1)),
    (Open(NOW + 1, 1), "asked", Open(NOW + 1, 1)),
    (Open(NOW, 1), "asked", Trial(1)),
    (Open(NOW + 1, 1), "failed", Open(NOW + 1, 1)),
    (Open(NOW + 1, 1), "finished", Open(NOW + 1, 1)),
    (Trial(1), "spoke", Closed()),
    (Trial(1), "finished", Closed()),
    (Trial(1), "failed", Open(NOW + 60, 2)),
    (Trial(2), "failed", Open(NOW + 120, 3)),
    (Trial(4), "failed", Open(NOW + 300, 5)),
    (Trial(9999), "failed", Open(NOW + 300, 10000)),
    (Trial(2), "left", Open(NOW, 2)),
]


@pytest.mark.parametrize(("before", "event", "after"), MOVES)
def test_every_move(before: Breaker, event: Event, after: Breaker) -> None:
    assert moved(before, event) == after


@pytest.mark.parametrize(
    ("breaker", "may"), [(Closed(4), True), (Open(NOW, 1), True), (Open(NOW + 0.1, 1), False), (Trial(1), False)]
)
def test_who_may_ask(breaker: Breaker, may: bool) -> None:
    assert may_ask(breaker, NOW) is may


def test_a_rest_is_jittered() -> None:
    rests = [moved(Closed(4), "failed", draw=draw) for draw in (0.0, 0.999)]
    assert [round(rest.until - NOW) for rest in rests if isinstance(rest, Open)] == [27, 33]


@given(st.lists(st.tuples(st.sampled_from(["asked", "failed", "left"]), st.floats(0, 400), st.floats(0, 0.99))))
def test_without_a_success_it_never_closes_and_never_rests_for_long(steps: list[tuple[Event, float, float]]) -> None:
    breaker, now = moved(Closed(4), "failed", 0.0), 0.0
    for event, passed_s, draw in steps:
        now += passed_s
        breaker = moved(breaker, event, now, draw)
        assert not isinstance(breaker, Closed)
        if isinstance(breaker, Open):
            assert breaker.until - now <= LONGEST_REST_S * (1 + JITTER)
    assert may_ask(moved(breaker, "failed", now), now + LONGEST_REST_S * (1 + JITTER)) is True
    assert FIRST_REST_S < LONGEST_REST_S


@given(st.integers(2, 50))
def test_one_trial_at_a_time(askers: int) -> None:
    breaker: Breaker = Open(NOW, 1)
    let_through = 0
    for _ in range(askers):
        if may_ask(breaker, NOW):
            let_through += 1
            breaker = moved(breaker, "asked")
    assert let_through == 1
