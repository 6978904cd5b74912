"""The engine's thread: whoever waits for it is always told, also of what nobody foresaw."""

from __future__ import annotations

import asyncio
import queue

from catalog.base.load import Base
from catalog.errors import EngineFailed, RagweldError
from catalog.ids import BaseId
from gateway.engine.requests import Generation
from gateway.engine.residence import Limits, Served
from gateway.engine.rows import Row
from gateway.engine.sampling import Draws
from gateway.engine.worker import STOPPING, Loader, Memory, Worker

BASE = BaseId("somewhere")


def broken(_: BaseId) -> Base:
    raise ZeroDivisionError("nobody foresaw this")


def broken_worker() -> Worker:
    limits = Limits(max_rows=4, prefill_step_tokens=64, adapter_slots=4)
    memory = Memory(budget_bytes=1 << 30, prefix_bytes=0, unload_after_s=None)
    return Worker(Loader(broken, lambda _: 0), limits, memory)


def test_a_load_that_breaks_as_nobody_foresaw_is_told_and_the_thread_lives_on() -> None:
    worker = broken_worker()
    worker.start()
    told: queue.SimpleQueue[Served | RagweldError] = queue.SimpleQueue()
    gone: queue.SimpleQueue[bool] = queue.SimpleQueue()
    for _ in range(2):
        worker.load(BASE, told.put)
        assert isinstance(told.get(timeout=60), EngineFailed)
    worker.unload(BASE, gone.put)
    assert gone.get(timeout=60)
    assert worker.stop(60)


def test_who_asks_when_the_thread_has_just_ended_is_refused_at_once() -> None:
    worker = broken_worker()
    worker.start()
    assert worker.stop(60)
    told: list[bool | Served | RagweldError] = []
    worker.load(BASE, told.append)
    worker.unload(BASE, told.append)
    assert told == [STOPPING, True]

    async def scene() -> None:
        generation = Generation((1, 2, 3), None, max_tokens=1)
        row = Row(BASE, generation, None, asyncio.get_running_loop(), asyncio.Queue(), Draws(generation.sampling))
        refused: list[RagweldError | None] = []
        worker.submit(row, refused.append)
        worker.cancel(row)
        assert refused == [STOPPING]

    asyncio.run(scene())
