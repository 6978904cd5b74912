"""Which adapter answers where none is asked for: the alias's, once it has shown that it can, else the last good one.

An adapter that cannot be read or fails the golden prompt (`trial.py`) serves nobody, and every one is asked once,
however many requests wait for it. After a restart the last good one is looked for in the alias's history.
`tests/gateway/engine/test_trial.py`, `test_identity.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from catalog.adapters import AdapterStore
from catalog.errors import InvalidAdapter, NotFound
from catalog.ids import AdapterId, BaseId
from gateway.engine import trial
from gateway.engine.trial import Generate
from gateway.engine.voice import EngineVoice

log = logging.getLogger(__name__)

OnFailedTrial = Callable[[BaseId, AdapterId, str], Awaitable[None]]
"""Told of an active adapter that failed the golden prompt, and how."""
MakeResident = Callable[[EngineVoice], Awaitable[None]]
"""Raises what `read_adapter` does."""


class Actives:
    """The active adapter of each base, as far as it may serve. Belongs to one event loop."""

    def __init__(self, store: AdapterStore, make_resident: MakeResident, generate: Generate) -> None:
        self._store = store
        self._make_resident = make_resident
        self._generate = generate
        self._last_good: dict[BaseId, AdapterId | None] = {}
        self._refused: set[tuple[BaseId, AdapterId]] = set()
        self._trusted: set[tuple[BaseId, AdapterId]] = set()
        self._trying = asyncio.Lock()
        self.on_failed_trial: OnFailedTrial | None = None
        self.refused = 0

    async def serving(self, active: EngineVoice) -> AdapterId | None:
        """Whom `active`, the voice of the alias, is answered by: itself, or the last good one before it."""
        base, adapter_id = active.base, active.adapter_id
        last_good = self._last_good.get(base)
        if adapter_id is not None and adapter_id != last_good:
            if (base, adapter_id) not in self._refused and (problem := await self._problem(active, adapter_id)):
                self._refuse(base, adapter_id, problem)
            if (base, adapter_id) in self._refused:
                if base not in self._last_good:  # the gateway began after it had become active
                    self._last_good[base] = await self._last_that_can(active)
                return self._last_good[base]
        self._last_good[base] = adapter_id
        return adapter_id

    async def fault(self, voice: EngineVoice, adapter_id: AdapterId, folder: Path) -> str | None:
        """What the golden prompt in `folder` finds wrong with an adapter; None, then and for good, when nothing."""
        if (voice.base, adapter_id) in self._trusted:
            return None
        try:
            golden = await asyncio.to_thread(trial.golden_of, folder)
        except ValueError as error:
            return f"its golden prompt cannot be read: {error}"
        problem = await trial.fault(voice, golden, self._generate)
        if problem is None:
            self._trusted.add((voice.base, adapter_id))
        return problem

    async def _last_that_can(self, active: EngineVoice) -> AdapterId | None:
        """The newest that was active before and may still serve; None is the bare base."""
        for earlier in reversed(await asyncio.to_thread(self._store.before, active.base)):
            if earlier is None or await self._problem(replace(active, adapter_id=earlier), earlier) is None:
                return earlier
        return None

    async def _problem(self, active: EngineVoice, adapter_id: AdapterId) -> str | None:
        try:
            await self._make_resident(active)
            return await self._tried(active, adapter_id)
        except (InvalidAdapter, NotFound) as error:
            return str(error)

    def _refuse(self, base: BaseId, adapter_id: AdapterId, problem: str) -> None:
        if (base, adapter_id) not in self._refused:
            self._refused.add((base, adapter_id))
            self.refused += 1
            log.error("engine: the active adapter %s is refused, the last good one serves: %s", adapter_id, problem)

    async def _tried(self, voice: EngineVoice, adapter_id: AdapterId) -> str | None:
        async with self._trying:
            if (voice.base, adapter_id) in self._refused:
                return "it failed the golden prompt"
            folder = await asyncio.to_thread(self._store.folder, adapter_id)
            problem = await self.fault(voice, adapter_id, folder)
            if problem is not None and self.on_failed_trial is not None:
                await self.on_failed_trial(voice.base, adapter_id, problem)
            return problem
