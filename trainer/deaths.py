"""What a trainer died of, found out by the next one: memory running out kills a process and leaves no exception.

Before a run tries on its largest gradient it notes so in its folder, with how often the kernel has killed for memory,
and afterwards that it came through. A trainer that died while the kernel killed, or twice while it tried, died of
memory. `tests/trainer/test_deaths.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from catalog import files

NOTE = "memory.json"
VMSTAT = Path("/proc/vmstat")
MOST_TRIALS = 2
"""One death while trying may have been a kill by hand."""


@dataclass(frozen=True, slots=True)
class Note:
    """How often a run has begun to try on its largest gradient without coming through, and the kernel's count then."""

    trials: int = 0
    kills: int = 0


def kills_for_memory(vmstat: Path = VMSTAT) -> int:
    """How many processes the kernel has killed since boot to get memory; 0 where it does not tell."""
    if not vmstat.exists():
        return 0
    counts = dict(line.split() for line in vmstat.read_text().splitlines())
    return int(counts.get("oom_kill", 0))


@contextmanager
def trying(folder: Path, kills: Callable[[], int] = kills_for_memory) -> Iterator[None]:
    """Note that the run in `folder` tries on its largest gradient, and at the end that it came through."""
    begun = Note(_read(folder).trials + 1, kills())
    _write(folder, begun)
    try:
        yield
    finally:
        _write(folder, Note(0, begun.kills))


def was_of_memory(folder: Path, kills: Callable[[], int] = kills_for_memory) -> bool:
    """Whether the trainer that lost the run in `folder` died of memory."""
    note = _read(folder)
    return note.trials >= MOST_TRIALS or ((folder / NOTE).exists() and kills() > note.kills)


def _read(folder: Path) -> Note:
    path = folder / NOTE
    return Note(**json.loads(path.read_bytes())) if path.exists() else Note()


def _write(folder: Path, note: Note) -> None:
    files.write_bytes(folder / NOTE, json.dumps(asdict(note)).encode())
