"""The engine's thread: whoever waits for it is always told, also of what nobody foresaw."""

from __future__ import annotations

import queue

from catalog.base.load import Base
from catalog.errors import EngineFailed, RagweldError
from catalog.ids import BaseId
from gateway.engine.residence import Limits, Served
from gateway.engine.worker import Loader, Memory, Worker

BASE = BaseId("somewhere")


def broken(_: BaseId) -> Base:
    raise ZeroDivisionError("nobody foresaw this")


def test_a_load_that_breaks_as_nobody_foresaw_is_told_and_the_thread_lives_on() -> None:
    limits = Limits(max_rows=4, prefill_step_tokens=64, adapter_slots=4)
    memory = Memory(budget_bytes=1 << 30, prefix_bytes=0, unload_after_s=None)
    worker = Worker(Loader(broken, lambda _: 0), limits, memory)
    worker.start()
    told: queue.SimpleQueue[Served | RagweldError] = queue.SimpleQueue()
    gone: queue.SimpleQueue[bool] = queue.SimpleQueue()
    for _ in range(2):
        worker.load(BASE, told.put)
        assert isinstance(told.get(timeout=60), EngineFailed)
    worker.unload(BASE, gone.put)
    assert gone.get(timeout=60)
    assert worker.stop(60)
