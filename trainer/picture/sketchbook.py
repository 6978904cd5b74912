"""Every telemetry point's sketch, on disk as the run goes: 4 KB a point, appended by one write.

A run that goes on from a checkpoint finds the points of its earlier life, without those after that checkpoint, which
it takes again. A record that a dying machine tore ends the book. `tests/trainer/picture/test_sketchbook.py`.
"""

from __future__ import annotations

import struct
from dataclasses import astuple
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalog import files
from trainer.picture.marks import Mark
from trainer.projection import SKETCH_SIZE, Vector

HEAD = struct.Struct("<qddd")
RECORD_BYTES = HEAD.size + 4 * SKETCH_SIZE


class Sketchbook:
    """The marks and sketches of one run, oldest first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.marks: list[Mark] = []
        self._sketches: list[NDArray[np.float32]] = []

    def open(self, through_step: int) -> None:
        """Take up what was drawn until a step, and forget the rest."""
        content = self._path.read_bytes() if self._path.exists() else b""
        for begin in range(0, len(content) - RECORD_BYTES + 1, RECORD_BYTES):
            mark = Mark(*HEAD.unpack_from(content, begin))
            if mark.step > through_step:
                break
            self.marks.append(mark)
            self._sketches.append(np.frombuffer(content, "<f4", SKETCH_SIZE, begin + HEAD.size))
        if content:
            files.truncate(self._path, len(self.marks) * RECORD_BYTES)

    def add(self, mark: Mark, sketch: Vector) -> None:
        """Draw one point. Raises OSError; then the book has it in memory alone."""
        numbers = sketch.astype("<f4")
        self.marks.append(mark)
        self._sketches.append(numbers)
        files.append(self._path, HEAD.pack(*astuple(mark)) + numbers.tobytes())

    def points(self, indices: list[int]) -> Vector:
        """The sketches of some points, a row each."""
        return np.stack([self._sketches[index] for index in indices]).astype(np.float64)
