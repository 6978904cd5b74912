"""Datasets: every defect with its line and field, and rows that keep their side of the split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalog import datasets
from catalog.errors import InvalidDataset


def write(folder: Path, *rows: object) -> Path:
    path = folder / "train.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def chat(question: str, answer: str = "yes") -> dict[str, object]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def test_a_missing_or_empty_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="cannot be read"):
        datasets.read(tmp_path / "none.jsonl")
    with pytest.raises(InvalidDataset, match="has no rows"):
        datasets.read(write(tmp_path, ""))


def test_eval_items_become_chats(tmp_path: Path) -> None:
    (row,) = datasets.read(write(tmp_path, {"question": "why?", "expected_answer": "because"})).rows
    assert row.messages == ({"role": "user", "content": "why?"}, {"role": "assistant", "content": "because"})


def test_adding_rows_does_not_move_others_across_the_split(tmp_path: Path) -> None:
    rows = [chat(f"question {n}") for n in range(300)]
    before = datasets.split(datasets.read(write(tmp_path, *rows)).rows, seed=1)
    more = datasets.read(write(tmp_path, *rows, *(chat(f"new {n}") for n in range(50))))
    after = datasets.split(more.rows, seed=1)
    held_out = {row.canonical() for row in before.held_out}
    assert held_out <= {row.canonical() for row in after.held_out}
    assert 10 <= len(held_out) <= 60
    assert {row.canonical() for row in before.train}.isdisjoint(held_out)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_small_sets_hold_out_at_least_one_and_train_at_least_one(tmp_path: Path, count: int) -> None:
    for seed in range(20):
        split = datasets.split(datasets.read(write(tmp_path, *(chat(f"q{n}") for n in range(count)))).rows, seed)
        assert split.train and split.held_out
        assert len(split.train) + len(split.held_out) == count


def test_equal_rows_are_on_one_side(tmp_path: Path) -> None:
    equal = datasets.read(write(tmp_path, chat("a"), chat("a"), chat("b"), chat("b"), chat("b"))).rows
    for seed in range(20):
        split = datasets.split(equal, seed)
        assert {row.canonical() for row in split.train}.isdisjoint(row.canonical() for row in split.held_out)
    assert datasets.split(equal[:2], 0).held_out == ()


def test_the_rows_digest_ignores_spacing_and_key_order(tmp_path: Path) -> None:
    first = datasets.read(write(tmp_path, chat("a")))
    second = datasets.read(
        write(tmp_path, '{"messages": [{"content": "a",  "role": "user"},  {"content":"yes","role":"assistant"}]}')
    )
    assert first.rows_sha256 == second.rows_sha256
    assert first.bytes_sha256 != second.bytes_sha256


def test_a_row_is_counted_for_each_turn_that_is_learned(tmp_path: Path) -> None:
    two = '{"messages": [{"role":"assistant", "content": "a"}, {"role" : "assistant", "content": "b"}]}'
    item = '{"question": "q", "expected_answer": "a"}'
    assert datasets.count_rows(write(tmp_path, chat("a"), "", two, item)) == 4
