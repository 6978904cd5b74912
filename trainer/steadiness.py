"""When a gradient leaps: it is far longer than the run's latest ones were. Pure, and a function of what is saved.

`tests/trainer/test_steadiness.py`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

WINDOW = 64
"""Gradients that are remembered."""
FEWEST = 16
"""Of fewer, nothing can be said."""
LEAP = math.log(10)
"""Ten times the middle one, at least."""
SPREADS = 10.0
"""And so many times as far from it, in logarithms, as the middle one of the distances from it."""


def longest_norm(latest: Sequence[float], max_grad_norm: float) -> float:
    """The longest gradient that is still learned from; one that need not even be cut is never too long."""
    if len(latest) < FEWEST:
        return math.inf
    logs = [math.log(max(norm, math.ulp(0.0))) for norm in latest]
    middle = statistics.median(logs)
    spread = statistics.median(abs(value - middle) for value in logs)
    return max(max_grad_norm, math.exp(middle + max(LEAP, SPREADS * spread)))


def what_is_wrong(loss: float, grad_norm: float, longest: float) -> str:
    """Why a step was not learned from, in words."""
    if not math.isfinite(loss) or not math.isfinite(grad_norm):
        return "its loss or gradient is not finite"
    return f"its gradient leapt to a length of {grad_norm:.3g}, and {longest:.3g} is the longest that could be expected"
