"""Nothing is promoted that was not measured better than both the active adapter and the base."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.decisions import CheckResult
from trainer.evaluate import Measurement
from trainer.gate import Evidence, Rule, Verdict, decide, interval

TOKENS = (10, 20, 5)


def rows(*nats: float) -> Measurement:
    return Measurement(nats, TOKENS)


GOOD, ACTIVE, BASE = rows(5, 10, 2), rows(8, 12, 3), rows(30, 60, 15)
RULE = Rule(epsilon=0.0, min_rows=2, regression_tolerance=0.02, seed=0)


def judged(
    candidate: Measurement | None, active: Measurement | None, base: Measurement | None, rule: Rule = RULE
) -> Verdict:
    return decide(Evidence(candidate, active, base), rule)


def test_a_candidate_below_both_is_promoted_and_the_reason_says_by_what() -> None:
    verdict = judged(GOOD, ACTIVE, BASE)
    assert verdict.promote
    assert (verdict.candidate_loss, verdict.active_loss, verdict.base_loss) == (17 / 35, 23 / 35, 3.0)
    assert "0.4857 against 3.0000 of the base (-2.5143, interval" in verdict.reason
    assert "against 0.6571 of the active adapter (-0.1714, interval" in verdict.reason
    assert verdict.decision is not None
    base, active = verdict.decision.comparisons
    assert (base.against, active.against) == ("base", "active")
    assert active.low <= active.difference <= active.high < 0
    assert (active.rows, active.better_rows, active.passed) == (3, 3, True)


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
    verdict = judged(candidate, active, base)
    assert not verdict.promote
    assert reason in verdict.reason


def test_better_by_no_more_than_epsilon_is_not_enough() -> None:
    _, high = interval(GOOD, ACTIVE, RULE.seed)
    assert judged(GOOD, ACTIVE, BASE, replace(RULE, epsilon=-high * 0.99)).promote
    refused = judged(GOOD, ACTIVE, BASE, replace(RULE, epsilon=-high * 1.01))
    assert not refused.promote
    assert "is asked" in refused.reason


def test_nothing_less_than_zero_is_asked_as_zero() -> None:
    verdict = judged(GOOD, GOOD, BASE)
    assert verdict.reason.endswith("where less than 0 is asked), lower on 0 of 3 rows.")
    assert verdict.decision is not None and "lies below 0;" in verdict.decision.rule


def test_few_rows_decide_nothing() -> None:
    refused = judged(GOOD, ACTIVE, BASE, replace(RULE, min_rows=4))
    assert refused.reason == "Not promoted: 3 rows are too few to tell anything of the candidate; 4 are asked."


def many(mean: float, spread: float, seed: int, count: int = 40) -> Measurement:
    nats = 20 + mean + spread * np.random.default_rng(seed).standard_normal(count)
    return Measurement(tuple(nats.tolist()), (10,) * count)


def test_better_by_the_luck_of_the_rows_is_not_enough() -> None:
    """A candidate that is no better is promoted in about one of twenty cases, and one that is better nearly always."""
    lucky = [judged(many(0, 2, 2 * seed), many(0, 2, 2 * seed + 1), many(9, 0, 0)).promote for seed in range(200)]
    able = [judged(many(-2, 2, 2 * seed), many(0, 2, 2 * seed + 1), many(9, 0, 0)).promote for seed in range(200)]
    assert sum(lucky) <= 20
    assert sum(able) >= 190


def test_the_interval_is_that_of_paired_rows() -> None:
    """Rows differ far more from each other than the two sides do on one row; the interval must not see the former."""
    hard = 10 * np.random.default_rng(1).random(40)
    active = Measurement(tuple((20 + hard).tolist()), (10,) * 40)
    candidate = Measurement(tuple((19.5 + hard).tolist()), (10,) * 40)
    assert interval(candidate, active, 0) == pytest.approx((-0.05, -0.05))
    spread = many(0, 2, 1)
    assert interval(spread, active, 3) == interval(spread, active, 3) != interval(spread, active, 4)


@pytest.mark.parametrize(("worse_by", "promoted"), [(-0.5, True), (0.0, True), (0.01, True), (0.05, False)])
def test_the_regression_set_must_not_get_worse(worse_by: float, promoted: bool) -> None:
    now = many(0, 2, 1)
    after = Measurement(tuple(nats + 10 * worse_by for nats in now.nats), now.counts)
    verdict = decide(Evidence(GOOD, ACTIVE, BASE, (after, now)), RULE)
    assert verdict.promote == promoted
    assert ("on the regression set" in verdict.reason) and verdict.decision is not None
    assert verdict.decision.comparisons[-1].passed == promoted


def test_a_regression_set_that_cannot_be_measured_closes_the_gate() -> None:
    for broken in ((rows(1, math.nan, 1), GOOD), (GOOD, rows(1, math.inf, 1)), (GOOD, Measurement((), ()))):
        assert not decide(Evidence(GOOD, ACTIVE, BASE, broken), RULE).promote


def test_one_bad_answer_closes_the_gate() -> None:
    good = CheckResult(line=1, rule="exact", passed=True, answer="a")
    bad = CheckResult(line=7, rule="regex", passed=False, answer="b", why="nothing in it matches 'a'")
    assert decide(Evidence(GOOD, ACTIVE, BASE, checks=[good]), RULE).reason.endswith("1 checks passed.")
    refused = decide(Evidence(GOOD, ACTIVE, BASE, checks=[good, bad]), RULE)
    assert refused.reason == "Not promoted: check 7 (regex): nothing in it matches 'a'."


@given(*[st.lists(st.floats(0, 100), min_size=3, max_size=3)] * 3, st.floats(0, 10))
def test_what_is_promoted_is_lower_than_both(
    candidate: list[float], active: list[float], base: list[float], epsilon: float
) -> None:
    verdict = judged(rows(*candidate), rows(*active), rows(*base), replace(RULE, epsilon=epsilon))
    lower = min(sum(active), sum(base)) / 35 - sum(candidate) / 35
    assert not verdict.promote or lower > epsilon - 1e-9
