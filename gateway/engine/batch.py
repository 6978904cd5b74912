"""The rows of one base on their way: they wait for a place, read their prompts together, and are decoded together.

Says nothing about what a token means: whoever calls `decode` decides who has ended and takes them out with `leave`.
Belongs to the engine's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Any

from catalog.base import blas
from gateway.engine.decoding import Decoding, Drawn
from gateway.engine.prefill import Prefill
from gateway.engine.rows import Row
from gateway.engine.slots import SlotModel

blas.preload()

import mlx.core as mx  # noqa: E402

PREFILL_ROWS = 4
"""Prompts that are read together at least. More are, within `Prefill.most_tokens`: half of those that wait, so that
half of 8 that come at once are answered sooner (the median first token comes after 55 ms in place of 74 on nano, 636 in
place of 788 at 100 M), or as many as are decoded, for each reading holds all of these up once."""
CLEAR_EVERY_STEPS = 512


class Batch:
    """Up to `max_rows` rows that are decoded together, those that will be, and those that wait for a place."""

    def __init__(self, model: SlotModel, max_rows: int, prefill_step_tokens: int) -> None:
        self._model = model
        self._max_rows = max_rows
        self._waiting: deque[Row] = deque()
        self._prefill = Prefill(model, prefill_step_tokens)
        self._decoding: Decoding | None = None
        self._steps = 0

    def add(self, row: Row) -> None:
        """Let a row in, with its own caches; it begins as soon as there is a place."""
        if not row.unread:
            raise ValueError("an empty prompt cannot be answered")
        self._waiting.append(row)

    def decode(self) -> list[Drawn]:
        """One token of every row whose prompt was read."""
        if self._decoding is None:
            return []
        self._steps += 1
        if self._steps % CLEAR_EVERY_STEPS == 0:
            mx.clear_cache()
        return self._decoding.step()

    def read(self) -> list[Row]:
        """Let waiting rows in where there is room, and read one chunk of those that have not begun to answer: these."""
        if joining := self._joining():
            self._prefill.join(joining)
        reading = list(self._prefill.rows)
        if (through := self._prefill.step()) is None:
            return reading
        begun = Decoding(self._model, through)
        if self._decoding is None:
            self._decoding = begun
        else:
            self._decoding.extend(begun)
        return reading

    def _joining(self) -> list[Row]:
        """Take those out of the queue that begin to read now."""
        decoded, reading = len(self._decoding.rows) if self._decoding else 0, len(self._prefill.rows)
        together = max(PREFILL_ROWS, len(self._waiting) // 2, decoded)
        room = min(together, self._max_rows - decoded) - reading
        tokens = self._prefill.least_tokens(self._prefill.rows)
        joining: list[Row] = []
        while self._waiting and len(joining) < room:
            tokens += self._prefill.least_tokens([self._waiting[0]])
            if tokens > self._prefill.most_tokens and reading + len(joining) >= PREFILL_ROWS:
                break
            joining.append(self._waiting.popleft())
        return joining

    def leave(self, gone: Collection[Row]) -> None:
        """Take rows out, wherever they are."""
        self._waiting = deque(row for row in self._waiting if row not in gone)
        self._prefill.leave(gone)
        if self._decoding is not None:
            staying = sum(row not in gone for row in self._decoding.rows)
            if staying == 0:
                self._decoding = None
            elif staying < len(self._decoding.rows):
                self._decoding.leave(gone)

    def extract(self, row: Row) -> list[Any]:
        """The caches of a row that is decoded, which hold its `tokens`."""
        assert self._decoding is not None
        return self._decoding.extract(row)
