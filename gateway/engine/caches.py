"""The layers' caches of rows that are computed together, whatever kind of cache a model has.

A row alone keeps its own caches, as mlx-lm makes them; rows together have merged ones. Whoever holds caches knows which
of the two they are. MLX assigns to array objects in place, so caches that are kept never share them with those in use.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from catalog.base import blas

blas.preload()

import mlx.core as mx  # noqa: E402


@dataclass(slots=True)
class Caches:
    """One cache for each layer, of one row or of several merged."""

    layers: list[Any]
    merged: bool = False

    @classmethod
    def together(cls, rows: Sequence[list[Any]]) -> Caches:
        """The caches of these rows side by side; one row's stay its own."""
        if len(rows) == 1:
            return cls(rows[0])
        return cls([layer[0].merge(layer) for layer in map(list, zip(*rows, strict=True))], merged=True)

    def extend(self, other: Caches) -> None:
        """Let the other's rows in, behind these."""
        self._merge()
        other._merge()
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            mine.extend(theirs)

    def filter(self, keep: list[int]) -> None:
        """Keep these rows only."""
        if self.merged:
            for layer in self.layers:
                layer.filter(keep)

    def only(self, keep: list[int]) -> Caches:
        """These rows' caches, apart from the others'."""
        apart = Caches([sharing(layer) for layer in self.layers], self.merged)
        apart.filter(keep)
        return apart

    def extract(self, row: int) -> list[Any]:
        """One row's own caches, holding nothing of the others' and nothing spare."""
        self._merge()
        return [layer.extract(row) for layer in self.layers]

    def evaluate(self) -> None:
        mx.eval([layer.state for layer in self.layers])

    def _merge(self) -> None:
        if not self.merged:
            self.layers, self.merged = [layer.merge([layer]) for layer in self.layers], True


def sharing(layer: Any) -> Any:
    """A cache over the same numbers; writing into it changes nothing in the first."""
    other = copy.copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, mx.array):
            setattr(other, name, value[...])
    return other
