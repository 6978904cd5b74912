"""Preference pairs: every customary form is read alike, every defect is found at its line and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import datasets
from catalog.datasets import Preference
from tests.catalog.test_datasets_defects import ANSWER, TOOL, USER, VALUES, call, found, places, result, write

OTHER = {"role": "assistant", "content": "No idea."}
SYSTEM = {"role": "system", "content": "Be brief."}


def pair(**fields: Any) -> dict[str, Any]:
    return {"prompt": "Where is the rope?", "chosen": "At berth 1.", "rejected": "No idea.", **fields}


def of_openai(*messages: Any, preferred: Any = (ANSWER,), other: Any = (OTHER,), **more: Any) -> dict[str, Any]:
    return {
        "input": {"messages": list(messages), **more},
        "preferred_output": list(preferred),
        "non_preferred_output": list(other),
    }


def implicit(chosen: list[Any], rejected: list[Any]) -> dict[str, Any]:
    return {"chosen": chosen, "rejected": rejected}


SAME = [
    pair(),
    pair(prompt=[USER], chosen=[ANSWER], rejected=[OTHER], id="r1", score_chosen=4.5, score_rejected=1),
    pair(prompt=None, messages=[USER], chosen=[ANSWER]),
    implicit([USER, ANSWER], [USER, OTHER]),
    pair(chosen=[{**ANSWER, "weight": 1, "refusal": None}], tools=None),
]
CLEAN = [
    *SAME,
    {"messages": [SYSTEM, USER, OTHER, USER], "chosen": "At berth 1.", "rejected": [OTHER]},
    pair(chosen=[call(), result(), ANSWER], tools=[TOOL]),
    implicit([USER, ANSWER], [USER, call(), result(), ANSWER]),
    pair(prompt=[USER, call(), result()]),
]
CLEAN_OPENAI = [
    of_openai(USER),
    of_openai(SYSTEM, USER, OTHER, USER, tools=[TOOL], parallel_tool_calls=True),
    {**of_openai(USER), "metadata": {"any": 1}},
]

DEFECTS: dict[str, tuple[dict[str, Any], str, str]] = {
    # kind: (the row, the field's path, words of the message)
    "no rejected answer": (pair(rejected=None), "rejected", "is missing"),
    "no chosen answer": ({"prompt": "a", "rejected": "b"}, "chosen", "is missing"),
    "empty answer": (pair(rejected=" \n"), "rejected", "is empty"),
    "empty list": (pair(chosen=[]), "chosen", "must be a string or a non-empty list"),
    "answer of a wrong type": (pair(chosen={"text": "x"}), "chosen", "must be a string or a non-empty list"),
    "empty prompt": (pair(prompt=""), "prompt", "is empty"),
    "prompt of a wrong type": (pair(prompt=3), "prompt", "must be a string or a non-empty list"),
    "prompt twice": (pair(messages=[USER]), "messages", "is given beside prompt"),
    "no prompt": ({"chosen": "a", "rejected": "b"}, "chosen", "has nothing before it"),
    "nothing shared": (implicit([USER, ANSWER], [{**USER, "content": "x"}, OTHER]), "chosen", "has nothing before it"),
    "equal answers": (pair(rejected="At berth 1."), "rejected", "equals chosen"),
    "equal conversations": (implicit([USER, ANSWER], [USER, ANSWER]), "rejected", "equals chosen"),
    "nothing left of one": (implicit([USER, ANSWER], [USER, ANSWER, USER, OTHER]), "chosen", "has no turn of its own"),
    "already answered": (pair(prompt=[USER, ANSWER]), "prompt[1]", "has spoken already"),
    "wrong role in the prompt": (pair(prompt=[{**USER, "role": "robot"}]), "prompt[0].role", "'robot' is not one of"),
    "wrong role in an answer": (pair(chosen=[{**ANSWER, "role": "bot"}]), "chosen[0].role", "'bot' is not one of"),
    "user in an answer": (pair(rejected=[USER, OTHER]), "rejected[0].role", "only the assistant and its tools"),
    "unknown key of a message": (pair(chosen=[{**ANSWER, "txt": 1}]), "chosen[0].txt", "is not a key of a message"),
    "unknown key of a row": (pair(choosen="x"), "choosen", "is not a key of preference pairs"),
    "answer cut after a call": (pair(chosen=[call(), result()]), "chosen[1]", "comes after the last assistant turn"),
    "call without an answer": (pair(chosen=[call(), ANSWER]), "chosen[0].tool_calls[0]", "is not answered"),
    "call of an unknown tool": (
        pair(rejected=[call("sell"), result(), OTHER], tools=[TOOL]),
        "rejected[0].tool_calls[0].function.name",
        "'sell' is none of the row's tools",
    ),
    "answer that is not learned": (pair(chosen=[{**ANSWER, "weight": 0}]), "chosen", "every assistant turn has weight"),
    "system in the middle": (pair(prompt=[USER, SYSTEM, USER]), "prompt[1].role", "may only be the first"),
    "NUL": (pair(rejected="a\0b"), "rejected", "NUL"),
}
OPENAI_DEFECTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no input": ({"preferred_output": [ANSWER], "non_preferred_output": [OTHER]}, "input", "is missing"),
    "no messages": ({**of_openai(), "input": {}}, "input.messages", "is missing"),
    "tool without a name": (
        of_openai(USER, tools=[{"type": "function", "function": {}}]),
        "input.tools[0].function.name",
        "must be a non-empty string",
    ),
    "unknown key of the input": (of_openai(USER, temperature=1), "input.temperature", "is not a key of an input"),
    "flag of a wrong type": (of_openai(USER, parallel_tool_calls=1), "input.parallel_tool_calls", "true or false"),
    "no other output": (of_openai(USER, other=()), "non_preferred_output", "non-empty list"),
    "equal outputs": (of_openai(USER, other=(ANSWER,)), "non_preferred_output", "equals preferred_output"),
    "wrong content": (of_openai(USER, preferred=({**ANSWER, "content": ""},)), "preferred_output[0].content", "empty"),
    "another form": (pair(), "", "is preference pairs, but the file is OpenAI preference pairs since line 1"),
}


@pytest.mark.parametrize(
    ("good", "listed"), [(pair(), DEFECTS), (of_openai(USER), OPENAI_DEFECTS)], ids=["chosen/rejected", "OpenAI"]
)
def test_every_defect_is_found_at_its_line_and_field_and_nothing_else(
    tmp_path: Path, good: Any, listed: dict[str, tuple[Any, str, str]]
) -> None:
    told = found(write(tmp_path, good, *(row for bad, _, _ in listed.values() for row in (bad, good))))
    assert len(told) == len(listed), "\n".join(told)
    for number, (defect, (kind, (_, field, words))) in enumerate(zip(told, listed.items(), strict=True)):
        where = f"train.jsonl:{2 + 2 * number}: " + (f"{field}: " if field else "")
        assert defect.startswith(where) and words in defect, (kind, defect)


@pytest.mark.parametrize("rows", [CLEAN, CLEAN_OPENAI], ids=["chosen/rejected", "OpenAI"])
def test_a_clean_set_raises_no_alarm(tmp_path: Path, rows: list[Any]) -> None:
    path = write(tmp_path, *rows)
    assert len(datasets.read(path).rows) == len(rows)
    assert datasets.verify(path).is_preference


def test_conversations_are_no_preferences(tmp_path: Path) -> None:
    assert not datasets.verify(write(tmp_path, {"messages": [USER, ANSWER]})).is_preference


def test_what_means_the_same_is_equal(tmp_path: Path) -> None:
    (first, *others) = datasets.read(write(tmp_path, *SAME)).rows
    assert isinstance(first, Preference)
    assert first.chosen.messages == (USER, ANSWER) and first.rejected.messages == (USER, OTHER)
    assert {row.canonical() for row in others} == {first.canonical()}
    (theirs,) = datasets.read(write(tmp_path, of_openai(USER))).rows
    assert theirs.canonical() == first.canonical()


def test_what_the_assistant_said_before_is_read_and_not_learned(tmp_path: Path) -> None:
    (row,) = datasets.read(write(tmp_path, pair(prompt=[USER, OTHER, USER]))).rows
    assert isinstance(row, Preference)
    for side in (row.chosen, row.rejected):
        assert [message.get("weight", 1) for message in side.messages if message["role"] == "assistant"] == [0, 1]


def test_pairs_keep_their_side_of_the_split(tmp_path: Path) -> None:
    rows = [pair(prompt=f"Where is rope {number}?") for number in range(200)]
    before = datasets.split(datasets.read(write(tmp_path, *rows)).rows, seed=1)
    more = [pair(prompt=f"Where is salt {number}?") for number in range(50)]
    after = datasets.split(datasets.read(write(tmp_path, *rows, *more)).rows, seed=1)
    assert {row.canonical() for row in before.held_out} <= {row.canonical() for row in after.held_out}
    assert 5 <= len(before.held_out) <= 45


def test_a_pair_is_counted_once(tmp_path: Path) -> None:
    assert datasets.count_rows(write(tmp_path, pair(), implicit([USER, ANSWER], [USER, OTHER]), of_openai(USER))) == 3


@settings(max_examples=200)
@given(st.data())
def test_whatever_stands_in_place_of_a_value_is_a_pair_or_a_defect(data: st.DataObject) -> None:
    row = json.loads(json.dumps(data.draw(st.sampled_from(CLEAN + CLEAN_OPENAI))))
    container, key = data.draw(st.sampled_from(places(row)))
    container[key] = data.draw(VALUES)
    reader = datasets.Reader()
    read = list(reader.values([row]))
    assert bool(read) != bool(reader.defects.total)
    for example in read:
        assert isinstance(example, Preference) and example.chosen.messages != example.rejected.messages
