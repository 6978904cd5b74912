"""Whether a candidate may answer in place of the active adapter: decided from measurements alone, closed when in doubt.

Pure. The rule: on the same held-out rows the candidate must be lower than the active adapter *and* the bare base by
more than epsilon, and not by luck of the rows. Rows are drawn again with replacement, the same ones for both sides; the
95th percentile of the difference over 2,000 such draws (seeded by the run) must lie below -epsilon. That is a paired
bootstrap (Efron; Koehn 2004), one-sided at 5 %. Fewer rows than `min_rows` decide nothing: of four rows all are
better by chance in 6 % of cases. On the regression set, what answers now is the other side, and the percentile must
not lie above the tolerance: not worse, as far as the rows can tell. Every behaviour check must pass.
`tests/trainer/test_gate.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catalog.decisions import Against, CheckResult, Comparison, Decision
from trainer.evaluate import Measurement

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Rule:
    """What is asked of a candidate, in nats per counted thing."""

    epsilon: float
    min_rows: int
    regression_tolerance: float
    seed: int

    def in_words(self) -> str:
        return (
            f"on the same held-out rows, at least {self.min_rows}, the {CONFIDENCE:.0%} bound of the paired bootstrap "
            f"of the difference to the active adapter and to the base lies below {0 - self.epsilon:g}; on the "
            f"regression set not above {self.regression_tolerance:g}; every check passes"
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured. Where no adapter is active, `active` is the base's own measurement."""

    candidate: Measurement | None
    active: Measurement | None
    base: Measurement | None
    regression: tuple[Measurement, Measurement] | None = None
    """Of the candidate and of what answers now; None where no regression set is named."""
    checks: Sequence[CheckResult] = ()
    compared: str = "loss"
    """The name of the loss on the held-out rows."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision, its reason in words, and the numbers that it rests on."""

    promote: bool
    reason: str
    candidate_loss: float | None = None
    active_loss: float | None = None
    base_loss: float | None = None
    decision: Decision | None = None


def decide(evidence: Evidence, rule: Rule) -> Verdict:
    """Compare on all that was measured."""
    if obstacle := _obstacle(evidence, rule):
        return _verdict(False, f"Not promoted: {obstacle}.", evidence)
    comparisons = _comparisons(evidence, rule)
    decision = Decision(
        rule=rule.in_words(),
        resamples=RESAMPLES,
        seed=rule.seed,
        comparisons=comparisons,
        checks=list(evidence.checks),
    )
    faults = [_in_words(one) for one in comparisons if not one.passed]
    faults += [f"check {one.line} ({one.rule}): {one.why}" for one in evidence.checks if not one.passed]
    if faults:
        return _verdict(False, f"Not promoted: {'; '.join(faults)}.", evidence, decision)
    words = [_in_words(one) for one in comparisons]
    if evidence.checks:
        words.append(f"{len(evidence.checks)} checks passed")
    return _verdict(True, f"Promoted: {'; '.join(words)}.", evidence, decision)


def _verdict(promote: bool, reason: str, evidence: Evidence, decision: Decision | None = None) -> Verdict:
    losses = (_loss(evidence.candidate), _loss(evidence.active), _loss(evidence.base))
    return Verdict(promote, reason, *losses, decision)


def _obstacle(evidence: Evidence, rule: Rule) -> str | None:
    """Why nothing can be compared."""
    named = {"candidate": evidence.candidate, "active adapter": evidence.active, "base": evidence.base}
    if evidence.regression is not None:
        candidate, now = evidence.regression
        named |= {"candidate on the regression set": candidate, "active adapter on the regression set": now}
    for name, measured in named.items():
        if measured is None or not measured.counts:
            return f"there is no measurement of the {name}"
        if not math.isfinite(measured.loss) or not all(map(math.isfinite, measured.nats)):
            return f"the loss of the {name} is not finite"
        if len(measured.counts) < rule.min_rows:
            return f"{len(measured.counts)} rows are too few to tell anything of the {name}; {rule.min_rows} are asked"
    sides = [evidence.candidate, evidence.active, evidence.base]
    counts = {one.counts for one in sides if one is not None}
    on_regression = {one.counts for one in evidence.regression or ()}
    if len(counts) > 1 or len(on_regression) > 1:
        return "they were not measured on the same rows"
    return None


def _comparisons(evidence: Evidence, rule: Rule) -> list[Comparison]:
    candidate, active, base = evidence.candidate, evidence.active, evidence.base
    assert candidate is not None and active is not None and base is not None
    name = evidence.compared
    found = [_compare("base", name, candidate, base, 0 - rule.epsilon, rule.seed)]
    if active != base:
        found.append(_compare("active", name, candidate, active, 0 - rule.epsilon, rule.seed))
    if evidence.regression is not None:
        found.append(_compare("regression", "loss", *evidence.regression, rule.regression_tolerance, rule.seed))
    return found


def _compare(
    against: Against, compared: str, candidate: Measurement, other: Measurement, limit: float, seed: int
) -> Comparison:
    low, high = interval(candidate, other, seed)
    difference = candidate.loss - other.loss
    is_regression = against == "regression"
    worst = max(high, difference)
    return Comparison(
        against=against,
        compared=compared,
        candidate_loss=candidate.loss,
        other_loss=other.loss,
        difference=difference,
        low=low,
        high=high,
        rows=len(candidate.nats),
        better_rows=sum(mine < theirs for mine, theirs in zip(candidate.nats, other.nats, strict=True)),
        limit=limit,
        passed=worst <= limit if is_regression else worst < limit,
    )


def interval(candidate: Measurement, other: Measurement, seed: int) -> tuple[float, float]:
    """5th and 95th percentile of the difference of losses over rows drawn with replacement, the same for both sides."""
    differences = np.subtract(candidate.nats, other.nats)
    counts = np.array(candidate.counts, np.float64)
    rows = len(counts)
    drawn = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), RESAMPLES)
    low, high = np.quantile((drawn @ differences) / (drawn @ counts), [1 - CONFIDENCE, CONFIDENCE])
    return float(low), float(high)


def _in_words(one: Comparison) -> str:
    name = {"base": "of the base", "active": "of the active adapter", "regression": "now, on the regression set"}
    where = "" if one.against == "regression" else "held-out "
    least = "at most" if one.against == "regression" else "less than"
    asked = "" if one.passed else f", where {least} {one.limit:g} is asked"
    return (
        f"{where}{one.compared} {one.candidate_loss:.4f} against {one.other_loss:.4f} {name[one.against]} "
        f"({one.difference:+.4f}, interval {one.low:+.4f} to {one.high:+.4f}{asked}), "
        f"lower on {one.better_rows} of {one.rows} rows"
    )


def _loss(measured: Measurement | None) -> float | None:
    return None if measured is None or not measured.counts else measured.loss
