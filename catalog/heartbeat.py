"""A sign of life: the monotonic second of the last beat, in a file that its writer overwrites in place.

The monotonic clock is one for all processes since boot, so a wall clock that jumps makes nobody look dead; and
overwriting needs no room on a full disk. `tests/catalog/test_runs.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

WIDTH = 20


def beat(path: Path, now_s: float) -> None:
    """Write the beat; the same number of bytes each time, so a reader finds the old one or the new one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.pwrite(descriptor, f"{now_s:{WIDTH}.3f}".encode(), 0)
    finally:
        os.close(descriptor)


def age_s(path: Path, now_s: float) -> float | None:
    """Seconds since the last beat; None when there was none."""
    try:
        return max(0.0, now_s - float(path.read_bytes()))
    except (FileNotFoundError, ValueError):
        return None
