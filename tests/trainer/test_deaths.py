"""A death of memory is told from a kill by hand by what was noted before it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainer.deaths import kills_for_memory, trying, was_of_memory

DIES = """
import os, signal, sys
from pathlib import Path
from trainer.deaths import trying
with trying(Path(sys.argv[1]), lambda: 3):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def die_while_trying(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", DIES, str(folder)], check=False, timeout=60)


def test_a_death_elsewhere_was_not_of_memory(tmp_path: Path) -> None:
    assert not was_of_memory(tmp_path, lambda: 3)
    for _ in range(5):
        with trying(tmp_path, lambda: 3):
            pass
        assert not was_of_memory(tmp_path, lambda: 3)


def test_two_deaths_while_trying_were_of_memory_and_one_may_have_been_a_kill(tmp_path: Path) -> None:
    die_while_trying(tmp_path)
    assert not was_of_memory(tmp_path, lambda: 3)
    die_while_trying(tmp_path)
    assert was_of_memory(tmp_path, lambda: 3)
    with trying(tmp_path, lambda: 3):
        pass
    assert not was_of_memory(tmp_path, lambda: 3)


def test_one_death_is_enough_when_the_kernel_says_that_it_killed(tmp_path: Path) -> None:
    with trying(tmp_path, lambda: 3):
        pass
    assert was_of_memory(tmp_path, lambda: 4)


def test_a_refusal_is_no_death(tmp_path: Path) -> None:
    for _ in range(3):
        with pytest.raises(ValueError, match="too large"), trying(tmp_path):
            raise ValueError("too large")
    assert not was_of_memory(tmp_path)


def test_the_kernels_count_is_read_where_there_is_one(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    assert kills_for_memory(vmstat) == 0
    vmstat.write_text("nr_free_pages 5\noom_kill 7\n")
    assert kills_for_memory(vmstat) == 7
    assert kills_for_memory() >= 0
