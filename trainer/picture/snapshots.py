"""All trainable numbers at some steps of a run, in 16 bits, from which planes in parameter space are made.

A snapshot holds the displacement from the start over its largest number, as float16: 2 bytes a number, errors below a
thousandth. How many a run keeps is known before it begins, from a bound in bytes.
`tests/trainer/picture/test_snapshots.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from catalog import files
from catalog.base import blas
from trainer.learner import number
from trainer.picture.marks import Mark
from trainer.picture.plane import Vector

blas.preload()

import mlx.core as mx  # noqa: E402

MOST = 64
"""A path of so many points is a line to the eye."""
FEWEST = 3
"""Fewer say nothing of a plane."""
BYTES_PER_NUMBER = 2
CHUNK = 1 << 17
TENSOR = "displacement"


def spacing(points: int, numbers: int, budget_bytes: int) -> int | None:
    """A snapshot is kept at every how manieth telemetry point; None when the bound is too small for a picture."""
    most = min(MOST, budget_bytes // (BYTES_PER_NUMBER * numbers))
    return max(1, math.ceil(points / most)) if most >= FEWEST else None


def write(folder: Path, mark: Mark, displacement: mx.array) -> None:
    """Keep one snapshot, whole or not at all. Raises OSError."""
    largest = number(mx.max(mx.abs(displacement)))
    scale = largest if math.isfinite(largest) and largest > 0 else 1.0
    numbers = np.array((displacement / scale).astype(mx.float16))
    about = {name: repr(value) for name, value in asdict(mark).items()} | {"scale": repr(scale)}
    files.write_bytes(_path(folder, mark.step), save({TENSOR: numbers}, about), fsync=files.no_fsync)


def forget_after(folder: Path, step: int) -> None:
    """Remove the snapshots of steps that are taken again."""
    for path in folder.glob("step_*.safetensors"):
        if _step_of(path) > step:
            path.unlink()


def _path(folder: Path, step: int) -> Path:
    return folder / f"step_{step:07}.safetensors"


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step_"))


@dataclass(frozen=True, slots=True)
class _Snapshot:
    mark: Mark
    scale: float
    path: Path
    numbers: int


class Gallery:
    """The readable snapshots of a run, oldest first; `steps` restricts them, and all of those must be readable."""

    def __init__(self, folder: Path, steps: list[int] | None = None) -> None:
        paths = sorted(folder.glob("step_*.safetensors"), key=_step_of)
        found = [_look(path) for path in paths if steps is None or _step_of(path) in steps]
        self._snapshots = [snapshot for snapshot in found if snapshot is not None]

    @property
    def marks(self) -> list[Mark]:
        return [snapshot.mark for snapshot in self._snapshots]

    @property
    def steps(self) -> list[int]:
        return [snapshot.mark.step for snapshot in self._snapshots]

    def gram(self) -> Vector:
        """Inner products of all displacements."""
        total = np.zeros((len(self._snapshots),) * 2)
        for block in self._blocks():
            total += block @ block.T
        return total

    def combine(self, weights_KN: Vector) -> list[mx.array]:
        """Weighted sums of the displacements, float32."""
        parts = [(weights_KN @ block).astype(np.float32) for block in self._blocks()]
        return [mx.array(row) for row in np.concatenate(parts, axis=1)]

    def _blocks(self) -> Iterator[Vector]:
        """All displacements, some columns at a time, so that memory holds a part of them only. In 64 bits, since a run
        that diverges goes far."""
        with ExitStack() as stack:
            slices: list[tuple[Any, float]] = []
            for snapshot in self._snapshots:
                file = stack.enter_context(safe_open(snapshot.path, "np"))
                slices.append((file.get_slice(TENSOR), snapshot.scale))
            size = self._snapshots[0].numbers if self._snapshots else 0
            for begin in range(0, size, CHUNK):
                end = min(begin + CHUNK, size)
                yield np.stack([scale * part[begin:end].astype(np.float64) for part, scale in slices])


def _look(path: Path) -> _Snapshot | None:
    """None for a file that a dying machine tore."""
    try:
        with safe_open(path, "np") as file:
            about = dict(file.metadata())
            size = file.get_slice(TENSOR).get_shape()[0]
    except (OSError, SafetensorError):
        return None
    scale = float(about.pop("scale"))
    mark = Mark(int(about["step"]), *(float(about[name]) for name in ("loss", "probe_loss", "lr")))
    return _Snapshot(mark, scale, path, size)
