"""A check says of a dataset what a run would find, in time and without the base's weights."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from catalog import datasets
from catalog.base import tokenizer
from catalog.base.locate import NANO_FOLDER
from catalog.datasets.check import Terms, check_file, check_rows
from catalog.errors import InvalidDataset, Unavailable
from catalog.ids import BaseId
from catalog.models import NANO
from trainer.rows import prepare


def chat(number: int, words: int = 1) -> dict[str, Any]:
    question = f"Where is rope {number}?" + " Say it." * words
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": f"Berth {number}."}]}


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("overlong", ["drop", "cut_oldest"])
def test_the_counts_are_those_of_a_run(tmp_path: Path, overlong: Any) -> None:
    long = {"messages": [turn for number in range(9) for turn in chat(number)["messages"]]}
    path = write(tmp_path, *(chat(number, number % 7) for number in range(40)), long, chat(99, 200))
    found = check_file(path, Terms(NANO, max_length=64, overlong=overlong, seed=3))
    made = tokenizer.load(BaseId(NANO), NANO_FOLDER)
    material = prepare(made, datasets.read(path), seed=3, max_length=64, overlong=overlong)
    for side, count in ((material.train, found.train), (material.held_out, found.held_out)):
        assert (count.conversations, count.rows) == (len(side.digests), len(side.rows))
        assert (count.tokens, count.supervised_tokens) == (side.tokens, side.supervised_tokens)
        assert (count.dropped, count.over_max_length) == (side.dropped, side.dropped + side.cut)
    assert found.train.dropped + found.held_out.dropped > 0
    assert found.held_out_equal_to_train == material.leaked
    assert (found.form, found.conversations, found.is_sound, found.defects) == ("OpenAI chat", 42, True, ())


def test_duplicates_are_counted_and_never_across_the_split(tmp_path: Path) -> None:
    rows = [chat(number % 20) for number in range(50)]
    found = check_file(write(tmp_path, *rows), Terms(NANO))
    assert (found.duplicates, found.held_out_equal_to_train) == (30, 0)
    assert found.train.conversations + found.held_out.conversations == 50


def test_a_held_out_row_that_is_also_learned_from_is_counted() -> None:
    alike = [{"messages": [turn for n in range(count) for turn in chat(n)["messages"]]} for count in range(1, 13)]
    assert check_rows(alike, Terms(NANO)).held_out_equal_to_train > 0


def test_the_view_says_which_text_is_learned() -> None:
    rows = [chat(1), {"messages": [*chat(2)["messages"], *chat(3)["messages"]]}]
    rows[1]["messages"][1]["weight"] = 0
    first, second = check_rows(rows, Terms(NANO, show=5)).shown
    assert [(span.text, span.supervised) for span in first.spans] == [
        ("<|im_start|>user\nWhere is rope 1? Say it.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("Berth 1.<|im_end|>", True),
    ]
    assert (first.line, second.line) == (1, 2)
    assert [span.text for span in second.spans if span.supervised] == ["Berth 3.<|im_end|>"]
    assert len(check_rows(rows, Terms(NANO, show=1)).shown) == 1


def test_defects_are_listed_and_good_rows_still_counted() -> None:
    found = check_rows([chat(1), {"messages": []}, chat(2), [1]], Terms(NANO))
    assert found.defects == ("rows:2: messages: must be a non-empty list", "rows:4: must be a JSON object")
    assert (found.defects_total, found.conversations, found.is_sound) == (2, 2, False)


def test_nothing_is_not_sound() -> None:
    assert check_rows([], Terms(NANO)).defects == ("rows:1: has no rows",)


def test_when_the_time_is_spent_defects_are_still_found_and_tokens_no_longer_counted() -> None:
    ticks = itertools.count()
    rows = [chat(number) for number in range(10)]
    found = check_rows([*rows, {"messages": []}], Terms(NANO, budget_s=4), lambda: float(next(ticks)))
    assert (found.conversations, found.conversations_tokenised, found.defects_total) == (10, 4, 1)


def test_a_conversation_with_nothing_to_learn_is_a_defect(tmp_path: Path) -> None:
    folder = tmp_path / "mute"
    shutil.copytree(NANO_FOLDER, folder)
    (folder / "chat_template.jinja").write_text(
        "{% for message in messages if message.role == 'user' %}{{ message.content }}{% endfor %}"
    )
    found = check_rows([chat(1)], Terms(str(folder)))
    assert (found.nothing_to_learn, found.defects) == (1, ("rows:1: has no token to learn",))


def test_a_base_that_is_not_here_is_said(tmp_path: Path) -> None:
    found = check_rows([chat(1)], Terms("nobody/nothing"))
    assert found.base == NANO and "nobody/nothing is not on this machine" in found.base_reason
    with pytest.raises(Unavailable, match="tokenizer of"):
        tokenizer.load(BaseId("x"), tmp_path)
    with pytest.raises(InvalidDataset, match="cannot be read"):
        check_file(tmp_path / "none.jsonl", Terms(NANO))
