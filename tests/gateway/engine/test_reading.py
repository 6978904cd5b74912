"""Adapters' numbers: read once however many wait, for those who stay, and anew after a fault."""

from __future__ import annotations

import asyncio
from pathlib import Path

from catalog.adapters import WEIGHTS_FILE, AdapterStore
from catalog.errors import InvalidAdapter
from gateway.engine.reading import ReadAdapters
from tests.gateway.engine.conftest import House, bare, run, running


class CountingStore(AdapterStore):
    """Counts how often an adapter is looked up to be read."""

    reads = 0

    def folder(self, adapter_id: str) -> Path:
        self.reads += 1
        return super().folder(adapter_id)


def test_an_adapter_is_read_once_however_many_wait_for_it_though_the_first_goes(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            served, store = (await bare(engine)).served, CountingStore(house.home)
            adapters, adapter_id = ReadAdapters(store, 4), house.ids[0]
            waiting = [asyncio.create_task(adapters.get(served, adapter_id)) for _ in range(40)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            first, *others = await asyncio.gather(*waiting, return_exceptions=True)
            assert isinstance(first, asyncio.CancelledError)
            assert {id(adapter) for adapter in others} == {id(await adapters.get(served, adapter_id))}
            assert store.reads == 1

    run(scene())


def test_one_that_could_not_be_read_is_refused_to_all_who_wait_and_read_anew_for_the_next(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            served, store = (await bare(engine)).served, CountingStore(house.home)
            adapters, adapter_id = ReadAdapters(store, 4), house.ids[0]
            weights = house.store.folder(adapter_id) / WEIGHTS_FILE
            whole = weights.read_bytes()
            weights.write_bytes(whole[:-100])
            waiting = (adapters.get(served, adapter_id) for _ in range(5))
            faults = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(fault) for fault in faults] == [InvalidAdapter] * 5 and store.reads == 1
            weights.write_bytes(whole)
            assert (await adapters.get(served, adapter_id)).adapter_id == adapter_id

    run(scene())
