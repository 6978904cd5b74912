"""How long a run still takes, from its own latest steps and what came between them. Pure: the clock is passed in.

`tests/trainer/test_remaining.py`.
"""

from __future__ import annotations

from collections import deque

WINDOW = 32
"""Steps that tell the pace; evaluations and saves among them count too."""


class Remaining:
    """The pace of the latest steps, in seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._ends: deque[float] = deque(maxlen=WINDOW + 1)

    def passed(self, began_s: float, ended_s: float) -> None:
        """A step was taken."""
        if not self._ends:
            self._ends.append(began_s)
        self._ends.append(ended_s)

    def seconds(self, steps_left: int) -> float | None:
        """Until the last step; None before the first."""
        if len(self._ends) < 2:
            return None
        return steps_left * (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
