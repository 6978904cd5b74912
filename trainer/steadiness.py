"""When a step must not be learned from: its loss is far beyond guessing, or its gradient leaps.

Pure, and a function of what is saved, so that a resumed run skips what the run that was never stopped skips.

`tests/trainer/test_steadiness.py`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

WINDOW = 64
"""Gradients that are remembered."""
FEWEST = 16
"""Of fewer, nothing can be said."""
LEAP = math.log(10)
"""Ten times the middle one, at least."""
SPREADS = 10.0
"""And so many times as far from it, in logarithms, as the middle one of the distances from it."""
LARGEST = 700.0
"""Of a number beyond e to this, no float is left; gradients of length zero among others spread as far."""
BEYOND_GUESSING = 2.0
"""A loss so many times that of the untrained base, or of a guess, is of a model that is broken."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The largest loss and the longest gradient that are still learned from."""

    loss: float = math.inf
    norm: float = math.inf

    def hold(self, loss: float, norm: float) -> bool:
        """Whether both are finite and not beyond."""
        return math.isfinite(loss) and math.isfinite(norm) and loss <= self.loss and norm <= self.norm


def bounds(latest_norms: Sequence[float], max_grad_norm: float, usual_losses: Sequence[float]) -> Bounds:
    """What to expect after gradients of these lengths; `usual_losses` are the base's and that of a guess."""
    return Bounds(BEYOND_GUESSING * max(usual_losses), longest_norm(latest_norms, max_grad_norm))


def longest_norm(latest: Sequence[float], max_grad_norm: float) -> float:
    """The longest gradient that is still learned from; one that need not even be cut is never too long."""
    if len(latest) < FEWEST:
        return math.inf
    logs = [math.log(max(norm, math.ulp(0.0))) for norm in latest]
    middle = statistics.median(logs)
    spread = statistics.median(abs(value - middle) for value in logs)
    return max(max_grad_norm, math.exp(min(LARGEST, middle + max(LEAP, SPREADS * spread))))


def what_is_wrong(loss: float, grad_norm: float, expected: Bounds) -> str:
    """Why a step was not learned from, in words."""
    if not math.isfinite(loss) or not math.isfinite(grad_norm):
        return "its loss or gradient is not finite"
    if loss > expected.loss:
        return f"its loss of {loss:.3g} is far beyond guessing"
    return f"its gradient leapt to a length of {grad_norm:.3g}; {expected.norm:.3g} is the longest to be expected"
