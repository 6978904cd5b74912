"""Rows whose prompts are being read side by side, a chunk at a time, so that open answers go on between the chunks.

With a prompt's last chunk come the logits after it, so that its first token takes no step of its own. Shorter prompts
are padded behind for a chunk, as mlx-lm's caches want it. Belongs to the engine's thread.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from catalog.base import blas
from gateway.engine import scoring
from gateway.engine.caches import Caches
from gateway.engine.rows import Row
from gateway.engine.slots import SlotModel, route_of

blas.preload()

import mlx.core as mx  # noqa: E402

MIN_CHUNK_TOKENS = 128
"""Of one row in one step, however many read beside it: most first questions are shorter and need one chunk only."""
MOST_STEPS = 4
"""What several rows may read together, in steps of one that reads alone."""
CLEAR_EVERY_TOKENS = 4096
"""MLX keeps freed buffers for later ones of the same size; those of chunks come in many sizes."""


@dataclass(frozen=True, slots=True)
class Through:
    """Rows whose prompts were read, their caches, and the logits [B, V] after them."""

    rows: list[Row]
    caches: Caches
    logits: mx.array


class Prefill:
    """The rows that read. `step_tokens` is what one alone reads in a step; several share it."""

    def __init__(self, model: SlotModel, step_tokens: int) -> None:
        self.rows: list[Row] = []
        self._model = model
        self._step_tokens = step_tokens
        self._least_share = min(MIN_CHUNK_TOKENS, step_tokens)
        self.most_tokens = MOST_STEPS * step_tokens
        self._caches: Caches | None = None
        self._since_cleared = 0

    def least_tokens(self, rows: Sequence[Row]) -> int:
        """What rows read in a step, however many they are."""
        return sum(min(len(row.unread), self._least_share) for row in rows)

    def join(self, rows: Sequence[Row]) -> None:
        """Let rows in, with their own caches."""
        caches = Caches.together([row.take_layers() for row in rows])
        if self._caches is None:
            self._caches = caches
        else:
            self._caches.extend(caches)
        self.rows += rows

    def step(self) -> Through | None:
        """Read one chunk; the rows that are through, which leave."""
        if self._caches is None:
            return None
        logits = self._read(self._caches)
        if logits is None:
            return None
        done = [place for place, row in enumerate(self.rows) if not row.unread]
        through = [self.rows[place] for place in done]
        caches = self._caches.only(done) if len(done) < len(self.rows) else self._caches
        self.leave(through)
        return Through(through, caches, logits)

    def leave(self, gone: Collection[Row]) -> None:
        """Take rows out."""
        keep = [place for place, row in enumerate(self.rows) if row not in gone]
        if not keep:
            self.rows, self._caches = [], None
        elif self._caches is not None and len(keep) < len(self.rows):
            self.rows = [self.rows[place] for place in keep]
            self._caches.filter(keep)

    def _read(self, caches: Caches) -> mx.array | None:
        """Read a chunk of every row; logits [P, V] after the prompts that end with it, None when none does."""
        share = max(self._step_tokens // len(self.rows), self._least_share)
        chunks = [row.unread[:share] for row in self.rows]
        longest = max(map(len, chunks))
        padding = [longest - len(chunk) for chunk in chunks]
        if any(padding):
            for layer in caches.layers:
                layer.prepare(lengths=[len(chunk) for chunk in chunks], right_padding=padding)
        tokens = mx.array([chunk + [0] * pad for chunk, pad in zip(chunks, padding, strict=True)])
        logits = self._compute(tokens, caches, chunks)
        if any(padding):
            for layer in caches.layers:
                layer.finalize()
        caches.evaluate()
        for row, chunk in zip(self.rows, chunks, strict=True):
            row.tokens += chunk
            del row.unread[: len(chunk)]
        self._clear(sum(map(len, chunks)))
        return logits

    def _compute(self, tokens: mx.array, caches: Caches, chunks: list[list[int]]) -> mx.array | None:
        route = route_of([row.slot for row in self.rows])
        ends = [len(chunk) - 1 for chunk in chunks]
        if any(row.generation.prompt_logprobs is not None for row in self.rows):
            hidden = self._model.read(tokens, caches.layers, route)
            self._score(hidden, chunks)
            last = hidden[mx.arange(len(ends)), mx.array(ends)]
        else:
            last = self._model.read_ends(tokens, caches.layers, route, ends)
        done = [place for place, chunk in enumerate(chunks) if len(chunk) == len(self.rows[place].unread)]
        return self._model.logits(last[mx.array(done)]) if done else None

    def _score(self, hidden: mx.array, chunks: list[list[int]]) -> None:
        """Note the logprobs of those prompts' tokens that are wanted: of each the next one, in this chunk or after."""
        for place, (row, chunk) in enumerate(zip(self.rows, chunks, strict=True)):
            if (top := row.generation.prompt_logprobs) is not None:
                targets = row.unread[1 : len(chunk) + 1]
                row.prompt_logprobs += scoring.of_prompt(self._model.logits, hidden[place], targets, top)

    def _clear(self, tokens: int) -> None:
        self._since_cleared += tokens
        if self._since_cleared >= CLEAR_EVERY_TOKENS:
            self._since_cleared = 0
            mx.clear_cache()
