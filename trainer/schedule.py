"""The learning rate as a pure function of the step: linear warm-up, then down a cosine, down a line, or constant.

The first and the last step both learn: neither rate is zero. `tests/trainer/test_schedule.py`.
"""

from __future__ import annotations

import math

from catalog.settings import LrSchedule


def warmup_steps(total_steps: int, warmup_ratio: float) -> int:
    """Steps in which the rate rises."""
    return round(total_steps * warmup_ratio)


def learning_rate(
    step: int, *, total_steps: int, peak: float, warmup_ratio: float, schedule: LrSchedule = "cosine"
) -> float:
    """Rate of `step`, counted from 1 to `total_steps`."""
    rising = warmup_steps(total_steps, warmup_ratio)
    if step <= rising:
        return peak * step / rising
    fallen = (step - rising) / (total_steps - rising + 1)
    match schedule:
        case "cosine":
            return peak * 0.5 * (1 + math.cos(math.pi * fallen))
        case "linear":
            return peak * (1 - fallen)
        case "constant":
            return peak
