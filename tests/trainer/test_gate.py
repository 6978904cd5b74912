"""Nothing is promoted that was not measured better than both the active adapter and the base."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.evaluate import Measurement
from trainer.gate import decide

TOKENS = (10, 20, 5)


def rows(*nats: float) -> Measurement:
    return Measurement(nats, TOKENS)


GOOD, ACTIVE, BASE = rows(5, 10, 2), rows(8, 12, 3), rows(30, 60, 15)


def test_a_candidate_below_both_is_promoted_and_the_reason_says_by_what() -> None:
    verdict = decide(GOOD, ACTIVE, BASE, 0.0)
    assert verdict.promote
    assert (verdict.candidate_loss, verdict.active_loss, verdict.base_loss) == (17 / 35, 23 / 35, 3.0)
    assert "0.4857 against 3.0000 of the base" in verdict.reason
    assert "against 0.6571 of the active adapter, lower on 3 of 3 rows" in verdict.reason


@pytest.mark.parametrize(
    ("candidate", "active", "base", "reason"),
    [
        (ACTIVE, GOOD, BASE, "of the active adapter"),
        (ACTIVE, BASE, GOOD, "of the base"),
        (GOOD, GOOD, BASE, "of the active adapter"),
        (rows(1, math.nan, 1), ACTIVE, BASE, "loss of the candidate is not finite"),
        (rows(1, math.inf, 1), ACTIVE, BASE, "loss of the candidate is not finite"),
        (GOOD, rows(1, math.nan, 1), BASE, "loss of the active adapter is not finite"),
        (GOOD, ACTIVE, rows(math.nan, 1, 1), "loss of the base is not finite"),
        (None, ACTIVE, BASE, "no measurement of the candidate"),
        (GOOD, None, BASE, "no measurement of the active adapter"),
        (GOOD, ACTIVE, None, "no measurement of the base"),
        (GOOD, ACTIVE, Measurement((), ()), "no measurement of the base"),
        (GOOD, ACTIVE, Measurement((30.0, 60.0), (10, 20)), "not measured on the same rows"),
    ],
)
def test_it_is_closed_when_in_doubt(
    candidate: Measurement | None, active: Measurement | None, base: Measurement | None, reason: str
) -> None:
    verdict = decide(candidate, active, base, 0.0)
    assert not verdict.promote
    assert reason in verdict.reason


def test_better_by_no_more_than_epsilon_is_not_enough() -> None:
    margin = ACTIVE.loss - GOOD.loss
    assert decide(GOOD, ACTIVE, BASE, margin * 0.99).promote
    assert not decide(GOOD, ACTIVE, BASE, margin * 1.01).promote


@given(*[st.lists(st.floats(0, 100), min_size=3, max_size=3)] * 3, st.floats(0, 10))
def test_what_is_promoted_is_lower_than_both(
    candidate: list[float], active: list[float], base: list[float], epsilon: float
) -> None:
    verdict = decide(rows(*candidate), rows(*active), rows(*base), epsilon)
    lower = min(sum(active), sum(base)) / 35 - sum(candidate) / 35
    assert not verdict.promote or lower > epsilon - 1e-9
