"""One base in memory: its slots, its prefixes, its batch, and the rows that are decoded in it.

Belongs to the engine's thread. A row is pinned to its adapter's slot when it enters and frees it when it leaves; one
that finds no slot waits for it. What a step brings goes into the outbox; nothing here wakes anybody.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from catalog.adapters import short
from catalog.base import blas
from catalog.base.load import Base
from catalog.base.lora import Adapter, LinearShape
from catalog.errors import EngineFailed, InvalidRequest, NotFinite, RagweldError
from catalog.ids import AdapterId, BaseId
from gateway.engine import scoring
from gateway.engine.batch import Batch
from gateway.engine.decoding import Drawn
from gateway.engine.grammar import Compiler, Markers
from gateway.engine.prefixes import PrefixCache
from gateway.engine.requests import Finish, FinishReason, Piece, Sampling, TokenLogprob
from gateway.engine.room import Room
from gateway.engine.rows import Counters, Outbox, Row
from gateway.engine.sampling import Penalties, sampling_of
from gateway.engine.slots import SlotModel, SlotTable
from gateway.engine.text import AnswerText

blas.preload()

import mlx.core as mx  # noqa: E402
from mlx.utils import tree_flatten  # noqa: E402
from mlx_lm.models.cache import make_prompt_cache  # noqa: E402
from mlx_lm.tokenizer_utils import TokenizerWrapper  # noqa: E402


@dataclass(frozen=True, slots=True)
class Served:
    """What others may know of a base in memory without holding its arrays."""

    base: BaseId
    tokenizer: TokenizerWrapper
    context: int
    vocabulary: int
    """Tokens are below it."""
    precision: str
    shapes: Mapping[str, LinearShape]
    sampling: Sampling
    tool_markers: Markers
    nbytes: int


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a base's batch may be, and how many adapters it may hold."""

    max_rows: int
    prefill_step_tokens: int
    adapter_slots: int
    grown_at_once_bytes: int = 1 << 26
    """Of the adapters' stacks, between two steps of open answers: 64 MB take about 40 ms on two CPU cores."""


class Residence:
    """A base in memory and the rows in it."""

    def __init__(
        self,
        base: Base,
        limits: Limits,
        room: Room,
        prefixes: PrefixCache,
        counters: Counters,
        outbox: Outbox,
    ) -> None:
        self._limits = limits
        self._room = room
        self._counters = counters
        self._outbox = outbox
        self._prefixes = prefixes
        self._to_keep: list[tuple[AdapterId | None, list[int], list[Any]]] = []
        self._tokenizer = base.tokenizer
        self._model = SlotModel(base.model)
        self._table = SlotTable(limits.adapter_slots)
        self._compiler = Compiler(base.tokenizer, int(base.config["vocab_size"]))
        self._ends = frozenset(base.tokenizer.eos_token_ids)
        self._rows: set[Row] = set()
        self._waiting: deque[Row] = deque()
        self._is_growing = False
        """Whether a row waits for stacks that are widened part by part, so that open answers go on between two."""
        self._batch = self._new_batch()
        self.served = _served(base, self._model, self._compiler)
        self.used_at = time.monotonic()

    @property
    def has_rows(self) -> bool:
        """Whether there is anything to decode."""
        return bool(self._rows)

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do though nobody asks for more: rows, or stacks to be widened further."""
        return self.has_rows or self._is_growing

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for an answer of it."""
        return bool(self._rows or self._waiting)

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
    def nbytes(self) -> int:
        """Memory of the base and of its adapters."""
        return self.served.nbytes + self._model.nbytes()

    @property
    def resident(self) -> tuple[AdapterId, ...]:
        return self._table.resident

    def admit(self, row: Row) -> None:
        """Let a row in, or let it wait for its adapter's slot; raises what it cannot be.

        One that waits is passed by a batch of others at most: then those wait too, and a slot becomes free. None that
        waits was passed by more than the first.
        """
        self.used_at = time.monotonic()
        if row.adapter is not None and self._waiting and self._waiting[0].passed >= self._limits.max_rows:
            self._waiting.append(row)
            return
        if row.adapter is not None and not self.make_resident(row.adapter):
            self._waiting.append(row)
            return
        for waiting in self._waiting:
            waiting.passed += 1
        slot = self._table.pin(row.adapter_id)
        try:
            self._insert(row, slot)
        except (RagweldError, ValueError, RuntimeError) as error:
            self._table.unpin(row.adapter_id)
            if isinstance(error, RagweldError):
                raise
            raise EngineFailed(f"The request cannot be decoded: {error}") from error

    def cancel(self, row: Row) -> None:
        """Take a row out; nothing when it has ended."""
        if row in self._waiting:
            self._waiting.remove(row)
            self._counters.cancelled += 1
            self._admit_waiting()
        elif row in self._rows:
            self._counters.cancelled += 1
            self._leave([row])

    def make_resident(self, adapter: Adapter) -> bool:
        """Write an adapter into a slot, unless it is in one; False while every slot is needed or the stacks grow.

        Raises MemoryInUse or Unavailable where there is no memory for it, before anything has left for it.
        """
        if adapter.adapter_id in self._table.resident:
            return True
        began = time.perf_counter()
        seat = self._table.seat(adapter.rank, partial(self._fits, adapter))
        if seat is None:
            return False
        self._room.make(self.served.base, self._more_bytes(adapter, seat.slots, seat.rank))
        try:
            if not self._model.grow(seat.slots, seat.rank, self._grown_at_once_bytes):
                self._is_growing = True
                return False
            self._table.vacate(seat)
            self._model.write(seat.slot, adapter, seat.slots, seat.rank)
        except (RuntimeError, ValueError) as error:
            raise EngineFailed(
                f"The adapter {short(adapter.adapter_id)} could not be made resident: {error}"
            ) from error
        self._table.take(adapter.adapter_id, seat)
        self._counters.swaps += 1
        self._counters.swap_s = time.perf_counter() - began
        return True

    def decode(self) -> None:
        """Draw one token of every row whose prompt was read."""
        self.used_at = time.monotonic()
        self._counters.steps += 1
        ended = [drawn.row for drawn in self._batch.decode() if self._has_ended(drawn)]
        if ended:
            self._leave(ended)

    def read(self) -> None:
        """Keep the caches of rows that ended, and read one chunk of the prompts that are new."""
        for adapter_id, tokens, layers in self._to_keep:
            self._prefixes.keep((self.served.base, adapter_id), tokens, layers)
        self._to_keep.clear()
        if self._is_growing:
            self._is_growing = False
            self._admit_waiting()
        ended = [row for row in self._batch.read() if self._has_only_read(row)]
        if ended:
            self._leave(ended)

    def fail_all(self, error: RagweldError) -> None:
        """End every row with an error and begin anew with an empty batch."""
        for row in [*self._rows, *self._waiting]:
            self._outbox.append((row, error))
        self._table.unpin_all()
        self._rows.clear()
        self._waiting.clear()
        self._to_keep.clear()
        self._prefixes.forget(self.served.base)
        self._batch = self._new_batch()

    def close(self) -> None:
        """Forget its prefixes, kept or to be; what was sent ahead finishes: it must not outlive the interpreter."""
        self._to_keep.clear()
        self._prefixes.forget(self.served.base)
        mx.synchronize()

    @property
    def _grown_at_once_bytes(self) -> int:
        return self._limits.grown_at_once_bytes if self._room.is_answering() else sys.maxsize

    def _new_batch(self) -> Batch:
        return Batch(self._model, self._limits.max_rows, self._limits.prefill_step_tokens)

    def _fits(self, adapter: Adapter, slots: int, rank: int, others_leave: bool) -> bool:
        return self._room.has(self.served.base, self._more_bytes(adapter, slots, rank), others_leave=others_leave)

    def _more_bytes(self, adapter: Adapter, slots: int, rank: int) -> int:
        """What stacks so large, for this adapter's layers too, take beyond what there is."""
        return self._model.nbytes(slots, rank, adapter.pairs) - self._model.nbytes()

    def _insert(self, row: Row, slot: int) -> None:
        generation = row.generation
        prompt = list(generation.prompt)
        layers, cached = None, 0
        if generation.prompt_logprobs is None:  # what is scored is read
            layers, cached = self._prefixes.fetch((self.served.base, row.adapter_id), prompt)
        row.layers = layers if layers is not None else make_prompt_cache(self._model.model)
        row.slot, row.cached_tokens = slot, cached
        row.tokens, row.unread = prompt[:cached], prompt[cached:]
        row.text = AnswerText(self._tokenizer.detokenizer, generation.stop, continues=generation.continues)
        row.penalties = Penalties.of(generation.sampling, generation.prompt)
        if generation.grammar is not None:
            row.held_by = self._compiler.processor(generation.grammar)
        self._batch.add(row)
        self._rows.add(row)
        self._counters.prompt_tokens += len(prompt) - cached
        self._counters.cached_tokens += cached

    def _has_ended(self, drawn: Drawn) -> bool:
        """Tell a row what its token brought; whether that was its end."""
        row, token = drawn.row, drawn.token
        assert row.text is not None
        if (fault := _fault(drawn)) is not None:
            self._outbox.append((row, fault))
            return True
        reason: FinishReason | None = "length" if row.is_at_its_last else None
        row.produced += 1
        row.unsent += 1
        self._counters.produced_tokens += 1
        if token in self._ends:
            text, reason = row.text.finish(), "stop"
        else:
            row.logprobs += _scores(drawn)
            text = row.text.feed(token)
            if reason is not None:
                text += row.text.finish()
        if row.text.stopped:
            reason = "stop"
        if text:
            self._outbox.append((row, Piece(text, row.unsent, tuple(row.logprobs))))
            row.unsent = 0
            row.logprobs.clear()
        if token in self._ends:
            row.logprobs += _scores(drawn)
        if reason is not None:
            self._finish(row, reason)
        return reason is not None

    def _has_only_read(self, row: Row) -> bool:
        """Tell a row what the last chunk of its prompt brought; whether that was its end."""
        if row.prompt_logprobs:
            if not np.isfinite([entry.logprob for entry in row.prompt_logprobs]).all():
                self._outbox.append((row, _not_finite()))
                return True
            self._outbox.append((row, Piece("", 0, prompt_logprobs=tuple(row.prompt_logprobs))))
            row.prompt_logprobs.clear()
        if row.unread or row.generation.max_tokens:
            return False
        self._finish(row, "length")
        return True

    def _finish(self, row: Row, reason: FinishReason) -> None:
        if row.generation.prompt_logprobs is None:  # who measures many texts would push out those that go on
            self._to_keep.append((row.adapter_id, row.tokens, self._batch.extract(row)))
        assert row.text is not None
        textless = () if row.text.stopped else tuple(row.logprobs)
        finish = Finish(reason, len(row.generation.prompt), row.produced, row.cached_tokens, textless)
        self._outbox.append((row, finish))

    def _leave(self, gone: Sequence[Row]) -> None:
        """Forget rows that ended; those that waited for a slot try again."""
        self._batch.leave(gone)
        for row in gone:
            self._rows.discard(row)
            self._table.unpin(row.adapter_id)
        self._admit_waiting()

    def _admit_waiting(self) -> None:
        """Let those try again that wait; where one breaks what nobody foresaw, it and those behind it wait still."""
        again, self._waiting = self._waiting, deque()
        try:
            while again:
                try:
                    self.admit(again[0])
                except RagweldError as error:
                    self._outbox.append((again[0], error))
                again.popleft()
        finally:
            self._waiting += again


def _served(base: Base, model: SlotModel, compiler: Compiler) -> Served:
    return Served(
        base=base.base,
        tokenizer=base.tokenizer,
        context=base.context,
        vocabulary=int(base.config["vocab_size"]),
        precision=base.precision,
        shapes=model.shapes,
        sampling=sampling_of(base.generation),
        tool_markers=compiler.markers,
        nbytes=sum(value.nbytes for _, value in tree_flatten(base.model.parameters())),
    )


def _fault(drawn: Drawn) -> RagweldError | None:
    """Why a token is nobody's answer; None when it may be. Numbers are looked at where a row wants to see them."""
    held_by = drawn.row.held_by
    if held_by is not None and held_by.error:
        problem = f"The schema is too complex to be followed: {held_by.error}"
        return InvalidRequest(problem, param="response_format")
    if drawn.logprobs is not None and not np.isfinite(drawn.logprobs[drawn.token]):
        return _not_finite()
    return None


def _scores(drawn: Drawn) -> list[TokenLogprob]:
    """What a row that wants logprobs is told of its token."""
    if drawn.logprobs is None:
        return []
    return [scoring.of_drawn(drawn.token, drawn.logprobs, drawn.row.generation.top_logprobs or 0)]


def _not_finite() -> NotFinite:
    return NotFinite("The model's numbers are not finite.", hint="Ask another adapter, or the bare base.")
