"""The adapters' pointers as they are on disk now: which is active, and which is meant by a name, version or run id.

Looked at for every request by one `stat` (2 us; by a thread of its own it would take 45), so that a promotion by any
process is seen by the very next answer; read only when it changed, and off the event loop. Where the disk is gone or
the file is spoilt, what was last read goes on; what the disk refused is read again at the next look.
`tests/gateway/engine/test_pointers.py`.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from catalog.adapters import AdapterStore, Pointers, made_for
from catalog.ids import AdapterId, BaseId

log = logging.getLogger(__name__)

Stamp = tuple[int, int, int]


class SeenPointers:
    """What was last read of one store's pointers. Belongs to one event loop."""

    def __init__(self, store: AdapterStore) -> None:
        self._store = store
        self._stamp: Stamp | None = None
        self._reading = asyncio.Lock()
        self._resolved: dict[tuple[BaseId, str], AdapterId] = {}
        self._made_for: dict[AdapterId, BaseId | None] = {}
        self.last = Pointers()

    async def look(self) -> Pointers:
        """Every pointer as it is on disk now, or was when it could last be read."""
        if _stamp_of(self._store.aliases_path) not in (None, self._stamp):
            async with self._reading:  # those that come meanwhile wait, and look again
                stamp = _stamp_of(self._store.aliases_path)
                if stamp not in (None, self._stamp) and (read := await asyncio.to_thread(self._read)) is not None:
                    self.last, self._stamp = read, stamp
                    self._resolved.clear()
                    self._made_for.clear()
        return self.last

    async def resolve(self, base: BaseId, pointer: str) -> AdapterId:
        """The content id behind a pointer; raises NotFound. Searched for once while no pointer changes."""
        pointers = await self.look()
        known = self._resolved.get((base, pointer))
        if known is None:
            known = await asyncio.to_thread(self._store.resolve, base, pointer, pointers)
            if self.last is pointers:  # a move meanwhile has emptied what is known; this is from before it
                self._resolved[base, pointer] = known
        return known

    async def made_for(self, adapter_id: AdapterId) -> BaseId | None:
        """The base that an adapter says it is for; None when it does not say. Read once."""
        if adapter_id in self._made_for:
            return self._made_for[adapter_id]
        pointers = self.last
        base = await asyncio.to_thread(self._read_made_for, adapter_id)
        if self.last is pointers:
            self._made_for[adapter_id] = base
        return base

    def _read_made_for(self, adapter_id: AdapterId) -> BaseId | None:
        return made_for(self._store.folder(adapter_id))

    def _read(self) -> Pointers | None:
        """None where the disk refuses, which may pass; a spoilt file stays so until it changes."""
        try:
            return self._store.pointers()
        except (OSError, ValueError) as error:
            log.error("engine: the pointers cannot be read, those read last go on: %s", error)
            return None if isinstance(error, OSError) else self.last


def _stamp_of(path: Path) -> Stamp | None:
    """By what a changed file is known: times, size, and which file it is; None when it cannot be told."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
