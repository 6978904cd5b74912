"""OpenBLAS gets as many threads as a base is worth."""

from __future__ import annotations

import os

import pytest

from catalog.base import blas


@pytest.mark.parametrize(("parameters", "threads"), [(2_100_000, 1), (27_000_000, os.cpu_count())])
def test_a_small_base_has_one_thread_and_another_all(parameters: int, threads: int) -> None:
    before = blas.threads()
    if not before:
        pytest.skip("no OpenBLAS here")
    try:
        blas.suit(parameters)
        assert blas.threads() == threads
    finally:
        blas.limit_threads(before)
