"""Which device MLX computes on (Metal, CUDA or the CPU, chosen by what is there) and how much memory there is.

`tests/catalog/base/test_device.py`.
"""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from catalog.base import blas

blas.preload()

import mlx.core as mx  # noqa: E402

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MEMINFO, STATM, CGROUP = Path("/proc/meminfo"), Path("/proc/self/statm"), Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Device:
    """The device, a name for people and its memory in bytes."""

    kind: Literal["metal", "cuda", "cpu"]
    name: str
    memory_bytes: int


def current() -> Device:
    """The device that MLX's default stream uses here."""
    total_bytes = os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES
    if mx.default_device() == mx.Device(mx.cpu, 0):
        return Device("cpu", f"CPU with {blas.preload().name}", total_bytes)
    facts = mx.device_info()
    memory_bytes = int(facts.get("memory_size", total_bytes))
    name = str(facts.get("device_name", "GPU"))
    return Device("metal" if mx.metal.is_available() else "cuda", name, memory_bytes)


def free_bytes() -> int:
    """Memory that this process may still take: what the device has left, within the limits set to the process."""
    device = current()
    if device.kind == "metal":
        return int(mx.device_info()["max_recommended_working_set_size"]) - int(mx.get_active_memory())
    if device.kind == "cuda":
        return device.memory_bytes - int(mx.get_active_memory())
    bounds = (_left_on_linux(MEMINFO), _left_in_cgroup(CGROUP), _left_of_address_space())
    return min((bound for bound in bounds if bound is not None), default=device.memory_bytes)


def processors() -> int:
    """Processors that this process may use, within the time that its container has of them and the threads that
    `OPENBLAS_NUM_THREADS` gives it."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, _share_of_cgroup(CGROUP) or allowed, blas.all_threads() or allowed)


def resident_bytes() -> int:
    """Memory of this process that is in RAM; where that is not told, the most that ever was."""
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * PAGE_BYTES
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _left_on_linux(meminfo: Path) -> int | None:
    if not meminfo.exists():
        return None
    sizes = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    return int(sizes["MemAvailable"].split()[0]) * 1024


def _left_in_cgroup(folder: Path) -> int | None:
    """What a container may still take; None outside of one, or where it has no limit."""
    most, taken = folder / "memory.max", folder / "memory.current"
    if not (most.exists() and taken.exists()) or most.read_text().strip() == "max":
        return None
    return int(most.read_text()) - int(taken.read_text())


def _share_of_cgroup(folder: Path) -> int | None:
    """Whole processors whose time a container has, one at least; None outside of one, or where it has no limit."""
    share = folder / "cpu.max"
    if not share.exists() or (words := share.read_text().split())[0] == "max":
        return None
    return max(1, int(words[0]) // int(words[1]))


def _left_of_address_space() -> int | None:
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY or not STATM.exists():
        return None
    return most - int(STATM.read_text().split()[0]) * PAGE_BYTES
