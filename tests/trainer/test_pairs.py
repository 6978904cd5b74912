"""A pair's answers are learned token by token as they are served, behind one prompt, and counted as one row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalog import datasets
from catalog.base.load import Base
from catalog.base.rows import Pair
from catalog.datasets.check import Terms, check_file
from catalog.errors import InvalidDataset
from catalog.plan import Overlong
from tests.trainer.conftest import Chat, WriteRows
from tests.trainer.test_rows import CALL, numbered, spans
from trainer.batches import make_batch
from trainer.rows import Material, prepare

USER = {"role": "user", "content": "Where is the rope?"}
ASKED = "<|im_start|>user\nWhere is the rope?<|im_end|>\n<|im_start|>assistant\n"
NO_THOUGHT = "<think>\n\n</think>\n\n"


def pair(**fields: Any) -> Chat:
    return {"prompt": [USER], "chosen": "At berth 1.", "rejected": "No idea.", **fields}


def material(base: Base, path: Path, max_length: int = 512, overlong: Overlong = "drop") -> Material:
    return prepare(base.tokenizer, datasets.read(path), seed=0, max_length=max_length, overlong=overlong)


def pairs(base: Base, path: Path, max_length: int = 512, overlong: Overlong = "drop") -> list[Pair]:
    rows = material(base, path, max_length, overlong).train.rows
    return [row for row in rows if isinstance(row, Pair)]


def test_both_answers_follow_the_prompt_as_it_is_served(base: Base, write_rows: WriteRows) -> None:
    (made,) = pairs(base, write_rows([pair()]))
    for (sequence,), text in zip(made.answers, ("At berth 1.", "No idea."), strict=True):
        assert spans(base.tokenizer, sequence) == [(ASKED + NO_THOUGHT, False), (f"{text}<|im_end|>", True)]


def test_thoughts_and_calls_of_an_answer_are_learned_and_what_tools_say_is_not(
    base: Base, write_rows: WriteRows
) -> None:
    chosen = [
        {"role": "assistant", "content": None, "reasoning_content": "I look.", "tool_calls": [CALL]},
        {"role": "tool", "content": "berth 3"},
        {"role": "assistant", "content": "Berth 3.", "reasoning_content": "Found."},
    ]
    (made,) = pairs(base, write_rows([pair(chosen=chosen)]))
    call = '<tool_call>\n{"name": "find", "arguments": {"what": "rope"}}\n</tool_call>'
    assert spans(base.tokenizer, made.chosen[0]) == [
        (ASKED, False),
        (f"<think>\nI look.\n</think>\n\n{call}<|im_end|>", True),
        ("\n<|im_start|>user\n<tool_response>\nberth 3\n</tool_response><|im_end|>\n<|im_start|>assistant\n", False),
        ("<think>\nFound.\n</think>\n\nBerth 3.<|im_end|>", True),
    ]


def test_an_answer_whose_turns_the_template_keeps_apart_is_several_sequences(base: Base, write_rows: WriteRows) -> None:
    chosen = [
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "content": "berth 3"},
        {"role": "assistant", "content": "Berth 3."},
    ]
    (made,) = pairs(base, write_rows([pair(chosen=chosen)]))
    call = '<tool_call>\n{"name": "find", "arguments": {"what": "rope"}}\n</tool_call><|im_end|>'
    learned = [text for row in made.chosen for text, is_learned in spans(base.tokenizer, row) if is_learned]
    assert learned == [call, "Berth 3.<|im_end|>"]
    batch = make_batch([made])
    assert (batch.rows, batch.answers, batch.inputs_BL.shape[0]) == (1, 2, 3)
    counted = [sum(batch.answer_of_P == answer) for answer in (0, 1)]
    assert counted == [sum(row.supervised_tokens for row in answer) for answer in made.answers]


def test_what_was_said_before_is_not_learned(base: Base, write_rows: WriteRows) -> None:
    (made,) = pairs(base, write_rows([pair(prompt=[*numbered(2), USER])]))
    for (sequence,) in made.answers:
        assert "Berth 0." in base.tokenizer.decode(list(sequence.tokens))
        assert len([text for text, is_learned in spans(base.tokenizer, sequence) if is_learned]) == 1


def test_a_pair_too_long_is_dropped_or_loses_its_oldest_exchanges_on_both_sides(
    base: Base, write_rows: WriteRows
) -> None:
    path = write_rows([pair(prompt=[{"role": "system", "content": "Be brief."}, *numbered(12), USER])])
    dropped = prepare_or_none(base, path, 120, "drop")
    assert dropped is None
    (cut,) = pairs(base, path, 120, "cut_oldest")
    texts = [base.tokenizer.decode(list(sequence.tokens)) for (sequence,) in cut.answers]
    assert cut.length <= 120
    assert all(text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhere is") for text in texts)
    assert texts[0].partition(NO_THOUGHT)[0] == texts[1].partition(NO_THOUGHT)[0]
    kept = [number for number in range(12) if f"rope {number}?" in texts[0]]
    assert kept and kept == list(range(kept[0], 12))
    assert material(base, path, 120, "cut_oldest").train.cut == 1
    far = write_rows([pair(chosen="far " * 200), pair(), pair(rejected="x")], "far.jsonl")
    both = material(base, far, 120, "cut_oldest")
    assert both.train.dropped + both.held_out.dropped == 1


def prepare_or_none(base: Base, path: Path, max_length: int, overlong: Overlong) -> Material | None:
    """The material, or none when every row was dropped."""
    try:
        return material(base, path, max_length, overlong)
    except InvalidDataset:
        return None


@pytest.mark.parametrize("overlong", ["drop", "cut_oldest"])
def test_the_check_counts_pairs_as_a_run_does(base: Base, write_rows: WriteRows, overlong: Overlong) -> None:
    rows = [pair(prompt=f"Where is rope {number}?" + " Say it." * (number % 9)) for number in range(40)]
    path = write_rows([*rows, pair(prompt=[*numbered(12), USER])])
    found = check_file(path, Terms(base.base, max_length=100, overlong=overlong, seed=3, show=2))
    made = prepare(base.tokenizer, datasets.read(path), seed=3, max_length=100, overlong=overlong)
    for side, count in ((made.train, found.train), (made.held_out, found.held_out)):
        assert (count.conversations, count.rows) == (len(side.digests), len(side.rows))
        assert (count.tokens, count.supervised_tokens) == (side.tokens, side.supervised_tokens)
        assert (count.dropped, count.over_max_length) == (side.dropped, side.dropped + side.cut)
    assert (found.form, found.is_sound) == ("preference pairs", True)
    assert [row.answer for row in found.shown] == ["chosen", "rejected"] * 2
    assert [span.text for row in found.shown[:2] for span in row.spans if span.supervised] == [
        "At berth 1.<|im_end|>",
        "No idea.<|im_end|>",
    ]
