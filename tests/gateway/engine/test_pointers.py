"""Pointers: a move by anybody is seen by the next look, what did not change is not read, a spoilt file stops nobody."""

from __future__ import annotations

import asyncio
import errno
import threading
from pathlib import Path

import pytest

from catalog.adapters import AdapterStore, Pointers
from catalog.errors import NotFound
from catalog.ids import AdapterId, BaseId
from gateway.engine.pointers import SeenPointers
from tests.gateway.engine.conftest import House, run

BASE = BaseId("base")


class CountingStore(AdapterStore):
    """Counts what is read of the disk."""

    reads = 0
    searches = 0

    def pointers(self) -> Pointers:
        self.reads += 1
        return super().pointers()

    def resolve(self, base: BaseId, pointer: str, known: Pointers | None = None) -> AdapterId:
        self.searches += 1
        return super().resolve(base, pointer, known)


def test_a_move_by_another_process_is_seen_by_the_next_look_and_read_once(house: House) -> None:
    async def scene() -> None:
        store = CountingStore(house.home)
        seen, (first, second) = SeenPointers(store), house.ids[:2]
        assert (await seen.look()).active(BASE) is None
        before: AdapterId | None = None
        for reads, adapter in enumerate((first, second, None, first), start=1):
            AdapterStore(house.home).move(BASE, adapter, expected=before, reason="test")
            before = adapter
            got = await asyncio.gather(*(seen.look() for _ in range(5)))
            assert {pointers.active(BASE) for pointers in got} == {adapter}
            assert store.reads == reads
        assert seen.last.active(BASE) == first

    run(scene())


def test_a_name_is_searched_for_once_until_pointers_change(house: House) -> None:
    async def scene() -> None:
        store = CountingStore(house.home)
        seen, other = SeenPointers(store), AdapterStore(house.home)
        first = other.put(house.folders[0], name="mine")
        assert [await seen.resolve(BASE, "mine") for _ in range(3)] == [first] * 3
        assert store.searches == 1
        second = other.put(house.folders[1], name="mine")
        assert await seen.resolve(BASE, "mine") == second
        other.unname("mine")
        for _ in range(2):
            with pytest.raises(NotFound):
                await seen.resolve(BASE, "mine")

    run(scene())


def test_a_name_that_is_moved_while_it_is_searched_for_is_searched_for_again(house: House) -> None:
    class SlowStore(CountingStore):
        """Has found the first time, and tells it only when it may."""

        found, may_tell = threading.Event(), threading.Event()

        def resolve(self, base: BaseId, pointer: str, known: Pointers | None = None) -> AdapterId:
            adapter_id = super().resolve(base, pointer, known)
            self.found.set()
            assert self.may_tell.wait(60)
            return adapter_id

    async def scene() -> None:
        store, other = SlowStore(house.home), AdapterStore(house.home)
        seen = SeenPointers(store)
        first = other.put(house.folders[0], name="mine")
        asked_before = asyncio.create_task(seen.resolve(BASE, "mine"))
        assert await asyncio.to_thread(store.found.wait, 60)
        second = other.put(house.folders[1], name="mine")
        await seen.look()
        store.may_tell.set()
        assert await asked_before == first
        assert await seen.resolve(BASE, "mine") == second

    run(scene())


def test_a_fault_of_the_disk_hides_a_move_until_the_next_look_only(house: House) -> None:
    class FaultyStore(CountingStore):
        """Out of file descriptors at the second read."""

        def pointers(self) -> Pointers:
            read = super().pointers()
            if self.reads == 2:
                raise OSError(errno.EMFILE, "Too many open files")
            return read

    async def scene() -> None:
        store = FaultyStore(house.home)
        seen, (first, second) = SeenPointers(store), house.ids[:2]
        store.move(BASE, first, expected=None, reason="test")
        store.reads = 0
        assert (await seen.look()).active(BASE) == first
        AdapterStore(house.home).move(BASE, second, expected=first, reason="test")
        assert [(await seen.look()).active(BASE) for _ in range(3)] == [first, second, second]
        assert store.reads == 3

    run(scene())


@pytest.mark.parametrize("spoilt", ["gone", "garbage", "a folder"])
def test_where_the_file_cannot_be_read_what_was_read_last_goes_on(house: House, spoilt: str) -> None:
    async def scene() -> None:
        store = CountingStore(house.home)
        first = store.put(house.folders[0], name="mine")
        seen = SeenPointers(store)
        store.move(BASE, first, expected=None, reason="test")
        assert (await seen.look()).active(BASE) == first
        spoil(store.aliases_path, spoilt)
        store.reads = 0
        for _ in range(3):
            assert (await seen.look()).active(BASE) == first
            assert [await seen.resolve(BASE, pointer) for pointer in ("mine", "1", first[:12])] == [first] * 3
        assert store.reads <= 1 or spoilt == "a folder", "what is no list of pointers is tried once"

    run(scene())


def spoil(path: Path, how: str) -> None:
    path.unlink()
    if how == "garbage":
        path.write_text("{]")
    elif how == "a folder":
        path.mkdir()
