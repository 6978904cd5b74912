"""When a process that ended is started again: a plain function of how its earlier lives ended.

Quick deaths in a row wait twice as long each time, and too many of them mean that another try would not help.
Knows no process and no clock. `tests/deploy/test_restarts.py` tries it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

QUICK_S = 30.0
"""A life shorter than this is a failure to start."""
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
MOST_QUICK_DEATHS = 8
"""About a minute of trying."""
HOPELESS_CODES = frozenset({os.EX_USAGE, os.EX_CONFIG})
"""Exit codes that say that the same command will fail again."""


@dataclass(frozen=True, slots=True)
class Life:
    """One run of a process, on the monotonic clock; a negative `exit_code` is the signal that ended it."""

    started_s: float
    ended_s: float
    exit_code: int

    @property
    def was_quick(self) -> bool:
        return self.ended_s - self.started_s < QUICK_S


@dataclass(frozen=True, slots=True)
class Restart:
    """Start again after `delay_s`."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not start again, because of `reason`."""

    reason: str


def next_restart(lives: Sequence[Life]) -> Restart | GiveUp:
    """What to do after the last of `lives` ended; at least one."""
    if lives[-1].exit_code in HOPELESS_CODES:
        return GiveUp("it would fail again")
    quick_deaths = 0
    for life in reversed(lives):
        if not life.was_quick:
            break
        quick_deaths += 1
    if quick_deaths >= MOST_QUICK_DEATHS:
        return GiveUp(f"it ended {quick_deaths} times within {QUICK_S:.0f} s of its start")
    return Restart(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** max(0, quick_deaths - 1)))
