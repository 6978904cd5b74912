"""The book of sketches is what was drawn, whatever was torn at its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer.picture.marks import Mark
from trainer.picture.sketchbook import RECORD_BYTES, Sketchbook
from trainer.projection import SKETCH_SIZE


def filled(path: Path, count: int = 4) -> Sketchbook:
    book = Sketchbook(path)
    for step in range(1, count + 1):
        book.add(Mark(2 * step, 1.0 / step, 2.0, 1e-3), np.full(SKETCH_SIZE, step, np.float64))
    return book


def test_another_life_finds_what_was_drawn(tmp_path: Path) -> None:
    path = tmp_path / "book"
    first, second = filled(path), Sketchbook(path)
    second.open(through_step=8)
    assert second.marks == first.marks
    assert np.array_equal(second.points([0, 3]), first.points([0, 3]))


@pytest.mark.parametrize("cut", [0, 1, RECORD_BYTES - 1, RECORD_BYTES])
def test_what_is_torn_or_taken_again_is_forgotten(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "book"
    filled(path)
    path.write_bytes(path.read_bytes()[: 4 * RECORD_BYTES - cut])
    book = Sketchbook(path)
    book.open(through_step=6)
    assert [mark.step for mark in book.marks] == [2, 4, 6]
    assert path.stat().st_size == 3 * RECORD_BYTES
    book.add(Mark(8, 0.0, 0.0, 0.0), np.zeros(SKETCH_SIZE))
    again = Sketchbook(path)
    again.open(through_step=8)
    assert [mark.step for mark in again.marks] == [2, 4, 6, 8]


def test_a_new_run_opens_an_empty_book(tmp_path: Path) -> None:
    book = Sketchbook(tmp_path / "book")
    book.open(through_step=0)
    assert book.marks == []
