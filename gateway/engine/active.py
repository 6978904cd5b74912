"""Which adapter answers where none is asked for: the alias's, once it has shown that it can, else the last good one.

An adapter that cannot be read or fails the golden prompt (`trial.py`) serves nobody, and every one is asked once,
however many requests wait for it. What the disk only refuses to read now is no verdict: the next request asks again.
After a restart the last good one is looked for in the alias's history.
`tests/gateway/engine/test_trial.py`, `test_identity.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an adapter may not serve; one that may pass is asked about again."""

    words: str
    may_pass: bool = False


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
        if adapter_id is not None and adapter_id != self._last_good.get(base):
            is_refused = (base, adapter_id) in self._refused
            problem = None if is_refused else await self._problem(active, adapter_id)
            if problem is not None:
                self._refuse(base, adapter_id, problem)
            if is_refused or problem is not None:
                return await self._stand_in(active)
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

    async def _stand_in(self, active: EngineVoice) -> AdapterId | None:
        base = active.base
        if base in self._last_good:
            return self._last_good[base]
        found = await self._last_that_can(active)  # the gateway began after it had become active
        if (base, active.adapter_id) in self._refused:
            self._last_good[base] = found
        return found

    async def _last_that_can(self, active: EngineVoice) -> AdapterId | None:
        """The newest that was active before and may still serve; None is the bare base."""
        for earlier in await asyncio.to_thread(self._others, active.base, active.adapter_id):
            if earlier is None or await self._problem(replace(active, adapter_id=earlier), earlier) is None:
                return earlier
        return None

    def _others(self, base: BaseId, adapter_id: AdapterId | None) -> list[AdapterId | None]:
        """Newest first; the alias itself comes first where it has left the adapter, as it does after a failed trial."""
        line = [*self._store.before(base), self._store.active(base)]
        return [one for one in reversed(line) if one != adapter_id]

    async def _problem(self, active: EngineVoice, adapter_id: AdapterId) -> Problem | None:
        try:
            await self._make_resident(active)
            words = await self._tried(active, adapter_id)
        except (InvalidAdapter, NotFound, OSError) as error:
            return Problem(str(error), _may_pass(error))
        return Problem(words) if words is not None else None

    def _refuse(self, base: BaseId, adapter_id: AdapterId, problem: Problem) -> None:
        if problem.may_pass:
            log.error("engine: the active adapter %s cannot be read now: %s", adapter_id, problem.words)
        elif (base, adapter_id) not in self._refused:
            self._refused.add((base, adapter_id))
            self.refused += 1
            told = "engine: the active adapter %s is refused, the last good one serves: %s"
            log.error(told, adapter_id, problem.words)

    async def _tried(self, voice: EngineVoice, adapter_id: AdapterId) -> str | None:
        async with self._trying:
            if (voice.base, adapter_id) in self._refused:
                return "it failed the golden prompt"
            folder = await asyncio.to_thread(self._store.folder, adapter_id)
            problem = await self.fault(voice, adapter_id, folder)
            if problem is not None and self.on_failed_trial is not None:
                await self.on_failed_trial(voice.base, adapter_id, problem)
            return problem


def _may_pass(error: Exception) -> bool:
    """Whether the disk refused what is there; a file that is gone stays so."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError)
