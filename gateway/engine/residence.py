"""One base in memory: its slots, its prefixes, its batch, and the rows that are decoded in it.

Belongs to the engine's thread. A row is pinned to its adapter's slot when it enters and frees it when it leaves; one
that finds no slot waits for it. What a step brings goes into the outbox; nothing here wakes anybody.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalog.adapters import short
from catalog.base import blas
from catalog.base.load import Base
from catalog.base.lora import Adapter, LinearShape
from catalog.errors import EngineFailed, InvalidRequest, Overloaded, RagweldError
from catalog.ids import AdapterId, BaseId
from gateway.engine.grammar import Compiler, Markers
from gateway.engine.prefixes import PrefixCache
from gateway.engine.requests import Finish, FinishReason, Piece, Sampling, TokenLogprob
from gateway.engine.rows import Counters, Outbox, Row
from gateway.engine.sampling import Draws, LogitsProcessor, make_processors, sampling_of
from gateway.engine.slots import RowCache, SlotModel, SlotTable
from gateway.engine.text import AnswerText

blas.preload()

import mlx.core as mx  # noqa: E402
from mlx.utils import tree_flatten  # noqa: E402
from mlx_lm.generate import BatchGenerator  # noqa: E402
from mlx_lm.models.cache import make_prompt_cache  # noqa: E402
from mlx_lm.tokenizer_utils import TokenizerWrapper  # noqa: E402

PREFILL_ROWS = 8


@dataclass(frozen=True, slots=True)
class Served:
    """What others may know of a base in memory without holding its arrays."""

    base: BaseId
    tokenizer: TokenizerWrapper
    context: int
    precision: str
    shapes: Mapping[str, LinearShape]
    sampling: Sampling
    tool_markers: Markers
    nbytes: int


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a batch may be and how much is kept, for each base."""

    max_rows: int
    prefill_step_tokens: int
    adapter_slots: int
    prompt_cache_bytes: int


class Residence:
    """A base in memory and the rows in it."""

    def __init__(self, base: Base, limits: Limits, counters: Counters, outbox: Outbox) -> None:
        self._limits = limits
        self._counters = counters
        self._outbox = outbox
        self._tokenizer = base.tokenizer
        self._model = SlotModel(base.model)
        self._table = SlotTable(limits.adapter_slots)
        self._compiler = Compiler(base.tokenizer, int(base.config["vocab_size"]))
        self._prefixes = PrefixCache(limits.prompt_cache_bytes)
        self._rows: dict[int, Row] = {}
        self._waiting: deque[Row] = deque()
        self._generator = self._new_generator()
        self.served = _served(base, self._model, self._compiler)
        self.used_at = time.monotonic()

    @property
    def has_rows(self) -> bool:
        """Whether there is anything to decode."""
        return bool(self._rows)

    @property
    def rows(self) -> int:
        """Rows in the batch."""
        return min(len(self._rows), self._limits.max_rows)

    @property
    def waiting(self) -> int:
        """Rows that are not yet: for want of a slot, or because the batch is full."""
        return len(self._waiting) + len(self._rows) - self.rows

    @property
    def waiting_for(self) -> frozenset[AdapterId]:
        """Adapters that rows wait for a slot for."""
        return frozenset(row.adapter_id for row in self._waiting if row.adapter_id is not None)

    @property
    def resident(self) -> tuple[AdapterId, ...]:
        return self._table.resident

    def admit(self, row: Row) -> None:
        """Let a row in, or let it wait for its adapter's slot; what it cannot be is told to it."""
        self.used_at = time.monotonic()
        try:
            slot = self._slot_for(row)
        except Overloaded:
            self._waiting.append(row)
            return
        except RagweldError as error:
            self._outbox.append((row, error))
            return
        try:
            self._insert(row, slot)
        except RagweldError as error:
            self._refuse(row, error)
        except (ValueError, RuntimeError) as error:
            self._refuse(row, EngineFailed(f"The request cannot be decoded: {error}"))

    def cancel(self, row: Row) -> None:
        """Take a row out; nothing when it has ended."""
        if row in self._waiting:
            self._waiting.remove(row)
            self._counters.cancelled += 1
        elif self._rows.get(row.uid) is row:
            self._generator.remove([row.uid])
            self._counters.cancelled += 1
            self._leave(row)

    def make_resident(self, adapter: Adapter) -> None:
        """Write an adapter into a slot, unless it is in one; raises Overloaded when none can be had."""
        if adapter.adapter_id in self._table.resident:
            return
        began = time.perf_counter()
        slots, rank = self._table.slots, self._table.rank
        slot = self._table.take(adapter.adapter_id, adapter.rank)
        try:
            if (self._table.slots, self._table.rank) != (slots, rank):
                self._model.grow(self._table.slots, self._table.rank)
            self._model.write(slot, adapter, self._table.slots, self._table.rank)
        except (RuntimeError, ValueError) as error:
            self._table.give_back(adapter.adapter_id, slots, rank)
            raise EngineFailed(
                f"The adapter {short(adapter.adapter_id)} could not be made resident: {error}"
            ) from error
        self._counters.swaps += 1
        self._counters.swap_s = time.perf_counter() - began

    def step(self) -> None:
        """Decode one token of every row, and prefill one chunk of those that are new."""
        _, tokens = self._generator.next()
        self._counters.steps += 1
        self.used_at = time.monotonic()
        for response in tokens:
            row = self._rows.get(response.uid)
            if row is not None:
                self._take_token(row, response)

    def fail_all(self, error: RagweldError) -> None:
        """End every row with an error and begin anew with an empty batch."""
        for row in [*self._rows.values(), *self._waiting]:
            self._outbox.append((row, error))
        for row in self._rows.values():
            self._table.unpin(row.adapter_id)
        self._rows.clear()
        self._waiting.clear()
        self._prefixes.clear()
        self._generator = self._new_generator()

    def forget_prefixes(self) -> None:
        """Drop every cached prefix."""
        self._prefixes.clear()

    def close(self) -> None:
        """Let what was sent ahead finish: work of MLX's own threads must not outlive the interpreter."""
        mx.synchronize(self._generator.stream)
        self._generator.close()

    def _new_generator(self) -> BatchGenerator:
        return BatchGenerator(
            self._model,
            sampler=self._model.draw,
            stop_tokens=[[token] for token in self._tokenizer.eos_token_ids],
            completion_batch_size=self._limits.max_rows,
            prefill_batch_size=min(PREFILL_ROWS, self._limits.max_rows),
            prefill_step_size=self._limits.prefill_step_tokens,
        )

    def _slot_for(self, row: Row) -> int:
        if row.adapter is not None:
            self.make_resident(row.adapter)
        return self._table.pin(row.adapter_id)

    def _refuse(self, row: Row, error: RagweldError) -> None:
        self._table.unpin(row.adapter_id)
        self._outbox.append((row, error))

    def _insert(self, row: Row, slot: int) -> None:
        generation = row.generation
        prompt = list(generation.prompt)
        caches, cached = self._prefixes.fetch(row.adapter_id, prompt)
        row.cached_tokens = cached
        row.text = AnswerText(self._tokenizer.detokenizer, generation.stop)
        layers = caches if caches is not None else make_prompt_cache(self._model.model)
        (row.uid,) = self._generator.insert(
            [prompt[cached:]],
            max_tokens=[generation.max_tokens],
            caches=[[*layers, RowCache([slot], [Draws(generation.sampling)])]],
            all_tokens=[prompt[:cached]],
            logits_processors=[self._processors(row)],
        )
        self._rows[row.uid] = row
        self._counters.prompt_tokens += len(prompt) - cached
        self._counters.cached_tokens += cached

    def _processors(self, row: Row) -> list[LogitsProcessor]:
        generation = row.generation
        processors = make_processors(generation.sampling, len(generation.prompt))
        if generation.grammar is not None:
            row.held_by = self._compiler.processor(generation.grammar, len(generation.prompt))
            processors.append(row.held_by)
        return processors

    def _take_token(self, row: Row, response: Any) -> None:
        assert row.text is not None
        if row.held_by is not None and row.held_by.error:
            self._give_up(row, response, row.held_by.error)
            return
        row.produced += 1
        row.unsent += 1
        self._counters.produced_tokens += 1
        reason: FinishReason | None = response.finish_reason
        if row.generation.top_logprobs is not None and reason != "stop":
            row.logprobs.append(_logprob(response.token, response.logprobs, row.generation.top_logprobs))
        text = "" if reason == "stop" else row.text.feed(response.token)
        if row.text.stopped:
            if reason is None:
                self._generator.remove([row.uid])
            reason = "stop"
        elif reason is not None:
            text += row.text.finish()
            reason = "stop" if row.text.stopped else reason
        if text:
            self._outbox.append((row, Piece(text, row.unsent, tuple(row.logprobs))))
            row.unsent = 0
            row.logprobs.clear()
        if reason is not None:
            self._finish(row, reason, response)

    def _give_up(self, row: Row, response: Any, problem: str) -> None:
        if response.finish_reason is None:
            self._generator.remove([row.uid])
        error = InvalidRequest(f"The schema is too complex to be followed: {problem}", param="response_format")
        self._outbox.append((row, error))
        self._leave(row)

    def _finish(self, row: Row, reason: FinishReason, response: Any) -> None:
        if response.prompt_cache is not None:
            self._prefixes.keep(row.adapter_id, response.all_tokens, response.prompt_cache[:-1])
        finish = Finish(reason, len(row.generation.prompt), row.produced, row.cached_tokens)
        self._outbox.append((row, finish))
        self._leave(row)

    def _leave(self, row: Row) -> None:
        """Forget a row that left the generator; those that waited for a slot try again."""
        del self._rows[row.uid]
        self._table.unpin(row.adapter_id)
        for waiting in [self._waiting.popleft() for _ in range(len(self._waiting))]:
            self.admit(waiting)


def _served(base: Base, model: SlotModel, compiler: Compiler) -> Served:
    return Served(
        base=base.base,
        tokenizer=base.tokenizer,
        context=base.context,
        precision=base.precision,
        shapes=model.shapes,
        sampling=sampling_of(base.generation),
        tool_markers=compiler.markers,
        nbytes=sum(value.nbytes for _, value in tree_flatten(base.model.parameters())),
    )


def _logprob(token: int, logprobs: mx.array, top: int) -> TokenLogprob:
    values = np.array(logprobs)
    best = np.argsort(-values, kind="stable")[:top]
    return TokenLogprob(token, float(values[token]), tuple((int(i), float(values[i])) for i in best))
