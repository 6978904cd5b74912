"""Why an adapter was promoted or not: the numbers of a gate's decision, as `run.json` and the manifest record them.

Shapes only; `trainer.gate` decides.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Against = Literal["active", "base", "regression"]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Comparison(Shape):
    """A candidate beside another on the same rows, in nats per counted thing; a difference below 0 is better."""

    against: Against
    """The active adapter or the bare base on the held-out rows, or what answers now on the regression set."""
    compared: str
    """The loss's name."""
    candidate_loss: float
    other_loss: float
    difference: float
    """Candidate minus other."""
    low: float
    high: float
    """The paired bootstrap interval of the difference over rows: 5th and 95th percentile."""
    rows: int
    better_rows: int
    limit: float
    """`high` must lie below it (at the regression set, not above it)."""
    passed: bool


class CheckResult(Shape):
    """One behaviour check and what the candidate answered."""

    line: int
    """In the file of checks."""
    rule: str
    passed: bool
    answer: str
    """Its beginning."""
    why: str | None = None
    """What is wrong with it."""


class Decision(Shape):
    """Everything that a verdict rests on."""

    rule: str
    """In words."""
    resamples: int
    seed: int
    comparisons: list[Comparison]
    checks: list[CheckResult]
