"""Makes MLX's CPU build use a fast BLAS where there is one.

The Linux wheel links reference BLAS (4 GFLOP/s measured); with OpenBLAS's symbols in the global scope before
`mlx.core` is loaded the same calls reach about 165. On macOS MLX uses Accelerate and nothing is done.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache

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
    for library in _LIBRARIES:
        try:
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return Blas("OpenBLAS", fast=True)
    return Blas(
        "reference BLAS", fast=False, hint="`apt-get install libopenblas0-pthread` makes it about 30 times faster"
    )
