"""Which rows are learned from and which only measured on: decided by content and seed.

A row is held out by the hash of its own content and the seed, so adding rows never moves others, and equal rows are
on one side. `tests/catalog/test_datasets.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from catalog.datasets.conversation import Example

HELD_OUT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to learn from and rows only to be measured on."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]


def split(rows: Iterable[Example], seed: int) -> Split:
    """Hold out about a tenth, at least one row when there are two that differ."""
    ranked = [(rank(row, seed), row) for row in rows]
    cut = held_out_ranks(place for place, _ in ranked)
    return Split(
        tuple(row for place, row in ranked if place not in cut),
        tuple(row for place, row in ranked if place in cut),
    )


def rank(row: Example, seed: int) -> float:
    """Uniform in [0, 1), a function of content and seed."""
    digest = hashlib.sha256(seed.to_bytes(8, "big") + row.canonical()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)


def held_out_ranks(ranks: Iterable[float]) -> frozenset[float]:
    """The ranks that are held out; both sides have one when there are two."""
    ordered = sorted(set(ranks))
    cut = sum(place < HELD_OUT_SHARE for place in ordered)
    return frozenset(ordered[: min(max(cut, 1), len(ordered) - 1)])
