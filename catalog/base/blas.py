"""Makes MLX's CPU build use a fast BLAS where there is one.

The Linux wheel links reference BLAS (4 GFLOP/s measured); with OpenBLAS's symbols in the global scope before
`mlx.core` is loaded the same calls reach about 165. On macOS MLX uses Accelerate and nothing is done.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache

WORTH_SHARING_PARAMETERS = 10_000_000

_LIBRARIES = ("libopenblas.so.0", "libopenblas.so")


@dataclass(frozen=True, slots=True)
class Blas:
    """Which BLAS will serve matrix products on the CPU, and what to do for a faster one."""

    name: str
    fast: bool
    hint: str = ""


@cache
def preload() -> Blas:
    """Load the fastest BLAS there is into the global scope; call before `import mlx.core`. Idempotent, never fails."""
    if sys.platform == "darwin":
        return Blas("Accelerate", fast=True)
    if _openblas() is not None:
        return Blas("OpenBLAS", fast=True)
    return Blas(
        "reference BLAS", fast=False, hint="`apt-get install libopenblas0-pthread` makes it about 30 times faster"
    )


def suit(parameters: int) -> None:
    """Let OpenBLAS use one thread for a small base, and for others all that it was given when it was loaded.

    The matrices of a small base are not worth sharing: a training step of ragweld-nano takes 46 ms with one thread and
    42 ms with two, but 46 ms of processor time against 83, and 8 streams of it 1,031 tokens/s with one, 874 with two.
    A base of 27 M parameters is trained 1.36 times as fast with two.
    """
    if (openblas := _openblas()) is not None:
        limit_threads(1 if parameters < WORTH_SHARING_PARAMETERS else openblas.all_threads)


def limit_threads(count: int) -> None:
    """Let OpenBLAS use at most `count` threads in this process from now on; where it is not there, nothing changes."""
    if (openblas := _openblas()) is not None:
        openblas.library.openblas_set_num_threads(count)
        threads.cache_clear()


def all_threads() -> int:
    """How many threads OpenBLAS was given when it was loaded; 0 where it is not there."""
    openblas = _openblas()
    return openblas.all_threads if openblas is not None else 0


@cache
def threads() -> int:
    """How many threads OpenBLAS may use now; 0 where it is not there."""
    openblas = _openblas()
    return int(openblas.library.openblas_get_num_threads()) if openblas is not None else 0


@dataclass(frozen=True, slots=True)
class _OpenBlas:
    library: ctypes.CDLL
    all_threads: int
    """By the processors this process may use, `OPENBLAS_NUM_THREADS`, and what it was built for."""


@cache
def _openblas() -> _OpenBlas | None:
    for name in () if sys.platform == "darwin" else _LIBRARIES:
        try:
            library = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return _OpenBlas(library, int(library.openblas_get_num_threads()))
    return None
