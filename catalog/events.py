"""What happened in a run, one JSON object a line of `metrics.jsonl`.

Valid JSON always: a non-finite number is written as null. A line is appended by one write, so a reader never sees
half of one that it would have to believe; the byte offset after a line is its id, which is what a stream resumes from.
A file is read from either end, and no further than somebody asks.
`tests/catalog/test_events.py`.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator

from catalog import files

BLOCK_BYTES = 64 << 10

EventType = Literal["log", "progress", "metrics", "state", "error", "complete", "telemetry"]


class Event(BaseModel):
    """One line. Fields that do not apply are absent."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    type: EventType
    ts: str
    """UTC, ISO 8601."""
    run_id: str
    step: int | None = None
    """Optimizer steps done."""
    epoch: float | None = None
    message: str | None = None
    percent: float | None = None
    status: str | None = None
    """Of a `state` event: the run's status, or `stalled` or `resumed` (with the step after which it goes on), or of its
    picture `plane_frozen`, `plane_refit` or `surface_measured`."""
    metrics: dict[str, float | None] | None = None
    """`train_loss` and `eval_loss`, mean over supervised tokens, in nats."""
    proj_x: float | None = None
    """First coordinate of the displacement in the run's plane."""
    proj_y: float | None = None
    proj_off_plane: float | None = None
    """Distance of the true point from that plane."""
    proj_share: float | None = None
    """Share of the squared displacement that the plane holds."""
    proj_digest: str | None = None
    """Identifies the plane; only points with equal digests may be drawn together."""
    loss: float | None = None
    probe_loss: float | None = None
    """Loss on the run's fixed probe batch at this point."""
    lr: float | None = None
    """The scheduler's value at this step."""
    grad_norm: float | None = None
    param_norm: float | None = None
    update_norm: float | None = None
    """Norm of the measured change of the trainable parameters in this step."""
    step_time_ms: float | None = None
    tokens_per_s: float | None = None
    """Supervised and context tokens per second."""
    sample_count: int | None = None
    """Rows seen so far."""
    eta_s: float | None = None
    """Of a `progress` event: seconds until the last step, at the pace of the latest ones."""
    memory_active_bytes: int | None = None
    """MLX memory in use after the step."""
    memory_peak_bytes: int | None = None
    """MLX memory at its peak in this life of the run."""
    resident_bytes: int | None = None
    """Memory of the trainer's process in RAM."""

    @field_validator("*", mode="before")
    @classmethod
    def _finite_or_null(cls, value: object) -> object:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, dict):
            return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in value.items()}
        return value

    def to_line(self) -> bytes:
        return self.model_dump_json(exclude_none=True).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class StoredLine:
    """A whole line and the byte offset just after it."""

    end_offset: int
    line: bytes


def append(path: Path, event: Event) -> None:
    """Append one event whole, or raise OSError and leave none of it."""
    files.append_line(path, event.to_line())


def read_lines(path: Path, after_offset: int = 0) -> Iterator[StoredLine]:
    """Whole lines stored after `after_offset`, oldest first; an unfinished last line is left for the next call."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(after_offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            after_offset += len(line)
            yield StoredLine(after_offset, line.rstrip(b"\n"))


def read_lines_back(
    path: Path, before_offset: int | None = None, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[StoredLine]:
    """Whole lines that end at `before_offset` or before it, newest first; an unfinished last line is passed over."""
    if not path.exists():
        return
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = end = size if before_offset is None else min(before_offset, size)
        held = b""
        while start:
            taken = min(block_bytes, start)
            start = file.seek(start - taken)
            first, *lines = (file.read(taken) + held).split(b"\n")
            if not lines:
                held = first
                continue
            end -= len(lines.pop())
            for line in reversed(lines):
                yield StoredLine(end, line)
                end -= len(line) + 1
            held = first + b"\n"
        if held.endswith(b"\n"):
            yield StoredLine(end, held[:-1])


def read_latest(path: Path, count: int) -> list[Event]:
    """The last `count` events of a run, oldest first; what came before them is not read."""
    latest = [Event.model_validate_json(stored.line) for stored in itertools.islice(read_lines_back(path), count)]
    return latest[::-1]


def read_events(path: Path) -> list[Event]:
    """All events of a run."""
    return [Event.model_validate_json(stored.line) for stored in read_lines(path)]
