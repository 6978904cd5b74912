"""Who waits for a slot gets one: nobody passes him for ever, and nothing that cancels or breaks keeps it from him."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest

from catalog.base.load import load
from catalog.base.lora import read_adapter
from catalog.errors import EngineFailed
from catalog.ids import BaseId
from gateway.engine.prefixes import Maker, PrefixCache
from gateway.engine.requests import Finish, Generation
from gateway.engine.residence import Limits, Residence
from gateway.engine.rows import Counters, Outbox, Row
from gateway.engine.sampling import Draws
from tests.gateway.engine.conftest import GREEDY, House

BASE = BaseId("base")
PROMPT = tuple(range(3, 27))
BROKEN = EngineFailed("It broke.")


class Plenty:
    """Memory without an end, shared with another base that answers when told to."""

    other_answers = False

    def has(self, base: BaseId, more_bytes: int, *, others_leave: bool) -> bool:
        return True

    def is_answering(self) -> bool:
        return self.other_answers

    def make(self, base: BaseId, more_bytes: int) -> None:
        pass


class Fragile(PrefixCache):
    """Fails, as nobody foresaw, while it is told to."""

    breaks = False

    def fetch(self, maker: Maker, prompt: Sequence[int]) -> tuple[list[Any] | None, int]:
        if self.breaks:
            raise KeyError("nobody foresaw this")
        return super().fetch(maker, prompt)


class Scene:
    """One residence with a single adapter slot and batches of two, stepped by the test itself."""

    def __init__(self, house: House, loop: asyncio.AbstractEventLoop) -> None:
        self.outbox: Outbox = []
        self.prefixes = Fragile(1 << 20)
        self.room = Plenty()
        limits = Limits(max_rows=2, prefill_step_tokens=64, adapter_slots=1, grown_at_once_bytes=1)
        self.residence = Residence(load(BASE, house.base), limits, self.room, self.prefixes, Counters(), self.outbox)
        shapes = self.residence.served.shapes
        self._loop = loop
        self._adapters = [read_adapter(folder, shapes) for folder in house.folders]

    def row(self, adapter: int) -> Row:
        """An answer of one token by one of the adapters."""
        one = self._adapters[adapter]
        generation = Generation(PROMPT, one.adapter_id, max_tokens=1, sampling=GREEDY)
        return Row(BASE, generation, one, self._loop, asyncio.Queue(), Draws(GREEDY))

    def admit(self, *adapters: int) -> list[Row]:
        rows = [self.row(adapter) for adapter in adapters]
        for row in rows:
            self.residence.admit(row)
        return rows

    def waiting(self, rows: Sequence[Row]) -> list[bool]:
        return [row in self.residence._waiting for row in rows]

    def answers(self, row: Row) -> bool:
        """Whether a row comes to its end within a few steps."""
        for _ in range(8):
            self.residence.decode()
            self.residence.read()
        return any(whose is row and isinstance(news, Finish) for whose, news in self.outbox)


@pytest.fixture
def scene(house: House) -> Iterator[Scene]:
    with closing(asyncio.new_event_loop()) as loop:
        yield Scene(house, loop)


def test_a_row_that_breaks_as_nobody_foresaw_keeps_no_slot(scene: Scene) -> None:
    scene.prefixes.breaks = True
    with pytest.raises(KeyError):
        scene.admit(0)
    scene.residence.fail_all(BROKEN)
    scene.prefixes.breaks = False
    (other,) = scene.admit(1)
    assert scene.answers(other)


def test_those_that_wait_are_told_when_one_of_them_breaks_on_its_way_in(scene: Scene) -> None:
    (holder,) = scene.admit(0)
    waiting = scene.admit(1, 2)
    scene.prefixes.breaks = True
    with pytest.raises(KeyError):
        scene.residence.cancel(holder)
    scene.residence.fail_all(BROKEN)
    assert scene.outbox == [(row, BROKEN) for row in waiting]


def test_who_waits_for_another_s_turn_only_is_let_in_when_that_one_cancels(scene: Scene) -> None:
    scene.admit(0)
    (first,) = scene.admit(1)
    scene.admit(0, 0)
    (late,) = scene.admit(0)
    assert scene.waiting([first, late]) == [True, True]
    scene.residence.cancel(first)
    assert scene.waiting([late]) == [False]


def test_the_second_that_waits_is_passed_by_a_batch_at_most_too(scene: Scene) -> None:
    holder, *_ = scene.admit(0)
    first, second = scene.admit(1, 2)
    passing = scene.admit(0, 0)
    for row in (holder, *passing):
        scene.residence.cancel(row)
    assert scene.waiting([first, second]) == [False, True]
    assert scene.waiting(scene.admit(1)) == [True], "two have passed the second already"


def test_a_base_that_left_memory_keeps_no_prefix_of_a_row_that_had_just_ended(scene: Scene) -> None:
    (row,) = scene.admit(0)
    while not scene.outbox:
        scene.residence.read()
        scene.residence.decode()
    scene.residence.close()
    scene.residence.read()
    assert scene.prefixes.fetch((BASE, row.adapter_id), PROMPT) == (None, 0)


def test_stacks_grow_part_by_part_while_another_base_answers_and_whole_when_it_has_ended(scene: Scene) -> None:
    (narrow,) = scene.admit(0)
    assert scene.answers(narrow)
    scene.room.other_answers = True
    (wide,) = scene.admit(3)
    assert scene.waiting([wide]) == [True] and scene.residence.has_work
    scene.room.other_answers = False
    scene.residence.read()
    assert scene.waiting([wide]) == [False]
    assert scene.answers(wide)


def test_what_was_widened_for_one_that_left_is_counted(scene: Scene) -> None:
    (narrow,) = scene.admit(0)
    assert scene.answers(narrow)
    scene.room.other_answers = True
    before = scene.residence.nbytes
    (wide,) = scene.admit(3)
    scene.residence.cancel(wide)
    scene.residence.read()
    assert not scene.residence.is_busy and not scene.residence.has_work
    assert scene.residence.nbytes > before
