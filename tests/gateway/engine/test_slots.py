"""Slots: grown while memory allows, then taken from the adapter unused for longest, never from one in use."""

from __future__ import annotations

import dataclasses

import pytest

from catalog.errors import Overloaded, Unavailable
from catalog.ids import AdapterId
from gateway.engine.requests import Generation
from gateway.engine.slots import SlotTable
from tests.gateway.engine.conftest import GREEDY, House, answer, prompt, run, running
from tests.tiny_base import write_adapter

IDS = [AdapterId(letter * 64) for letter in "abcdefgh"]


def always(slots: int, rank: int) -> bool:
    return True


def test_slots_double_up_to_the_limit_and_then_the_one_unused_for_longest_leaves() -> None:
    table = SlotTable(6)
    for adapter_id in IDS[:6]:
        table.take(adapter_id, 4, always)
    assert (table.slots, table.rank) == (7, 4)
    table.pin(IDS[0])
    table.unpin(IDS[0])
    table.pin(IDS[1])
    table.take(IDS[6], 8, always)
    assert table.resident == (IDS[3], IDS[4], IDS[5], IDS[0], IDS[1], IDS[6])
    assert table.rank == 8


def test_where_memory_ends_idle_adapters_leave_and_used_ones_stay() -> None:
    table = SlotTable(32)
    for adapter_id in IDS[:4]:
        table.take(adapter_id, 4, lambda slots, rank: slots <= 5)
        table.pin(adapter_id)
    with pytest.raises(Overloaded):
        table.take(IDS[4], 4, lambda slots, rank: slots <= 5)
    table.unpin(IDS[2])
    table.take(IDS[4], 4, lambda slots, rank: slots <= 5)
    assert table.slots == 5 and IDS[2] not in table.resident


def test_a_rank_that_never_fits_is_refused_and_changes_nothing() -> None:
    table = SlotTable(32)
    table.take(IDS[0], 4, always)
    with pytest.raises(Unavailable, match="rank 64"):
        table.take(IDS[1], 64, lambda slots, rank: rank <= 16)
    assert (table.resident, table.rank) == ((IDS[0],), 4)


def test_more_adapters_than_memory_holds_are_answered_each_as_itself(house: House) -> None:
    folders = [house.home / f"more{n}" for n in range(7)]
    more = dataclasses.replace(
        house, folders=tuple(write_adapter(f, house.base, 50 + n) for n, f in enumerate(folders))
    )

    async def scene() -> None:
        async with running(more) as engine:
            tokens = await prompt(engine, "hello")
            wanted = [await answer(engine, Generation(tokens, one, 8, sampling=GREEDY)) for one in more.ids]
            assert engine._worker is not None
            base_bytes = next(iter(engine._worker._residences.values())).served.nbytes
        stacks = 2 * 5 * 4 * 4 * (64 + 64)  # 2 layers, 5 slots, rank 4, float32, q_proj of 64 by 64
        async with running(more, memory_bytes=base_bytes + stacks) as engine:
            got = [await answer(engine, Generation(tokens, one, 8, sampling=GREEDY)) for one in more.ids]
            assert len(engine.counters.resident) == 4
        assert [text for text, _ in got] == [text for text, _ in wanted]
        assert len({text for text, _ in got}) > 1

    run(scene())
