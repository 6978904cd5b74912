"""Rows are used whole or dropped and counted, and every one of their tokens is known to be learned or not."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from mlx_lm.tokenizer_utils import TokenizerWrapper, load

from catalog import datasets
from catalog.base.load import Base
from catalog.errors import InvalidDataset
from catalog.plan import Overlong
from tests.trainer.conftest import Chat, WriteRows, fact
from trainer.rows import Material, Row, prepare

USER = {"role": "user", "content": "Where is the rope?"}
CALL = {"type": "function", "function": {"name": "find", "arguments": '{"what": "rope"}'}}


def material(base: Base, path: Path, max_length: int = 512, overlong: Overlong = "drop") -> Material:
    return prepare(base.tokenizer, datasets.read(path), seed=0, max_length=max_length, overlong=overlong)


def spans(tokenizer: TokenizerWrapper, row: Row) -> list[tuple[str, bool]]:
    """The row's text cut where supervision begins and ends."""
    grouped = itertools.groupby(zip(row.tokens, row.supervised, strict=True), key=lambda pair: pair[1])
    return [(tokenizer.decode([token for token, _ in pairs]), learned) for learned, pairs in grouped]


def rows_of(base: Base, write_rows: WriteRows, messages: list[Chat]) -> list[Row]:
    return list(material(base, write_rows([{"messages": messages}])).train.rows)


def test_every_turn_of_a_conversation_is_learned_in_the_form_it_is_served(base: Base, write_rows: WriteRows) -> None:
    messages = [USER, {"role": "assistant", "content": "Berth 1."}, USER, {"role": "assistant", "content": "Berth 2."}]
    asked = "<|im_start|>user\nWhere is the rope?<|im_end|>\n<|im_start|>assistant\n"
    first, second = rows_of(base, write_rows, messages)
    assert spans(base.tokenizer, first) == [(asked + "<think>\n\n</think>\n\n", False), ("Berth 1.<|im_end|>", True)]
    assert spans(base.tokenizer, second) == [
        (f"{asked}Berth 1.<|im_end|>\n{asked}<think>\n\n</think>\n\n", False),
        ("Berth 2.<|im_end|>", True),
    ]


def test_calls_and_thoughts_are_learned_and_a_tools_response_is_not(base: Base, write_rows: WriteRows) -> None:
    messages: list[Chat] = [
        USER,
        {"role": "assistant", "content": None, "reasoning_content": "I look.", "tool_calls": [CALL]},
        {"role": "tool", "content": "berth 3"},
        {"role": "assistant", "content": "Berth 3.", "reasoning_content": "Found."},
    ]
    (row,) = rows_of(base, write_rows, messages)
    call = '<tool_call>\n{"name": "find", "arguments": {"what": "rope"}}\n</tool_call>'
    assert spans(base.tokenizer, row) == [
        ("<|im_start|>user\nWhere is the rope?<|im_end|>\n<|im_start|>assistant\n", False),
        (f"<think>\nI look.\n</think>\n\n{call}<|im_end|>", True),
        ("\n<|im_start|>user\n<tool_response>\nberth 3\n</tool_response><|im_end|>\n<|im_start|>assistant\n", False),
        ("<think>\nFound.\n</think>\n\nBerth 3.<|im_end|>", True),
    ]


def test_a_row_that_is_too_long_is_dropped_and_counted(base: Base, write_rows: WriteRows) -> None:
    long = fact(2) | {"messages": [USER, {"role": "assistant", "content": "far " * 200}]}
    path = write_rows([*(fact(number) for number in range(10)), *[long] * 2])
    both = material(base, path, max_length=200)
    assert both.train.dropped + both.held_out.dropped == 2
    assert len(both.train.rows) + len(both.held_out.rows) == 10
    assert all(len(row.tokens) <= 200 and row.tokens[-1] in base.tokenizer.eos_token_ids for row in both.train.rows)


def numbered(count: int, answer: str = "Berth {}.") -> list[Chat]:
    return [
        turn
        for number in range(count)
        for turn in (
            {"role": "user", "content": f"Where is rope {number}?"},
            {"role": "assistant", "content": answer.format(number)},
        )
    ]


def test_an_answer_of_weight_0_is_read_and_not_learned(base: Base, write_rows: WriteRows) -> None:
    messages = numbered(2)
    messages[1] |= {"weight": 0}
    (row,) = rows_of(base, write_rows, messages)
    learned = [text for text, is_learned in spans(base.tokenizer, row) if is_learned]
    assert learned == ["Berth 1.<|im_end|>"]
    assert "Berth 0." in base.tokenizer.decode(list(row.tokens))


@pytest.mark.parametrize("max_length", [60, 100, 150])
def test_oldest_exchanges_are_cut_whole_and_each_answer_is_still_learned_once(
    base: Base, write_rows: WriteRows, max_length: int
) -> None:
    system = {"role": "system", "content": "Be brief."}
    path = write_rows([{"messages": [system, *numbered(12)]}])
    dropping, cutting = material(base, path, max_length), material(base, path, max_length, "cut_oldest")
    assert dropping.train.dropped > 0 and dropping.train.cut == 0
    assert (cutting.train.dropped, cutting.train.cut) == (0, dropping.train.dropped)
    rows = cutting.train.rows
    learned = [text for row in rows for text, is_learned in spans(base.tokenizer, row) if is_learned]
    assert learned == [f"Berth {number}.<|im_end|>" for number in range(12)]
    for number, row in enumerate(rows):
        text = base.tokenizer.decode(list(row.tokens))
        assert len(row.tokens) <= max_length
        assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhere is rope ")
        first = int(text.split("Where is rope ")[1].split("?")[0])
        assert [f"rope {n}?" in text for n in range(12)] == [first <= n <= number for n in range(12)]
    longer = material(base, path, max_length + 40, "cut_oldest").train.rows
    assert all(len(more.tokens) >= len(row.tokens) for more, row in zip(longer, rows, strict=True))


def test_an_exchange_too_long_by_itself_is_dropped_and_what_follows_is_not(base: Base, write_rows: WriteRows) -> None:
    messages = [*numbered(1), USER, {"role": "assistant", "content": "far " * 200}, *numbered(2)]
    train = material(base, write_rows([{"messages": messages}]), 100, "cut_oldest").train
    assert (len(train.rows), train.dropped, train.cut) == (3, 1, 2)
    assert all(len(row.tokens) <= 100 for row in train.rows)


def test_held_out_rows_that_are_also_learned_from_are_counted(base: Base, write_rows: WriteRows) -> None:
    begun_alike = [{"messages": numbered(count)} for count in range(1, 13)]
    both = material(base, write_rows(begun_alike))
    longest_learned = max(row.line for row in both.train.rows)
    assert longest_learned == 11  # so that of all held-out rows only the twelfth turn is new
    assert both.leaked == len(both.held_out.rows) - 1
    assert material(base, write_rows([fact(number) for number in range(12)])).leaked == 0


def test_rows_of_a_validation_file_are_held_out_and_all_of_the_dataset_is_learned(
    base: Base, write_rows: WriteRows
) -> None:
    dataset = datasets.read(write_rows([fact(number) for number in range(20)]))
    validation = datasets.read(write_rows([fact(number) for number in range(18, 25)], "validation.jsonl"))
    made = prepare(base.tokenizer, dataset, seed=0, max_length=512, validation=validation)
    assert (len(made.train.rows), len(made.held_out.rows), made.leaked) == (20, 7, 2)
    assert made.rows_sha256 != prepare(base.tokenizer, dataset, seed=0, max_length=512).rows_sha256


def test_a_dataset_of_nothing_but_long_rows_is_refused(base: Base, write_rows: WriteRows) -> None:
    with pytest.raises(InvalidDataset, match="longer than 16 tokens"):
        material(base, write_rows([fact(1), fact(2)]), max_length=16)


def test_every_row_that_cannot_be_rendered_is_named(base: Base, write_rows: WriteRows) -> None:
    broken = {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}
    with pytest.raises(InvalidDataset) as caught:
        material(base, write_rows([fact(1), broken, fact(2), broken]))
    assert [defect.split(": ")[0] for defect in sorted(caught.value.defects)] == ["facts.jsonl:2", "facts.jsonl:4"]


def test_a_row_without_a_supervised_token_is_refused(base_folder: Path, tmp_path: Path, write_rows: WriteRows) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((base_folder / name).read_bytes())
    mute = "{% for message in messages if message.role == 'user' %}{{ message.content }}{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(mute)
    with pytest.raises(InvalidDataset, match=r"facts.jsonl:1: has no token to learn"):
        prepare(load(tmp_path), datasets.read(write_rows([fact(1), fact(1)])), seed=0, max_length=512)


def test_the_first_token_carries_no_loss() -> None:
    assert Row(1, (5, 6), (True, True)).supervised_tokens == 1
