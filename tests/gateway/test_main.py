"""What a gateway takes along when it starts."""

from __future__ import annotations

import subprocess
import sys

from tests.house import REPOSITORY

HEAVY = ("mlx", "mlx_lm", "transformers", "torch", "llguidance", "numpy")


def test_a_gateway_before_upstreams_alone_loads_neither_mlx_nor_numpy() -> None:
    code = f"""
import sys
import gateway.main
loaded = [name for name in {HEAVY!r} if name in sys.modules]
sys.exit(f"imported {{loaded}}" if loaded else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)
