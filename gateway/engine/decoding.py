"""Rows that are decoded together, a token of each a step.

The next step is under way before the tokens of the last one are read, so that text is made and told while it is
computed. The steps are those of mlx-lm's batch generator (`tests/gateway/engine/test_identity.py`) without its Python
and its operations for each row. Belongs to the engine's thread.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from catalog.base import blas
from gateway.engine.company import Company
from gateway.engine.prefill import Through
from gateway.engine.rows import Row
from gateway.engine.slots import SlotModel

blas.preload()

import mlx.core as mx  # noqa: E402


@dataclass(frozen=True, slots=True)
class Drawn:
    """A row's next token, and the logprobs [V] it was drawn by if the row wants them."""

    row: Row
    token: int
    logprobs: npt.NDArray[np.float32] | None


class Decoding:
    """Rows whose prompts were read; the next token of each is under way."""

    def __init__(self, model: SlotModel, through: Through) -> None:
        self.rows = through.rows
        self._model = model
        self._caches = through.caches
        self._company = Company(self.rows)
        self._next: mx.array
        self._logprobs: mx.array | None
        last = mx.array([row.tokens[-1] for row in self.rows], dtype=mx.uint32)
        self._next, self._logprobs = self._company.draw(through.logits, last)

    def step(self) -> list[Drawn]:
        """Tokens of all rows; what follows them is under way unless every row ends with these."""
        tokens, logprobs = self._next, self._logprobs
        if not all(row.is_at_its_last for row in self.rows):
            self._launch(tokens)
        mx.eval(tokens)  # waits without holding the interpreter
        drawn = []
        for place, (row, token) in enumerate(zip(self.rows, np.array(tokens).tolist(), strict=True)):
            if self._next is not tokens:
                row.tokens.append(token)
            wanted = logprobs is not None and row.generation.top_logprobs is not None
            drawn.append(Drawn(row, token, np.array(logprobs[place]) if wanted and logprobs is not None else None))
        return drawn

    def extend(self, other: Decoding) -> None:
        """Let the other's rows in."""
        self._caches.extend(other._caches)
        self._next = mx.concatenate([self._next, other._next])
        self._logprobs = self._both_logprobs(other)
        self._seat(self.rows + other.rows)

    def leave(self, gone: Collection[Row]) -> None:
        """Take rows out; at least one must stay."""
        keep = [place for place, row in enumerate(self.rows) if row not in gone]
        assert keep
        self._caches.filter(keep)
        self._next = self._next[mx.array(keep)]
        self._logprobs = None if self._logprobs is None else self._logprobs[mx.array(keep)]
        self._seat([self.rows[place] for place in keep])

    def extract(self, row: Row) -> list[Any]:
        """A row's own caches, which hold `row.tokens`."""
        return self._caches.extract(self.rows.index(row))

    def _launch(self, inputs: mx.array) -> None:
        logits = self._model(inputs[:, None], self._caches.layers, self._company.route)[:, -1, :]
        self._next, self._logprobs = self._company.draw(logits, inputs)

    def _seat(self, rows: list[Row]) -> None:
        self.rows = rows
        self._company = Company(rows)

    def _both_logprobs(self, other: Decoding) -> mx.array | None:
        """Logprobs of all rows, when some have them; those that want none never look at theirs."""
        halves = [(self._logprobs, len(self.rows)), (other._logprobs, len(other.rows))]
        known = next((half for half, _ in halves if half is not None), None)
        if known is None:
            return None
        return mx.concatenate(
            [mx.zeros((rows, known.shape[-1]), known.dtype) if half is None else half for half, rows in halves]
        )
