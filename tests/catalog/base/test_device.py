"""How much memory is left is what the system, the container and the process's own limit allow, the least of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.base import blas, device

GB = 1 << 30


def test_linux_tells_what_is_available(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  24000 kB\nMemFree: 1 kB\nMemAvailable:   12000 kB\nHugePages_Total:       0\n")
    assert device._left_on_linux(meminfo) == 12000 * 1024
    assert device._left_on_linux(tmp_path / "none") is None


def test_a_container_has_what_its_limit_leaves(tmp_path: Path) -> None:
    assert device._left_in_cgroup(tmp_path) is None
    (tmp_path / "memory.current").write_text(f"{GB}\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert device._left_in_cgroup(tmp_path) is None
    (tmp_path / "memory.max").write_text(f"{3 * GB}\n")
    assert device._left_in_cgroup(tmp_path) == 2 * GB


@pytest.mark.parametrize(
    ("share", "whole"), [("max 100000", None), ("250000 100000", 2), ("100000 100000", 1), ("50000 100000", 1)]
)
def test_the_processors_of_a_container_are_those_whose_time_it_has(
    tmp_path: Path, share: str, whole: int | None
) -> None:
    assert device._share_of_cgroup(tmp_path) is None
    (tmp_path / "cpu.max").write_text(f"{share}\n")
    assert device._share_of_cgroup(tmp_path) == whole
    assert 1 <= device.processors() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not blas.all_threads(), reason="OpenBLAS is not there")
def test_who_gives_openblas_one_thread_gives_one_processor() -> None:
    program = "from catalog.base import device; print(device.processors())"
    given = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    told = subprocess.run([sys.executable, "-c", program], env=given, capture_output=True, check=True, timeout=300)
    assert int(told.stdout) == 1


@pytest.mark.skipif(not device.STATM.exists(), reason="this system does not tell a process's size")
def test_a_limit_on_the_process_is_kept() -> None:
    program = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({8 * GB}, {8 * GB}));"
    program += "from catalog.base import device; print(device.free_bytes())"
    limited = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
    assert 0 < int(limited.stdout) < 8 * GB


def test_what_is_free_and_what_is_taken_are_of_this_machine() -> None:
    assert 0 < device.free_bytes() <= device.current().memory_bytes
    assert 10e6 < device.resident_bytes() < device.current().memory_bytes
