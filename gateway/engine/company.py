"""What the rows of one batch ask for, side by side: which adapter, how each draws, and what changes its logits.

Made once for each composition of a batch, so that a step runs no Python for a row that asks for nothing of its own:
slots and biases are one array each for all rows. Only penalties and grammars are followed row by row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from catalog.base import blas
from gateway.engine.rows import Row
from gateway.engine.sampling import Bias, Manner, draw
from gateway.engine.slots import Route, route_of

blas.preload()

import mlx.core as mx  # noqa: E402


class Company:
    """The rows that take part in one step. `route` says by which adapters they are computed."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._draws = [row.draws for row in rows]
        self._manner = Manner.of(self._draws)
        self._bias = Bias.of([draws.sampling for draws in self._draws])
        self._penalised = [(place, row.penalties) for place, row in enumerate(rows) if row.penalties is not None]
        self._held = [(place, row.held_by) for place, row in enumerate(rows) if row.held_by is not None]
        self._wants_logprobs = any(row.generation.top_logprobs is not None for row in rows)
        self.route: Route = route_of([row.slot for row in rows])

    def draw(self, logits: mx.array, inputs: mx.array) -> tuple[mx.array, mx.array | None]:
        """The next token [B] of every row, and logprobs [B, V] when one wants them.

        From logits [B, V] after `inputs` [B]. Its work is under way when it returns.
        """
        logits = self._adjusted(logits, inputs)
        tokens = draw(logits, self._draws, self._manner)
        logprobs = _logprobs(logits.astype(mx.float32)) if self._wants_logprobs else None
        mx.async_eval(tokens, [] if logprobs is None else logprobs)  # type: ignore[no-untyped-call]
        return tokens, logprobs

    def _adjusted(self, logits: mx.array, inputs: mx.array) -> mx.array:
        if self._bias is not None:
            logits = self._bias.added(logits)
        if self._penalised:
            changed = [penalties(inputs[i : i + 1], logits[i : i + 1]) for i, penalties in self._penalised]
            logits[mx.array([i for i, _ in self._penalised])] = mx.concatenate(changed)
        if self._held:
            mx.async_eval(logits)  # type: ignore[no-untyped-call]  # computed while the masks are made
            before = np.array(inputs).tolist()
            masks = mx.stack([held_by.penalty_after(before[i]) for i, held_by in self._held])
            logits = logits.at[mx.array([i for i, _ in self._held])].add(masks)
        return logits


def _logprobs(logits: mx.array) -> mx.array:
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)
