"""Makes an adapter active that somebody put into the folder users know (`ragweld_agent_model_path`) by hand.

The folder is looked at every `reload_period_sec`, or before every chat when that is 0; only names, times and sizes
until they change. What is there is adopted when it is new to the base, or when it was put there after the last
decision while we watched; a copy that a promotion made is active already, or was rolled back since, and nothing
happens. A bad one is refused by its tensor's name and the last good one keeps serving.
`tests/gateway/test_folder_watch.py`.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from catalog.adapters import AUTOMATIC, AdapterStore, AliasMove, say_made_for
from catalog.errors import RagweldError
from catalog.ids import AdapterId, BaseId
from gateway.adapters import Source, taken_in
from gateway.ports import AnswerEngine

log = logging.getLogger(__name__)

STAMP_S = 0.001
"""Times of decisions are whole milliseconds."""

Signature = tuple[tuple[str, int, int], ...]


class FolderWatch:
    """Watches one folder for one engine. Belongs to its event loop."""

    def __init__(self, home: Path, folder: Path, period_s: float, engine: AnswerEngine, store: AdapterStore) -> None:
        self._home = home
        self._folder = folder
        self._period_s = period_s
        self._engine = engine
        self._store = store
        self._seen: Signature | None = None
        self._looking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look once the base is loaded, then every period."""
        if self._period_s > 0:
            self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def before_request(self) -> None:
        """Look now if every request is to."""
        if self._period_s == 0:
            await self.look()

    async def look(self) -> None:
        """Adopt what is in the folder if it changed; a refusal is told once."""
        async with self._looking:
            base = self._engine.state().base
            signature = await asyncio.to_thread(signature_of, self._folder)
            if base is None or signature == self._seen:
                return
            first, self._seen = self._seen is None, signature
            if not signature:
                return
            try:
                await self._adopt(base, only_new=first)
            except (RagweldError, OSError) as error:
                log.error("watch: the adapter in %s is refused, the last good one serves: %s", self._folder, error)

    async def _adopt(self, base: BaseId, *, only_new: bool) -> None:
        async with taken_in(Source(self._folder), self._home) as folder:
            checked = await self._engine.check_adapter(folder, base)
            await asyncio.to_thread(say_made_for, folder, base)
            moved = await asyncio.to_thread(self._make_active, base, checked, folder, only_new)
        if moved:
            log.info("watch: adopted the adapter %s from %s", checked[:12], self._folder)

    def _make_active(self, base: BaseId, checked: AdapterId, folder: Path, only_new: bool) -> bool:
        aliases = self._store.aliases()
        current, moves = aliases.active(base), aliases.bases.get(base, [])
        is_known = checked in {move.adapter_id for move in moves}
        if checked == current or (is_known and (only_new or not _is_newer(self._folder, moves[-1]))):
            return False
        if moves and moves[-1].previous == checked and moves[-1].reason.startswith(AUTOMATIC):
            return False  # a copy of what was just found bad
        adapter_id = self._store.put(folder)
        self._store.move(base, adapter_id, expected=current, reason=f"found in {self._folder.name}")
        return True

    async def _watch(self) -> None:
        while True:
            await self.look()
            ready = self._engine.state().ready
            await asyncio.sleep(self._period_s if ready else min(1.0, self._period_s))


def _is_newer(folder: Path, decided: AliasMove) -> bool:
    """Whether something was put there after the last decision; a promotion's copy that was rolled back was not."""
    changed_s = max(path.stat().st_ctime for path in folder.iterdir())
    return changed_s > datetime.fromisoformat(decided.ts).timestamp() + STAMP_S


def signature_of(folder: Path) -> Signature:
    """Names, times and sizes of a folder's files; empty when there is none."""
    try:
        files = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    except OSError:
        return ()
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in files)
