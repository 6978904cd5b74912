"""What belongs to a point of the path beside its place. Knows nothing of files."""

from __future__ import annotations

import math
from dataclasses import dataclass

from catalog.pictures import PathPoint
from trainer.exporter import RunSnapshot


@dataclass(frozen=True, slots=True)
class Mark:
    """A step and what was measured there; NaN is not known."""

    step: int
    loss: float
    probe_loss: float
    lr: float

    @classmethod
    def of(cls, reading: RunSnapshot) -> Mark:
        return cls(reading.step, _or_nan(reading.loss), _or_nan(reading.probe_loss), _or_nan(reading.lr))

    def at(self, x: float, y: float, off_plane: float) -> PathPoint:
        """The point of a path, on a plane."""
        return PathPoint(
            step=self.step,
            x=x,
            y=y,
            off_plane=off_plane,
            loss=known(self.loss),
            probe_loss=known(self.probe_loss),
            lr=known(self.lr),
        )


def known(value: float) -> float | None:
    """The value, or None for what JSON cannot say."""
    return value if math.isfinite(value) else None


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
