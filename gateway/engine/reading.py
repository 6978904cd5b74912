"""Adapters' numbers, read from the store off the event loop, checked against their base, and kept while they are used.

What is read is what was asked for: an adapter whose files were changed on disk has another content id and is refused.
`tests/gateway/engine/test_reading.py`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from functools import partial
from pathlib import Path

from catalog.adapters import AdapterStore, short
from catalog.base.lora import Adapter, read_adapter
from catalog.errors import InvalidAdapter
from catalog.ids import AdapterId, BaseId
from gateway.engine.residence import Served

log = logging.getLogger(__name__)

Key = tuple[BaseId, AdapterId]


class ReadAdapters:
    """The adapters that were used last, at most `most` of them. Belongs to one event loop."""

    def __init__(self, store: AdapterStore, most: int) -> None:
        self._store = store
        self._most = most
        self._read: OrderedDict[Key, Adapter] = OrderedDict()
        self._reading: dict[Key, asyncio.Task[Adapter]] = {}

    async def get(self, served: Served, adapter_id: AdapterId) -> Adapter:
        """An adapter of the store, read once for all who wait for it; raises NotFound, or InvalidAdapter naming the
        tensor at fault."""
        key = (served.base, adapter_id)
        if key in self._read:
            self._read.move_to_end(key)
            return self._read[key]
        if key not in self._reading:
            self._reading[key] = asyncio.create_task(self._read_stored(served, adapter_id))
            self._reading[key].add_done_callback(partial(self._has_read, key))
        return await asyncio.shield(self._reading[key])  # who goes leaves it to the others

    def _has_read(self, key: Key, task: asyncio.Task[Adapter]) -> None:
        del self._reading[key]
        if not task.cancelled():
            task.exception()  # nobody may be left to hear of it

    async def _read_stored(self, served: Served, adapter_id: AdapterId) -> Adapter:
        folder = await asyncio.to_thread(self._store.folder, adapter_id)
        began = time.perf_counter()
        adapter = await asyncio.to_thread(read_adapter, folder, served.shapes)
        if adapter.adapter_id != adapter_id:
            raise InvalidAdapter(f"The adapter {short(adapter_id)} was changed on disk; its content id differs.")
        log.info("engine: read adapter %s in %.0f ms", short(adapter_id), 1e3 * (time.perf_counter() - began))
        return self._keep(served, adapter)

    async def read(self, served: Served, folder: Path) -> Adapter:
        """An adapter from anywhere, kept as if it were in the store; raises InvalidAdapter."""
        return self._keep(served, await asyncio.to_thread(read_adapter, folder, served.shapes))

    def _keep(self, served: Served, adapter: Adapter) -> Adapter:
        self._read[served.base, adapter.adapter_id] = adapter
        while len(self._read) > self._most:
            self._read.popitem(last=False)
        return adapter
