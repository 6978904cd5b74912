"""Which device MLX computes on: Metal, CUDA or the CPU, chosen by what is there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from catalog.base import blas

blas.preload()

import mlx.core as mx  # noqa: E402


@dataclass(frozen=True, slots=True)
class Device:
    """The device, a name for people and its memory in bytes."""

    kind: Literal["metal", "cuda", "cpu"]
    name: str
    memory_bytes: int


def current() -> Device:
    """The device that MLX's default stream uses here."""
    total_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if mx.default_device() == mx.Device(mx.cpu, 0):
        return Device("cpu", f"CPU with {blas.preload().name}", total_bytes)
    facts = mx.device_info()
    memory_bytes = int(facts.get("memory_size", total_bytes))
    name = str(facts.get("device_name", "GPU"))
    return Device("metal" if mx.metal.is_available() else "cuda", name, memory_bytes)
