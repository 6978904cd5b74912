"""The probe: which held-out rows colour the path and carry the surface. Few and cheap, with something to learn.

A row that the base knew before would show a model that only ever gets worse. So a few are drawn by the seed and
measured before the first step, and those are taken that are as hard as all that were drawn, or harder, the nearest
first; as many as may be measured at each point of the path, at least one. `tests/trainer/test_probe.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from catalog.plan import Plan
from trainer.evaluate import Measurement
from trainer.rows import TrainingRow

DRAWN = 16
MOST = 4
SHARE = 0.006
"""Of the steps' work that measuring the probe may take without a surface; with one, half of the surface's share more.
Going forward is counted as half of a step's work, whose base is frozen; of so few rows it takes half as much again, so
that all telling stays below 2 % (`tests/bench/telemetry.py`)."""
PASS_TOKENS = 28
"""What going forward costs before its first token, in tokens: 4 ms beside 0.14 ms for each, on nano."""


def affordable_tokens(plan: Plan, tokens_a_step: float) -> float:
    """Padded tokens that may be measured at each point of the path. Whoever goes on with a run or its surface must
    choose the same rows, so how many processes share a step is no matter here."""
    return _budget(plan, tokens_a_step) - PASS_TOKENS


def spacing(plan: Plan, tokens_a_step: float, probe_tokens: int) -> int:
    """At which points of the path a probe of so many padded tokens is measured: each, where the surface wants their
    loss; without one, so seldom that it keeps to its share even where steps are small, or shared: of a step counts what
    this process computes."""
    if plan.surface_grid:
        return 1
    return max(1, math.ceil((PASS_TOKENS + probe_tokens) / _budget(plan, tokens_a_step)))


def _budget(plan: Plan, tokens_a_step: float) -> float:
    share = SHARE + (plan.surface_share / 2 if plan.surface_grid else 0)
    return 2 * share * plan.telemetry_interval_steps * tokens_a_step


def draw(held_out: Sequence[TrainingRow], seed: int) -> tuple[TrainingRow, ...]:
    """The rows that are considered."""
    return tuple(held_out[index] for index in np.random.default_rng(seed).permutation(len(held_out))[:DRAWN])


def choose(
    drawn: Sequence[TrainingRow], measure_row: Callable[[TrainingRow], Measurement], affordable: float
) -> tuple[TrainingRow, ...]:
    """The drawn rows nearest above the loss of all, within `affordable` padded tokens; rows are measured one by one."""
    measured = [measure_row(row) for row in drawn]
    finite = [one for one in measured if math.isfinite(one.loss)]
    of_all = Measurement(
        tuple(nats for one in finite for nats in one.nats), tuple(count for one in finite for count in one.counts)
    ).loss
    above = np.array([one.loss - of_all for one in measured])
    easier = np.where(np.isfinite(above), above < 0, 2)
    chosen: list[TrainingRow] = []
    # What has no finite loss comes last; equals stay as they were drawn.
    for index in np.lexsort((np.abs(above), easier)).tolist():
        longest = max(row.length for row in [*chosen, drawn[index]])
        if len(chosen) < MOST and (not chosen or longest * (len(chosen) + 1) <= affordable):
            chosen.append(drawn[index])
    return tuple(chosen)
