"""Slots: grown while memory allows, then taken from the adapter unused for longest, never from one in use."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.base import blas
from catalog.base.load import bytes_in_memory, load
from catalog.base.lora import read_adapter
from catalog.errors import Unavailable
from catalog.ids import AdapterId, BaseId, ModelRef
from gateway.engine.requests import Generation, Sampling
from gateway.engine.slots import Seat, SlotModel, SlotTable, Stacks
from tests.gateway.engine.conftest import GREEDY, House, answer, prompt, run, running
from tests.tiny_base import write_adapter

blas.preload()

import mlx.core as mx  # noqa: E402

WIDE_KEYS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.down_proj")
IDS = [AdapterId(letter * 64) for letter in "abcdefgh"]


def always(slots: int, rank: int, others_leave: bool) -> bool:
    return True


def never(slots: int, rank: int, others_leave: bool) -> bool:
    return False


def put(table: SlotTable, adapter_id: AdapterId, rank: int, fits: Callable[[int, int, bool], bool]) -> Seat:
    seat = table.seat(rank, fits)
    assert seat is not None
    table.vacate(seat)
    table.take(adapter_id, seat)
    return seat


def test_slots_double_up_to_the_limit_and_then_the_one_unused_for_longest_leaves() -> None:
    table = SlotTable(6)
    for adapter_id in IDS[:6]:
        put(table, adapter_id, 4, always)
    assert (table.slots, table.rank) == (7, 4)
    table.pin(IDS[0])
    table.unpin(IDS[0])
    table.pin(IDS[1])
    assert put(table, IDS[6], 8, always).leaves == IDS[2]
    assert table.resident == (IDS[3], IDS[4], IDS[5], IDS[0], IDS[1], IDS[6])
    assert table.rank == 8


def test_where_memory_ends_idle_adapters_leave_and_used_ones_stay() -> None:
    table = SlotTable(32)
    for adapter_id in IDS[:4]:
        put(table, adapter_id, 4, never)
        table.pin(adapter_id)
    assert table.seat(4, never) is None
    table.unpin(IDS[2])
    assert put(table, IDS[4], 4, never).leaves == IDS[2]
    assert table.slots == 5


def test_an_idle_slot_is_taken_before_a_base_must_leave_for_more() -> None:
    def only_if_bases_leave(slots: int, rank: int, others_leave: bool) -> bool:
        return others_leave

    table = SlotTable(32)
    for adapter_id in IDS[:4]:
        put(table, adapter_id, 4, always)
    assert put(table, IDS[4], 4, only_if_bases_leave).leaves == IDS[0]
    for adapter_id in IDS[1:5]:
        table.pin(adapter_id)
    assert put(table, IDS[5], 4, only_if_bases_leave) == Seat(5, 9, 4)


def test_choosing_a_seat_changes_nothing() -> None:
    table = SlotTable(4)
    for adapter_id in IDS[:4]:
        put(table, adapter_id, 4, always)
    before = (table.resident, table.slots, table.rank)
    assert table.seat(64, always) == table.seat(64, always) == Seat(1, 5, 64, leaves=IDS[0])
    assert (table.resident, table.slots, table.rank) == before


def test_growth_that_broke_off_half_way_is_finished_by_the_next(house: House) -> None:
    model = SlotModel(load(BaseId("base"), house.base).model)
    adapter = read_adapter(house.folders[1], model.shapes)
    model.write(1, adapter, 5, 8)
    first, *rest = model._slotted.values()
    first.stacks = Stacks(9, model.shapes["model.layers.0.self_attn.q_proj"], 32)
    assert model.grow(7, 16, sys.maxsize)
    assert first.stacks.a.shape[::2] == (9, 32)
    assert {layer.stacks.a.shape[::2] for layer in rest} == {(7, 16)}


def test_an_adapter_that_never_fits_is_refused_and_the_others_stay(house: House, tmp_path: Path) -> None:
    wide = write_adapter(tmp_path / "wide", house.base, 70, rank=256, keys=("self_attn.q_proj", "mlp.up_proj"))

    async def scene() -> None:
        base_bytes = bytes_in_memory(BaseId("x"), house.base)
        async with running(house, memory_bytes=base_bytes + (1 << 20)) as engine:
            await engine.resolve(ModelRef(None, house.ids[0]))
            with pytest.raises(Unavailable, match=r"with this adapter needs .* of memory") as refusal:
                await engine.resolve(ModelRef(None, house.store.put(wide)))
            assert refusal.value.code == "no_memory" and "smaller rank" in refusal.value.hint
            assert engine.counters.resident == (house.ids[0],)

    run(scene())


def test_growing_in_parts_ends_with_the_same_matrices(house: House) -> None:
    adapter = read_adapter(house.folders[1], (shapes := SlotModel(load(BaseId("base"), house.base).model).shapes))
    models = [SlotModel(load(BaseId("base"), house.base).model) for _ in range(2)]
    for model in models:
        model.write(1, adapter, 5, 8)
    assert models[0].grow(9, 16, sys.maxsize)
    parts = 1
    while not models[1].grow(9, 16, at_once_bytes=1):
        parts += 1
    assert parts >= len(adapter.pairs) > 1
    for whole, part in zip(models[0]._slotted.values(), models[1]._slotted.values(), strict=True):
        assert whole.stacks.a.shape == part.stacks.a.shape and whole.stacks.a.shape[0] == 9
        assert mx.array_equal(whole.stacks.a, part.stacks.a) and mx.array_equal(whole.stacks.b, part.stacks.b)
    assert shapes.keys() >= adapter.pairs.keys()


def test_open_answers_go_on_while_the_stacks_grow_and_who_waits_for_them_is_answered(house: House) -> None:
    folders = [write_adapter(house.home / f"g{n}", house.base, 70 + n, keys=WIDE_KEYS) for n in range(5)]
    many = dataclasses.replace(house, folders=tuple(folders))

    async def scene() -> None:
        async with running(many) as engine:
            tokens = await prompt(engine, "hello")
            asked = [Generation(tokens, one, 1, sampling=GREEDY) for one in many.ids]
            for generation in asked[:4]:
                await answer(engine, generation)
            assert engine._worker is not None
            residence = next(iter(engine._worker._residences.values()))
            residence._limits = dataclasses.replace(residence._limits, grown_at_once_bytes=1)
            endless = Sampling(temperature=0, logit_bias=dict.fromkeys(residence._ends, -100.0))
            stream = engine.generate(Generation(tokens, many.ids[0], 1500, sampling=endless))
            await anext(stream)
            steps = engine.counters.steps
            grown, _ = await answer(engine, asked[4])
            assert engine.counters.steps - steps >= 2 * len(WIDE_KEYS) - 1, "the stacks grew without a step between"
            assert residence._table.slots == 9
            await stream.aclose()
            engine.forget_prefixes()
            assert (await answer(engine, asked[4]))[0] == grown

    run(scene())


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
