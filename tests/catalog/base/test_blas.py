"""OpenBLAS gets as many threads as a base is worth, and never more than whoever started the process gave it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from catalog.base import blas

SUITED = "\n".join(
    (
        "from catalog.base import blas",
        "print(blas.threads(), end=' ')",
        "for parameters in (2_100_000, 27_000_000): blas.suit(parameters); print(blas.threads(), end=' ')",
    )
)
"""Prints the threads at first, for a small base, and for another."""
ON_ONE_PROCESSOR = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"


def suited(script: str, **more: str) -> list[int]:
    if not blas.threads():
        pytest.skip("no OpenBLAS here")
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | more, capture_output=True, text=True, check=True, timeout=60
    )
    return [int(count) for count in done.stdout.split()]


def test_a_small_base_has_one_thread_and_another_all() -> None:
    first, small, other = suited(SUITED)
    assert (small, other) == (1, first)


def test_a_base_has_no_more_threads_than_the_process_was_given() -> None:
    assert suited(SUITED, OPENBLAS_NUM_THREADS="1") == [1, 1, 1]
    assert suited(ON_ONE_PROCESSOR + SUITED) == [1, 1, 1]
