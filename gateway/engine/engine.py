"""The engine's door for the event loop: resolve who answers, admit a generation, stream its pieces.

Answers are wholly by the base and adapter they were admitted with. Where bases lie is `bases.py`'s, what pointers mean
`pointers.py`'s, whether an active adapter may serve `active.py`'s. Admission is bounded in tokens. Nothing here touches
MLX: the worker's thread does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection
from functools import partial
from pathlib import Path

from catalog.adapters import AdapterStore, short
from catalog.base import device
from catalog.base.lora import Adapter
from catalog.errors import (
    ContextLengthExceeded,
    EngineFailed,
    InvalidAdapter,
    InvalidRequest,
    MemoryInUse,
    Overloaded,
    RagweldError,
    Unavailable,
)
from catalog.ids import BARE_BASE, AdapterId, BaseId, ModelRef
from catalog.settings import Settings
from gateway.engine.active import Actives, OnFailedTrial
from gateway.engine.bases import NOT_LOADED, Bases
from gateway.engine.pointers import SeenPointers
from gateway.engine.reading import ReadAdapters
from gateway.engine.requests import EngineState, Finish, Generation, Piece
from gateway.engine.residence import Limits, Served
from gateway.engine.residences import Loader, Memory
from gateway.engine.rows import Counters, Row
from gateway.engine.sampling import Draws
from gateway.engine.told import told
from gateway.engine.turns import Turns
from gateway.engine.voice import EngineVoice
from gateway.engine.worker import Worker

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0
STOP_TIMEOUT_S = 10.0
MEMORY_SHARE = 0.7


class Engine:
    """The default base, other bases as they are asked for, and their adapters, served by one thread."""

    def __init__(self, settings: Settings, home: Path) -> None:
        self._settings = settings
        self._store = AdapterStore(home)
        self._bases = Bases(settings)
        self._pointers = SeenPointers(self._store)
        self._adapters = ReadAdapters(self._store, settings.engine.adapter_slots)
        self._actives = Actives(self._store, self._make_resident, self.generate)
        self._turns = Turns(settings.engine.memory_wait_s)
        self._problem = "the base is being loaded"
        self._served: dict[BaseId, Served] = {}
        self._worker: Worker | None = None
        self._loading: asyncio.Task[None] | None = None
        self._admitted_tokens = 0

    async def start(self) -> None:
        """Start the thread and return; `state()` tells when the default base is loaded, or why it is not."""
        if not self._settings.engine.enabled:
            self._problem = "the engine is switched off (engine.enabled)"
            return
        try:
            await self._bases.find()
        except RagweldError as error:
            self._problem = str(error)
            return
        await self._pointers.look()
        self._worker = self._new_worker()
        self._worker.start()
        self._loading = asyncio.create_task(self._load_default())

    async def stop(self) -> None:
        """End open rows and the thread."""
        if self._loading is not None:
            self._loading.cancel()
        if self._worker is not None and not await asyncio.to_thread(self._worker.stop, STOP_TIMEOUT_S):
            log.error("engine: its thread did not end within %s s", STOP_TIMEOUT_S)

    def state(self) -> EngineState:
        """What is serving now."""
        default = self._bases.default
        served = self._served.get(default.base) if default is not None and self._is_alive() else None
        return EngineState(
            ready=served is not None,
            base=served.base if served else None,
            reason=default.reason if served and default else self._problem,
            device=device.current().name,
            precision=served.precision if served else "",
            context=self._context(served) if served else 0,
            active_adapter=self._pointers.last.active(served.base) if served else None,
            resident_adapters=self.counters.resident,
            bases=self._bases.here if served else (),
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

    @property
    def waiting_for_memory(self) -> int:
        """Requests that wait for memory which other bases use."""
        return self._turns.waiting

    async def look(self) -> None:
        """See which adapters were promoted or named since, by any process."""
        await self._pointers.look()

    async def look_for_bases(self) -> None:
        """See which bases were fetched since."""
        await self._bases.look()

    def adapter_names(self) -> Collection[str]:
        """Names given to adapters when we last looked: by people, and run ids."""
        return self._pointers.last.names

    async def resolve(self, ref: ModelRef) -> EngineVoice:
        """Who answers `ref` now: its base in memory, its adapter resident and checked.

        A named adapter without a base is answered by the base it was made for, if the catalog knows that one. Raises
        Unavailable for a base that is not here, NotFound for an unknown adapter, InvalidAdapter for one that was asked
        for by name and does not fit.
        """
        served = await self._base(ref.base)
        if ref.adapter == BARE_BASE:
            return self._voice(served, None)
        if ref.adapter is None:
            active = (await self._pointers.look()).active(served.base)
            return self._voice(served, await self._actives.serving(self._voice(served, active)))
        adapter_id = await self._pointers.resolve(served.base, ref.adapter)
        its_base = await self._pointers.made_for(adapter_id) if ref.base is None else None
        if its_base is not None and self._bases.knows(its_base):
            served = await self._base(its_base)
        voice = self._voice(served, adapter_id)
        await self._make_resident(voice)
        return voice

    async def check_adapter(self, folder: Path, base: BaseId) -> AdapterId:
        """Read an adapter as if to serve it on a base, and ask it the golden prompt; raises InvalidAdapter naming the
        tensor at fault or what was answered."""
        served = await self._base(base)
        adapter_id = (await self._adapters.read(served, folder)).adapter_id
        if problem := await self._actives.fault(self._voice(served, adapter_id), adapter_id, folder):
            raise InvalidAdapter(f"The adapter {short(adapter_id)} failed the golden prompt: {problem}.")
        return adapter_id

    @property
    def refused_swaps(self) -> int:
        """Active adapters that could not serve."""
        return self._actives.refused

    def on_failed_trial(self, tell: OnFailedTrial) -> None:
        """Have `tell` told of every active adapter that fails the golden prompt."""
        self._actives.on_failed_trial = tell

    async def generate(self, generation: Generation) -> AsyncGenerator[Piece | Finish, None]:
        """Produce one answer: pieces, then one finish. Closing the generator stops the row within one step.

        Raises InvalidRequest, ContextLengthExceeded, Overloaded, InvalidAdapter, NotFound, Unavailable or EngineFailed.
        """
        served = await self._base(generation.base)
        _check_tokens(generation, served.vocabulary)
        tokens = self._admit(generation, self._context(served))
        row: Row | None = None
        try:
            adapter = await self._adapters.get(served, generation.adapter_id) if generation.adapter_id else None
            loop = asyncio.get_running_loop()
            row = Row(served.base, generation, adapter, loop, asyncio.Queue(), Draws(generation.sampling))
            await self._turns.take(served.base, partial(told, partial(self._live_worker().submit, row)))
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
            self._turns.go_on()
        yield news

    async def load(self, base: BaseId) -> None:
        """Bring a base into memory, unless it is there; raises Unavailable, MemoryInUse."""
        await self._base(base)
        await self._load(base)

    async def unload(self, base: BaseId) -> bool:
        """Let a base leave memory, unless something is decoded in it; whether it is gone. Its next request loads it."""
        return await told(partial(self._live_worker().unload, base))

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
        return Worker(Loader(self._bases.load, self._bases.bytes_of), limits, memory)

    async def _load_default(self) -> None:
        assert self._bases.default is not None
        try:
            await self._load(self._bases.default.base)
        except RagweldError as error:
            self._problem = str(error)
            log.error("engine: %s", error)

    async def _load(self, base: BaseId) -> Served:
        worker = self._live_worker()
        served: Served = await self._turns.take(base, partial(told, partial(worker.load, base)), and_keep=True)
        if base not in self._served:  # several may have asked for it at once
            log.info("engine: %s is loaded in %s on %s", base, served.precision, device.current().name)
        self._served[base] = served
        return served

    def _is_alive(self) -> bool:
        return self._worker is not None and self._worker.is_alive

    def _live_worker(self) -> Worker:
        if self._worker is None or not self._worker.is_alive:
            raise EngineFailed("The engine's thread is not running.", hint="Restart the gateway.")
        return self._worker

    async def _base(self, wanted: BaseId | None) -> Served:
        """The base, brought into memory the first time it is asked for; raises Unavailable."""
        default = self._bases.default
        if default is None or default.base not in self._served:
            raise Unavailable(f"ragweld cannot answer: {self._problem}.", code=NOT_LOADED)
        base = wanted or default.base
        if base in self._served:
            return self._served[base]
        await self._bases.need(base)
        return await self._load(base)

    def _voice(self, served: Served, adapter_id: AdapterId | None) -> EngineVoice:
        return EngineVoice(served, adapter_id, self._context(served))

    def _context(self, served: Served) -> int:
        return min(served.context, self._settings.engine.max_context_tokens)

    def _admit(self, generation: Generation, context: int) -> int:
        """Count the request's tokens against the bounds; returns them."""
        tokens = len(generation.prompt) + generation.max_tokens
        if tokens > context:
            raise ContextLengthExceeded(
                f"This model's context is {context} tokens; the prompt takes {len(generation.prompt)} and the answer "
                f"may take {generation.max_tokens}.",
                hint="Shorten the prompt or lower max_tokens.",
                param="prompt" if generation.continues else "messages",
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

    async def _make_resident(self, voice: EngineVoice) -> None:
        served, adapter_id = voice.served, voice.adapter_id
        if adapter_id is None or (served.base, adapter_id) in self.counters.slots:
            return
        adapter = await self._adapters.get(served, adapter_id)
        if not await self._is_resident(served.base, adapter):
            log.info("engine: %s has no slot yet; its first request waits for one", short(adapter_id))

    async def _is_resident(self, base: BaseId, adapter: Adapter) -> bool:
        """Put an adapter into a slot, if that takes from nobody who waits for memory; whether it is in one."""
        if self._turns.waiting:
            return False
        try:
            return await told(partial(self._live_worker().make_resident, base, adapter))
        except MemoryInUse:
            return False


def _check_tokens(generation: Generation, vocabulary: int) -> None:
    """Refuse tokens that the base does not have: MLX looks them up without a check."""
    for param, tokens in (("prompt", generation.prompt), ("logit_bias", generation.sampling.logit_bias)):
        if tokens and not 0 <= min(tokens) <= max(tokens) < vocabulary:
            raise InvalidRequest(f"This model's tokens are 0 to {vocabulary - 1}.", param=param, code="invalid_value")
