"""The engine's thread: it alone touches MLX. It loads, swaps, prefills and decodes for every row of every adapter.

Others post closures into its mailbox, which it empties between two steps of mlx-lm's batch generator. All rows' news
of one step reach their event loop by one wake-up. A step that fails ends the rows it carried with EngineFailed; the
generator is made anew and the thread lives on. Knows nothing of HTTP, aliases or files.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from catalog.base import blas
from catalog.base.load import Base
from catalog.base.lora import Adapter, LinearShape
from catalog.errors import EngineFailed, InvalidRequest, Overloaded, RagweldError, Unavailable
from catalog.ids import AdapterId, BaseId
from gateway.engine.grammar import Compiler, GrammarProcessor, Markers
from gateway.engine.prefixes import PrefixCache
from gateway.engine.requests import Finish, FinishReason, Generation, Piece, Sampling, TokenLogprob
from gateway.engine.sampling import LogitsProcessor, make_processors, make_sampler, sampling_of
from gateway.engine.slots import SlotCache, SlotModel, SlotTable
from gateway.engine.text import AnswerText

blas.preload()

import mlx.core as mx  # noqa: E402
from mlx_lm.generate import BatchGenerator  # noqa: E402
from mlx_lm.models.cache import make_prompt_cache  # noqa: E402
from mlx_lm.tokenizer_utils import TokenizerWrapper  # noqa: E402

log = logging.getLogger(__name__)

STOPPING = Unavailable("The gateway is stopping.", code="shutting_down")

News = Piece | Finish | RagweldError


@dataclass(slots=True, eq=False)
class Row:
    """One answer being produced, and the queue on its own event loop where its news go."""

    generation: Generation
    adapter: Adapter | None
    loop: asyncio.AbstractEventLoop
    news: asyncio.Queue[News]
    text: AnswerText | None = None
    held_by: GrammarProcessor | None = None
    uid: int = -1
    cached_tokens: int = 0
    produced: int = 0
    unsent: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)

    @property
    def adapter_id(self) -> AdapterId | None:
        return self.generation.adapter_id


@dataclass(slots=True)
class Counters:
    """What the thread did, read by the metrics as it is; only the thread writes."""

    steps: int = 0
    prompt_tokens: int = 0
    produced_tokens: int = 0
    cached_tokens: int = 0
    cancelled: int = 0
    rows: int = 0
    waiting: int = 0
    swaps: int = 0
    swap_s: float = 0.0
    resident: tuple[AdapterId, ...] = ()


@dataclass(frozen=True, slots=True)
class Served:
    """What others may know of the loaded base without holding its arrays."""

    base: BaseId
    tokenizer: TokenizerWrapper
    context: int
    precision: str
    shapes: Mapping[str, LinearShape]
    sampling: Sampling
    tool_markers: Markers


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """How large a batch may be and how much is kept."""

    max_rows: int
    prefill_step_tokens: int
    adapter_slots: int
    prompt_cache_bytes: int
    unload_after_s: float | None


class Worker:
    """Runs `load` and then every generation on one thread of its own. Its public methods may be called from any."""

    def __init__(self, load: Callable[[], Base], limits: WorkerLimits, loaded: Callable[[Served], None]) -> None:
        self._load = load
        self._limits = limits
        self._loaded = loaded
        self._mailbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ragweld-engine", daemon=True)
        self._stopping = False
        self._base: Base | None = None
        self._model: SlotModel | None = None
        self._generator: BatchGenerator | None = None
        self._compiler: Compiler | None = None
        self._table = SlotTable(limits.adapter_slots)
        self._prefixes = PrefixCache(limits.prompt_cache_bytes)
        self._rows: dict[int, Row] = {}
        self._waiting: deque[Row] = deque()
        self._outbox: list[tuple[Row, News]] = []
        self.counters = Counters()

    def start(self) -> None:
        """Start the thread; it loads the base first and calls `loaded` when it is there."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """End every row and the thread; True when it ended in time."""
        self._mailbox.put(self._stop)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, row: Row) -> None:
        """Admit a row; its news begin with the next step."""
        self._mailbox.put(lambda: self._admit(row))

    def cancel(self, row: Row) -> None:
        """Stop a row before the next step; nothing when it has ended."""
        self._mailbox.put(lambda: self._cancel(row))

    def make_resident(self, adapter: Adapter, done: Callable[[RagweldError | None], None]) -> None:
        """Put an adapter into a slot now, so that its first request waits for nothing."""

        def swap() -> None:
            try:
                self._ensure_loaded()
                self._make_resident(adapter)
            except RagweldError as error:
                done(error)
            else:
                done(None)

        self._mailbox.put(swap)

    def forget_prefixes(self) -> None:
        """Drop every cached prefix."""
        self._mailbox.put(self._prefixes.clear)

    # What follows runs on the thread only.

    def _run(self) -> None:
        try:
            self._ensure_loaded()
        except RagweldError as error:
            log.error("engine: %s", error)
        while not self._stopping:
            try:
                self._turn()
            except Exception as error:
                log.exception("engine: a step failed")
                self._fail_all(EngineFailed(f"The engine failed while it was answering: {error}", hint="Try again."))
            self._deliver()

    def _turn(self) -> None:
        self._read_mailbox()
        if self._rows and self._generator is not None:
            _, tokens = self._generator.next()
            self.counters.steps += 1
            self._take_tokens(tokens)

    def _read_mailbox(self) -> None:
        """Do everything that was posted; with no row to decode, wait for the first post."""
        if not self._rows:
            with contextlib.suppress(queue.Empty):
                self._mailbox.get(timeout=self._limits.unload_after_s)()
                self._deliver()
                return
            self._unload()
            self._mailbox.get()()
            self._deliver()
            return
        with contextlib.suppress(queue.Empty):
            while True:
                self._mailbox.get_nowait()()

    def _ensure_loaded(self) -> None:
        if self._base is not None:
            return
        base = self._load()
        self._base = base
        self._model = SlotModel(base.model)
        self._table = SlotTable(self._limits.adapter_slots)
        self._compiler = Compiler(base.tokenizer, int(base.config["vocab_size"]))
        self._new_generator()
        self._loaded(_served(base, self._model, self._compiler))

    def _unload(self) -> None:
        self._prefixes.clear()
        self._base = self._model = self._generator = self._compiler = None
        self._table = SlotTable(self._limits.adapter_slots)
        self.counters.resident = ()
        mx.clear_cache()
        log.info("engine: the base left memory after %s idle seconds", self._limits.unload_after_s)

    def _new_generator(self) -> None:
        assert self._base is not None
        self._generator = BatchGenerator(
            self._model,
            stop_tokens=[[token] for token in self._base.tokenizer.eos_token_ids],
            completion_batch_size=self._limits.max_rows,
            prefill_batch_size=min(8, self._limits.max_rows),
            prefill_step_size=self._limits.prefill_step_tokens,
        )

    def _admit(self, row: Row) -> None:
        if self._stopping:
            self._outbox.append((row, STOPPING))
            return
        try:
            self._ensure_loaded()
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

    def _refuse(self, row: Row, error: RagweldError) -> None:
        self._table.unpin(row.adapter_id)
        self._outbox.append((row, error))

    def _slot_for(self, row: Row) -> int:
        if row.adapter is not None and row.adapter.adapter_id not in self._table.resident:
            self._make_resident(row.adapter)
        return self._table.pin(row.adapter_id)

    def _make_resident(self, adapter: Adapter) -> None:
        if adapter.adapter_id in self._table.resident:
            return
        assert self._model is not None
        began = time.perf_counter()
        slot = self._table.take(adapter.adapter_id)
        if adapter.rank > self._table.rank:
            self._table.rank = adapter.rank
            self._model.grow(self._table.slots, adapter.rank)
        try:
            self._model.write(slot, adapter, self._table.slots, self._table.rank)
        except BaseException:
            self._table.drop(adapter.adapter_id)
            raise
        self.counters.resident = self._table.resident
        self.counters.swaps += 1
        self.counters.swap_s = time.perf_counter() - began

    def _insert(self, row: Row, slot: int) -> None:
        assert self._base is not None and self._generator is not None
        generation = row.generation
        prompt = list(generation.prompt)
        caches, cached = self._prefixes.fetch(row.adapter_id, prompt)
        row.cached_tokens = cached
        row.text = AnswerText(self._base.tokenizer.detokenizer, generation.stop)
        layers = caches if caches is not None else make_prompt_cache(self._base.model)
        (row.uid,) = self._generator.insert(
            [prompt[cached:]],
            max_tokens=[generation.max_tokens],
            caches=[[*layers, SlotCache([slot])]],
            all_tokens=[prompt[:cached]],
            samplers=[make_sampler(generation.sampling)],
            logits_processors=[self._processors(row)],
        )
        self._rows[row.uid] = row
        self.counters.rows = len(self._rows)
        self.counters.prompt_tokens += len(prompt) - cached
        self.counters.cached_tokens += cached

    def _processors(self, row: Row) -> list[LogitsProcessor]:
        generation = row.generation
        processors = make_processors(generation.sampling, len(generation.prompt))
        if generation.grammar is not None and self._compiler is not None:
            row.held_by = self._compiler.processor(generation.grammar, len(generation.prompt))
            processors.append(row.held_by)
        return processors

    def _cancel(self, row: Row) -> None:
        if row in self._waiting:
            self._waiting.remove(row)
            self.counters.cancelled += 1
        elif self._rows.get(row.uid) is row and self._generator is not None:
            self._generator.remove([row.uid])
            self.counters.cancelled += 1
            self._end(row)

    def _take_tokens(self, tokens: Iterable[Any]) -> None:
        for response in tokens:
            row = self._rows.get(response.uid)
            if row is not None:
                self._take_token(row, response)
        self._deliver()

    def _take_token(self, row: Row, response: Any) -> None:
        assert row.text is not None
        if row.held_by is not None and row.held_by.error:
            self._give_up(row, response, row.held_by.error)
            return
        row.produced += 1
        row.unsent += 1
        self.counters.produced_tokens += 1
        reason: FinishReason | None = response.finish_reason
        if row.generation.top_logprobs is not None and reason != "stop":
            row.logprobs.append(_logprob(response.token, response.logprobs, row.generation.top_logprobs))
        text = "" if reason == "stop" else row.text.feed(response.token)
        if row.text.stopped:
            if reason is None and self._generator is not None:
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
        if response.finish_reason is None and self._generator is not None:
            self._generator.remove([row.uid])
        error = InvalidRequest(f"The schema is too complex to be followed: {problem}", param="response_format")
        self._outbox.append((row, error))
        self._end(row)

    def _finish(self, row: Row, reason: FinishReason, response: Any) -> None:
        if response.prompt_cache is not None:
            self._prefixes.keep(row.adapter_id, response.all_tokens, response.prompt_cache[:-1])
        finish = Finish(reason, len(row.generation.prompt), row.produced, row.cached_tokens)
        self._outbox.append((row, finish))
        self._end(row)

    def _end(self, row: Row) -> None:
        """Forget a row that left the generator; those that waited for a slot try again."""
        del self._rows[row.uid]
        self._table.unpin(row.adapter_id)
        self.counters.rows = len(self._rows)
        for waiting in [self._waiting.popleft() for _ in range(len(self._waiting))]:
            self._admit(waiting)
        self.counters.waiting = len(self._waiting)

    def _deliver(self) -> None:
        """Hand all news to their event loops, one wake-up for each loop."""
        outbox, self._outbox = self._outbox, []
        outbox.sort(key=lambda item: id(item[0].loop))
        for _, items in itertools.groupby(outbox, key=lambda item: id(item[0].loop)):
            batch = list(items)
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is there to be told
                batch[0][0].loop.call_soon_threadsafe(_put_all, batch)

    def _fail_all(self, error: RagweldError) -> None:
        for row in [*self._rows.values(), *self._waiting]:
            self._outbox.append((row, error))
        for row in self._rows.values():
            self._table.unpin(row.adapter_id)
        self._rows.clear()
        self._waiting.clear()
        self.counters.rows = self.counters.waiting = 0
        self._prefixes.clear()
        if self._base is not None:
            self._new_generator()

    def _stop(self) -> None:
        self._stopping = True
        self._fail_all(STOPPING)
        self._generator = None


def _served(base: Base, model: SlotModel, compiler: Compiler) -> Served:
    return Served(
        base=base.base,
        tokenizer=base.tokenizer,
        context=base.context,
        precision=base.precision,
        shapes=model.shapes,
        sampling=sampling_of(base.generation),
        tool_markers=compiler.markers,
    )


def _put_all(batch: list[tuple[Row, News]]) -> None:
    for row, news in batch:
        row.news.put_nowait(news)


def _logprob(token: int, logprobs: mx.array, top: int) -> TokenLogprob:
    values = np.array(logprobs)
    best = np.argsort(-values, kind="stable")[:top]
    return TokenLogprob(token, float(values[token]), tuple((int(i), float(values[i])) for i in best))
