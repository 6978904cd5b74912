"""The engine's door for the event loop: resolve an adapter, admit a generation, stream its pieces.

Answers are wholly by the adapter they were admitted with. The alias on disk is looked at for every request (a `stat`),
so a promotion is seen by the very next one; an active adapter that cannot be read leaves the last good one serving.
Admission is bounded in tokens. Nothing here touches MLX: the worker's thread does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog import adapters as store
from catalog.adapters import AdapterStore, Aliases
from catalog.base import chat, device
from catalog.base.load import Base, load
from catalog.base.locate import BaseChoice, choose
from catalog.base.lora import Adapter, read_adapter
from catalog.errors import (
    ContextLengthExceeded,
    EngineFailed,
    InvalidAdapter,
    NotFound,
    Overloaded,
    RagweldError,
    Unavailable,
)
from catalog.ids import BARE_BASE, AdapterId, BaseId, ModelRef
from catalog.settings import Settings
from gateway.engine import grammar
from gateway.engine.requests import Constraint, EngineState, Finish, Generation, Grammar, Piece, Sampling
from gateway.engine.worker import Counters, Row, Served, Worker, WorkerLimits

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class ChatMarkers:
    """How the base marks thoughts and tool calls in its text; None where it has none."""

    think_start: str | None
    think_end: str | None
    tool_start: str | None
    tool_end: str | None


class Engine:
    """One base with its adapters, served by one thread."""

    def __init__(self, settings: Settings, home: Path) -> None:
        self._settings = settings
        self._store = AdapterStore(home)
        self._base: Served | None = None
        self._choice: BaseChoice | None = None
        self._problem = "the base is being loaded"
        self._worker: Worker | None = None
        self._admitted_tokens = 0
        self._read: OrderedDict[AdapterId, Adapter] = OrderedDict()
        self._aliases = Aliases()
        self._aliases_seen: tuple[int, int, int] | None = None
        self._last_good: AdapterId | None = None
        self._refused: dict[AdapterId, InvalidAdapter] = {}
        self.refused_swaps = 0

    async def start(self) -> None:
        """Start the thread and return; `state()` tells when the base is loaded, or why it is not."""
        if not self._settings.engine.enabled:
            self._problem = "the engine is switched off (engine.enabled)"
            return
        try:
            self._choice = await asyncio.to_thread(choose, self._settings.training.ragweld_agent_base_model)
        except RagweldError as error:
            self._problem = str(error)
            return
        engine, training = self._settings.engine, self._settings.training
        limits = WorkerLimits(
            max_rows=engine.max_rows,
            prefill_step_tokens=engine.prefill_step_tokens,
            adapter_slots=engine.adapter_slots,
            prompt_cache_bytes=engine.prompt_cache_bytes,
            unload_after_s=training.ragweld_agent_unload_after_sec or None,
        )
        self._worker = Worker(self._load_base, limits, self._base_loaded)
        self._worker.start()

    async def stop(self) -> None:
        """End open rows and the thread."""
        if self._worker is not None and not await asyncio.to_thread(self._worker.stop, STOP_TIMEOUT_S):
            log.error("engine: its thread did not end within %s s", STOP_TIMEOUT_S)

    def state(self) -> EngineState:
        """What is serving now."""
        ready = self._base is not None and self._worker is not None and self._worker.is_alive
        base = self._base
        return EngineState(
            ready=ready,
            base=base.base if base else None,
            reason=self._choice.reason if ready and self._choice else self._problem,
            device=device.current().name,
            precision=base.precision if base else "",
            context=self.context,
            active_adapter=self._active(base.base) if base else None,
            resident_adapters=self.counters.resident,
            sampling=base.sampling if base else Sampling(),
        )

    @property
    def counters(self) -> Counters:
        """What the thread did so far."""
        return self._worker.counters if self._worker is not None else Counters()

    @property
    def admitted_tokens(self) -> int:
        """Prompt and answer tokens of every request that has not ended."""
        return self._admitted_tokens

    @property
    def context(self) -> int:
        """Tokens of the longest prompt and answer together."""
        return min(self._base.context, self._settings.engine.max_context_tokens) if self._base else 0

    @property
    def markers(self) -> ChatMarkers:
        """How the loaded base marks thoughts and tool calls."""
        tokenizer = self._loaded().tokenizer
        return ChatMarkers(
            think_start=tokenizer.think_start,
            think_end=tokenizer.think_end,
            tool_start=tokenizer.tool_call_start,
            tool_end=tokenizer.tool_call_end,
        )

    def parse_tool_call(self, text: str, tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The calls inside a tool block, as {"name", "arguments"}; raises ValueError when it is none."""
        try:
            parsed = self._loaded().tokenizer.tool_parser(text, list(tools))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, SyntaxError) as error:
            raise ValueError(f"not a tool call: {error}") from error
        calls = parsed if isinstance(parsed, list) else [parsed]
        if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
            raise ValueError("a tool call has no name")
        return calls

    async def grammar(self, wanted: Constraint, *, may_think: bool) -> Grammar:
        """A constraint that a generation can be held to, compiled off the loop; raises InvalidRequest."""
        markers = self._loaded().tool_markers
        return await asyncio.to_thread(grammar.compile_constraint, wanted, markers, may_think=may_think)

    def token_text(self, token_id: int) -> str:
        """One token as text, for logprobs."""
        return str(self._loaded().tokenizer.decode([token_id]))

    async def prompt_tokens(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], *, thinking: bool
    ) -> tuple[int, ...]:
        """The prompt of these messages, made off the event loop; raises InvalidRequest."""
        tokenizer = self._loaded().tokenizer
        return tuple(await asyncio.to_thread(chat.prompt_tokens, tokenizer, messages, tools, thinking=thinking))

    async def resolve(self, ref: ModelRef) -> AdapterId | None:
        """The adapter that answers `ref` now, resident and checked; None is the bare base.

        Raises Unavailable for a base that is not loaded, NotFound for an unknown adapter, InvalidAdapter for one that
        was asked for by name and does not fit.
        """
        base = self._loaded().base
        wanted = self._settings.training.ragweld_agent_base_model
        if ref.base is not None and ref.base != base:
            hint = self._choice.reason if self._choice and ref.base == wanted else f"{base} is what is loaded."
            raise Unavailable(f"The base {ref.base} is not loaded here.", hint=hint, code="model_not_loaded")
        if ref.adapter == BARE_BASE:
            return None
        if ref.adapter is None:
            return await self._resident_active(base)
        adapter_id = await asyncio.to_thread(self._store.resolve, base, ref.adapter)
        await self._make_resident(adapter_id)
        return adapter_id

    async def check_adapter(self, folder: Path) -> AdapterId:
        """Read an adapter as if to serve it; raises InvalidAdapter naming the tensor at fault."""
        shapes = self._loaded().shapes
        return (await asyncio.to_thread(read_adapter, folder, shapes)).adapter_id

    async def generate(self, generation: Generation) -> AsyncGenerator[Piece | Finish, None]:
        """Produce one answer: pieces, then one finish. Closing the generator stops the row within one step.

        Raises ContextLengthExceeded, Overloaded, InvalidAdapter, NotFound, Unavailable or EngineFailed.
        """
        self._loaded()
        tokens = self._admit(generation)
        row: Row | None = None
        try:
            adapter = await self._adapter(generation.adapter_id) if generation.adapter_id else None
            row = Row(generation, adapter, asyncio.get_running_loop(), asyncio.Queue())
            worker = self._live_worker()
            worker.submit(row)
            while True:
                news = await row.news.get()
                if isinstance(news, RagweldError):
                    row = None
                    raise news
                if isinstance(news, Finish):
                    row = None
                    break
                yield news
        finally:
            self._admitted_tokens -= tokens
            if row is not None and self._worker is not None:
                self._worker.cancel(row)
        yield news

    def forget_prefixes(self) -> None:
        """Drop every cached prefix; answers stay the same, the next ones prefill whole."""
        self._live_worker().forget_prefixes()

    def _load_base(self) -> Base:
        assert self._choice is not None
        try:
            return load(self._choice.base, self._choice.folder, cpu_float32=self._settings.engine.cpu_float32)
        except RagweldError as error:
            self._problem = str(error)
            raise

    def _base_loaded(self, served: Served) -> None:
        self._base = served

    def _loaded(self) -> Served:
        if self._base is None:
            raise Unavailable(f"ragweld cannot answer: {self._problem}.", code="model_not_loaded")
        return self._base

    def _live_worker(self) -> Worker:
        if self._worker is None or not self._worker.is_alive:
            raise EngineFailed("The engine's thread is not running.", hint="Restart the gateway.")
        return self._worker

    def _admit(self, generation: Generation) -> int:
        """Count the request's tokens against the bounds; returns them."""
        tokens = len(generation.prompt) + generation.max_tokens
        if tokens > self.context:
            raise ContextLengthExceeded(
                f"This model's context is {self.context} tokens; the messages take {len(generation.prompt)} and the "
                f"answer may take {generation.max_tokens}.",
                hint="Shorten the messages or lower max_tokens.",
                param="messages",
            )
        limit = self._settings.engine.max_queued_tokens
        if self._admitted_tokens and self._admitted_tokens + tokens > limit:
            raise Overloaded(
                f"The engine holds {self._admitted_tokens} of {limit} tokens already.",
                retry_after_s=RETRY_AFTER_S,
                hint="Try again in a moment.",
            )
        self._admitted_tokens += tokens
        return tokens

    def adapter_names(self) -> Collection[str]:
        """Names given to adapters: by people, and run ids."""
        return self._seen_aliases().names

    def _active(self, base: BaseId) -> AdapterId | None:
        return self._seen_aliases().active(base)

    def _seen_aliases(self) -> Aliases:
        """Every pointer as it is on disk now; the file is read again only when it changed."""
        try:
            stat = self._store.aliases_path.stat()
        except FileNotFoundError:
            return self._aliases
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if seen != self._aliases_seen:
            self._aliases = self._store.aliases()
            self._aliases_seen = seen
        return self._aliases

    async def _resident_active(self, base: BaseId) -> AdapterId | None:
        active = self._active(base)
        if active is None or active == self._last_good:
            self._last_good = active
            return active
        if active in self._refused:
            return self._last_good
        try:
            await self._make_resident(active)
        except (InvalidAdapter, NotFound) as error:
            log.error("engine: the active adapter %s is refused, the last good one serves: %s", active, error)
            self._refused[active] = InvalidAdapter(str(error))
            self.refused_swaps += 1
            return self._last_good
        self._last_good = active
        return active

    async def _make_resident(self, adapter_id: AdapterId) -> None:
        if adapter_id in self.counters.resident:
            return
        adapter = await self._adapter(adapter_id)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def tell(error: RagweldError | None) -> None:
            loop.call_soon_threadsafe(_settle, done, error)

        self._live_worker().make_resident(adapter, tell)
        try:
            await done
        except Overloaded:
            log.info("engine: no slot is free for %s yet; its first request waits for one", store.short(adapter_id))

    async def _adapter(self, adapter_id: AdapterId) -> Adapter:
        """The adapter's numbers, read and checked once and kept while they are used."""
        if adapter_id in self._read:
            self._read.move_to_end(adapter_id)
            return self._read[adapter_id]
        folder = await asyncio.to_thread(self._store.folder, adapter_id)
        began = time.perf_counter()
        adapter = await asyncio.to_thread(read_adapter, folder, self._loaded().shapes)
        if adapter.adapter_id != adapter_id:
            raise InvalidAdapter(f"The adapter {store.short(adapter_id)} was changed on disk; its content id differs.")
        log.info("engine: read adapter %s in %.0f ms", store.short(adapter_id), 1e3 * (time.perf_counter() - began))
        self._read[adapter_id] = adapter
        while len(self._read) > self._settings.engine.adapter_slots:
            self._read.popitem(last=False)
        return adapter


def _settle(done: asyncio.Future[None], error: RagweldError | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
