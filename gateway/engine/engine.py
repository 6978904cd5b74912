"""The engine's door for the event loop: resolve who answers, admit a generation, stream its pieces.

Answers are wholly by the base and adapter they were admitted with. The alias on disk is looked at for every request (a
`stat`), so a promotion is seen by the very next one; an active adapter that cannot be read leaves the last good one
serving. Admission is bounded in tokens. Nothing here touches MLX: the worker's thread does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import suppress
from pathlib import Path

from catalog import models
from catalog.adapters import AdapterStore, Pointers, short
from catalog.base import blas, device, locate
from catalog.base.load import Base, load
from catalog.base.locate import BaseChoice
from catalog.base.lora import Adapter, read_adapter
from catalog.errors import (
    ContextLengthExceeded,
    EngineFailed,
    InvalidAdapter,
    InvalidRequest,
    NotFound,
    Overloaded,
    RagweldError,
    Unavailable,
)
from catalog.ids import BARE_BASE, AdapterId, BaseId, ModelRef
from catalog.plan import SMALL_BASE_PARAMETERS
from catalog.settings import Settings
from gateway.engine import trial
from gateway.engine.requests import EngineState, Finish, Generation, Piece
from gateway.engine.residence import Limits, Served
from gateway.engine.rows import Counters, Row
from gateway.engine.sampling import Draws
from gateway.engine.voice import EngineVoice
from gateway.engine.worker import Loader, Memory, Worker

log = logging.getLogger(__name__)

OnFailedTrial = Callable[[BaseId, AdapterId, str], Awaitable[None]]
"""Told of an active adapter that failed the golden prompt, and how."""

RETRY_AFTER_S = 1.0
STOP_TIMEOUT_S = 10.0
MEMORY_SHARE = 0.7
NOT_LOADED = "model_not_loaded"


class Engine:
    """The default base, other bases as they are asked for, and their adapters, served by one thread."""

    def __init__(self, settings: Settings, home: Path) -> None:
        self._settings = settings
        self._store = AdapterStore(home)
        self._problem = "the base is being loaded"
        self._default: BaseChoice | None = None
        self._folders: dict[BaseId, Path] = {}
        self._served: dict[BaseId, Served] = {}
        self._largest = 0
        self._worker: Worker | None = None
        self._admitted_tokens = 0
        self._read: OrderedDict[tuple[BaseId, AdapterId], Adapter] = OrderedDict()
        self._pointers = Pointers()
        self._pointers_seen: tuple[int, int, int] | None = None
        self._last_good: dict[BaseId, AdapterId | None] = {}
        self._refused: set[tuple[BaseId, AdapterId]] = set()
        self._trusted: set[tuple[BaseId, AdapterId]] = set()
        self._trying = asyncio.Lock()
        self.on_failed_trial: OnFailedTrial | None = None
        self.refused_swaps = 0

    async def start(self) -> None:
        """Start the thread and return; `state()` tells when the default base is loaded, or why it is not."""
        if not self._settings.engine.enabled:
            self._problem = "the engine is switched off (engine.enabled)"
            return
        try:
            self._default = await asyncio.to_thread(locate.choose, self._settings.training.ragweld_agent_base_model)
        except RagweldError as error:
            self._problem = str(error)
            return
        self._folders = {self._default.base: self._default.folder} | await asyncio.to_thread(self._find_bases)
        self._worker = self._new_worker()
        self._worker.start()
        loop = asyncio.get_running_loop()
        self._worker.load(self._default.base, lambda loaded: _call_soon(loop, self._take_loaded, loaded))

    async def stop(self) -> None:
        """End open rows and the thread."""
        if self._worker is not None and not await asyncio.to_thread(self._worker.stop, STOP_TIMEOUT_S):
            log.error("engine: its thread did not end within %s s", STOP_TIMEOUT_S)

    def state(self) -> EngineState:
        """What is serving now."""
        base = self._default.base if self._default is not None else None
        served = self._served.get(base) if base is not None and self._is_alive() else None
        return EngineState(
            ready=served is not None,
            base=served.base if served else None,
            reason=self._default.reason if served and self._default else self._problem,
            device=device.current().name,
            precision=served.precision if served else "",
            context=self._context(served) if served else 0,
            active_adapter=self._seen_pointers().active(served.base) if served else None,
            resident_adapters=self.counters.resident,
            bases=tuple(self._folders) if served else (),
            loaded_bases=self._worker.loaded if self._worker else (),
        )

    @property
    def counters(self) -> Counters:
        """What the thread did so far."""
        return self._worker.counters if self._worker is not None else Counters()

    @property
    def admitted_tokens(self) -> int:
        """Prompt and answer tokens of every request that has not ended."""
        return self._admitted_tokens

    def adapter_names(self) -> Collection[str]:
        """Names given to adapters: by people, and run ids."""
        return self._seen_pointers().names

    async def resolve(self, ref: ModelRef) -> EngineVoice:
        """Who answers `ref` now: its base in memory, its adapter resident and checked.

        Raises Unavailable for a base that is not here, NotFound for an unknown adapter, InvalidAdapter for one that was
        asked for by name and does not fit.
        """
        served = await self._base(ref.base)
        adapter_id = await self._adapter_of(served, ref.adapter)
        return EngineVoice(served, adapter_id, self._context(served))

    async def check_adapter(self, folder: Path) -> AdapterId:
        """Read an adapter as if to serve it on the default base, and ask it the golden prompt; raises InvalidAdapter
        naming the tensor at fault or what was answered."""
        served = await self._base(None)
        adapter = await asyncio.to_thread(read_adapter, folder, served.shapes)
        self._remember((served.base, adapter.adapter_id), adapter)
        if problem := await self._fault(served, adapter.adapter_id, folder):
            raise InvalidAdapter(f"The adapter {short(adapter.adapter_id)} failed the golden prompt: {problem}.")
        return adapter.adapter_id

    async def generate(self, generation: Generation) -> AsyncGenerator[Piece | Finish, None]:
        """Produce one answer: pieces, then one finish. Closing the generator stops the row within one step.

        Raises InvalidRequest, ContextLengthExceeded, Overloaded, InvalidAdapter, NotFound, Unavailable or EngineFailed.
        """
        served = await self._base(generation.base)
        _check_tokens(generation, served.vocabulary)
        tokens = self._admit(generation, self._context(served))
        row: Row | None = None
        try:
            adapter = await self._adapter(served, generation.adapter_id) if generation.adapter_id else None
            loop = asyncio.get_running_loop()
            row = Row(served.base, generation, adapter, loop, asyncio.Queue(), Draws(generation.sampling))
            self._live_worker().submit(row)
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

    async def load(self, base: BaseId) -> None:
        """Bring a base into memory, unless it is there; raises Unavailable, Overloaded."""
        await self._base(base)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Served | RagweldError] = loop.create_future()
        self._live_worker().load(base, lambda loaded: _call_soon(loop, _settle, done, loaded))
        if isinstance(loaded := await done, RagweldError):
            raise loaded

    async def unload(self, base: BaseId) -> bool:
        """Let a base leave memory, unless something is decoded in it; whether it is gone. Its next request loads it."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        self._live_worker().unload(base, lambda is_gone: _call_soon(loop, _settle, done, is_gone))
        return await done

    def forget_prefixes(self) -> None:
        """Drop every cached prefix; answers stay the same, the next ones prefill whole."""
        self._live_worker().forget_prefixes()

    def _new_worker(self) -> Worker:
        engine, training = self._settings.engine, self._settings.training
        limits = Limits(
            max_rows=engine.max_rows,
            prefill_step_tokens=engine.prefill_step_tokens,
            adapter_slots=engine.adapter_slots,
        )
        memory = Memory(
            budget_bytes=engine.memory_bytes or int(MEMORY_SHARE * device.current().memory_bytes),
            prefix_bytes=engine.prompt_cache_bytes,
            unload_after_s=training.ragweld_agent_unload_after_sec or None,
        )
        return Worker(Loader(self._load_base, self._size_of_base), limits, memory)

    def _find_bases(self) -> dict[BaseId, Path]:
        """Every base of the catalog whose weights are on this machine."""
        known = sorted(models.known_bases(self._settings.training))
        return {BaseId(base): folder for base in known if (folder := locate.find(base)) is not None}

    def _load_base(self, base: BaseId) -> Base:
        loaded = load(base, self._folders[base], cpu_float32=self._settings.engine.cpu_float32)
        self._largest = max(self._largest, loaded.parameters)
        if self._largest < SMALL_BASE_PARAMETERS:
            blas.limit_threads(1)  # 8 streams of nano: 1,031 tokens/s with one thread, 874 with two
        else:
            blas.limit_threads(os.cpu_count() or 1)
        return loaded

    def _size_of_base(self, base: BaseId) -> int:
        folder = self._folders[base]
        if self._settings.engine.cpu_float32 and device.current().kind == "cpu":
            return 4 * locate.size_of(folder).parameters
        return sum(path.stat().st_size for path in folder.glob("model*.safetensors"))

    def _take_loaded(self, loaded: Served | RagweldError) -> None:
        if isinstance(loaded, RagweldError):
            self._problem = str(loaded)
            log.error("engine: %s", loaded)
        else:
            self._served[loaded.base] = loaded
            log.info("engine: %s is loaded in %s on %s", loaded.base, loaded.precision, device.current().name)

    def _is_alive(self) -> bool:
        return self._worker is not None and self._worker.is_alive

    def _live_worker(self) -> Worker:
        if self._worker is None or not self._worker.is_alive:
            raise EngineFailed("The engine's thread is not running.", hint="Restart the gateway.")
        return self._worker

    async def _base(self, wanted: BaseId | None) -> Served:
        """The base, brought into memory the first time it is asked for; raises Unavailable."""
        if self._default is None or self._default.base not in self._served:
            raise Unavailable(f"ragweld cannot answer: {self._problem}.", code=NOT_LOADED)
        base = wanted or self._default.base
        if base in self._served:
            return self._served[base]
        if base not in self._folders:
            hint = f"{locate.download_hint(base)}, then restart the gateway." if "/" in base else ""
            raise Unavailable(f"The base {base} is not on this machine.", hint=hint, code=NOT_LOADED)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Served | RagweldError] = loop.create_future()
        self._live_worker().load(base, lambda loaded: _call_soon(loop, _settle, done, loaded))
        loaded = await done
        self._take_loaded(loaded)
        if isinstance(loaded, RagweldError):
            raise loaded
        return loaded

    def _context(self, served: Served) -> int:
        return min(served.context, self._settings.engine.max_context_tokens)

    def _admit(self, generation: Generation, context: int) -> int:
        """Count the request's tokens against the bounds; returns them."""
        tokens = len(generation.prompt) + generation.max_tokens
        if tokens > context:
            raise ContextLengthExceeded(
                f"This model's context is {context} tokens; the messages take {len(generation.prompt)} and the "
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

    def _seen_pointers(self) -> Pointers:
        """Every pointer as it is on disk now, or was when it could last be read; read again only when it changed."""
        with suppress(OSError):  # a disk that is gone stops nobody from being answered
            stat = self._store.aliases_path.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen != self._pointers_seen:
                self._pointers = self._store.pointers()
                self._pointers_seen = seen
        return self._pointers

    async def _adapter_of(self, served: Served, pointer: str | None) -> AdapterId | None:
        if pointer == BARE_BASE:
            return None
        if pointer is None:
            return await self._resident_active(served)
        adapter_id = await asyncio.to_thread(self._store.resolve, served.base, pointer)
        await self._make_resident(served, adapter_id)
        return adapter_id

    async def _resident_active(self, served: Served) -> AdapterId | None:
        active = self._seen_pointers().active(served.base)
        last_good = self._last_good.get(served.base)
        if active is not None and (served.base, active) in self._refused:
            return last_good
        if active is not None and active != last_good:
            try:
                await self._make_resident(served, active)
                problem = await self._tried(served, active)
            except (InvalidAdapter, NotFound) as error:
                problem = str(error)
            if problem is not None:
                log.error("engine: the active adapter %s is refused, the last good one serves: %s", active, problem)
                self._refused.add((served.base, active))
                self.refused_swaps += 1
                return last_good
        self._last_good[served.base] = active
        return active

    async def _tried(self, served: Served, adapter_id: AdapterId) -> str | None:
        """What the golden prompt found wrong; every adapter is asked once, however many requests wait for it."""
        async with self._trying:
            if (served.base, adapter_id) in self._refused:
                return "it failed the golden prompt"
            folder = await asyncio.to_thread(self._store.folder, adapter_id)
            problem = await self._fault(served, adapter_id, folder)
            if problem is not None and self.on_failed_trial is not None:
                await self.on_failed_trial(served.base, adapter_id, problem)
            return problem

    async def _fault(self, served: Served, adapter_id: AdapterId, folder: Path) -> str | None:
        if (served.base, adapter_id) in self._trusted:
            return None
        try:
            golden = await asyncio.to_thread(trial.golden_of, folder)
        except ValueError as error:
            return f"its golden prompt cannot be read: {error}"
        voice = EngineVoice(served, adapter_id, self._context(served))
        problem = await trial.fault(voice, golden, self.generate)
        if problem is None:
            self._trusted.add((served.base, adapter_id))
        return problem

    async def _make_resident(self, served: Served, adapter_id: AdapterId) -> None:
        if (served.base, adapter_id) in self.counters.slots:
            return
        adapter = await self._adapter(served, adapter_id)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[RagweldError | None] = loop.create_future()
        self._live_worker().make_resident(served.base, adapter, lambda error: _call_soon(loop, _settle, done, error))
        error = await done
        if isinstance(error, Overloaded):
            log.info("engine: no slot is free for %s yet; its first request waits for one", short(adapter_id))
        elif error is not None:
            raise error

    async def _adapter(self, served: Served, adapter_id: AdapterId) -> Adapter:
        """The adapter's numbers, read and checked once and kept while they are used."""
        key = (served.base, adapter_id)
        if key in self._read:
            self._read.move_to_end(key)
            return self._read[key]
        folder = await asyncio.to_thread(self._store.folder, adapter_id)
        began = time.perf_counter()
        adapter = await asyncio.to_thread(read_adapter, folder, served.shapes)
        if adapter.adapter_id != adapter_id:
            raise InvalidAdapter(f"The adapter {short(adapter_id)} was changed on disk; its content id differs.")
        log.info("engine: read adapter %s in %.0f ms", short(adapter_id), 1e3 * (time.perf_counter() - began))
        self._remember(key, adapter)
        return adapter

    def _remember(self, key: tuple[BaseId, AdapterId], adapter: Adapter) -> None:
        self._read[key] = adapter
        while len(self._read) > self._settings.engine.adapter_slots:
            self._read.popitem(last=False)


def _check_tokens(generation: Generation, vocabulary: int) -> None:
    """Refuse tokens that the base does not have: MLX looks them up without a check."""
    for param, tokens in (("prompt", generation.prompt), ("logit_bias", generation.sampling.logit_bias)):
        if tokens and not 0 <= min(tokens) <= max(tokens) < vocabulary:
            raise InvalidRequest(f"This model's tokens are 0 to {vocabulary - 1}.", param=param, code="invalid_value")


def _call_soon(loop: asyncio.AbstractEventLoop, tell: object, *arguments: object) -> None:
    """Call on the loop's thread; nothing when the loop is closed, since nobody waits then."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(tell, *arguments)  # type: ignore[arg-type]


def _settle(done: asyncio.Future[object], result: object) -> None:
    if not done.cancelled():
        done.set_result(result)
