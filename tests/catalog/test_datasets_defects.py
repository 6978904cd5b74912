"""Every kind of defect is found at its line and field, all at once; clean sets of every form raise no alarm."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import datasets
from catalog.datasets import defects, lines
from catalog.errors import InvalidDataset

USER = {"role": "user", "content": "Where is the rope?"}
ANSWER = {"role": "assistant", "content": "At berth 1."}
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
GOOD = {"messages": [USER, ANSWER]}


def call(name: str = "find", arguments: Any = '{"what": "rope"}', **more: Any) -> dict[str, Any]:
    made = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}, **more}
    return {"role": "assistant", "tool_calls": [made]}


def result(**more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "c1", "content": "berth 1", **more}


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def said(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"conversations": [{"from": speaker, "value": value} for speaker, value in turns]}


CHAT_DEFECTS: dict[str, tuple[Any, str, str]] = {
    # kind: (the row, the field's path, words of the message)
    "wrong role": (chat({**USER, "role": "robot"}, ANSWER), "messages[0].role", "'robot' is not one of"),
    "missing role": (chat({"content": "x"}, ANSWER), "messages[0].role", "is missing"),
    "unknown key of a row": ({**GOOD, "mesages": []}, "mesages", "is not a key of OpenAI chat"),
    "unknown key of a message": (chat({**USER, "contnet": "x"}, ANSWER), "messages[0].contnet", "is not a key"),
    "missing content": (chat({"role": "user"}, ANSWER), "messages[0].content", "is missing"),
    "null content": (chat(USER, {"role": "assistant", "content": None}), "messages[1].content", "is missing"),
    "empty content": (chat({**USER, "content": ""}, ANSWER), "messages[0].content", "is empty"),
    "empty answer": (chat(USER, {**ANSWER, "content": " \n"}), "messages[1].content", "is empty"),
    "content of a wrong type": (chat({**USER, "content": 3}, ANSWER), "messages[0].content", "must be a string"),
    "part that is no text": (
        chat({**USER, "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, ANSWER),
        "messages[0].content[0].type",
        "'image_url' is not text",
    ),
    "part without text": (chat({**USER, "content": [{"type": "text"}]}, ANSWER), "messages[0].content[0].text", "must"),
    "message that is no object": (chat("hello", ANSWER), "messages[0]", "must be an object"),
    "no assistant": (chat(USER), "messages", "has no assistant turn"),
    "assistant first": (chat(ANSWER, USER, ANSWER), "messages[0].role", "speaks first"),
    "user last": (chat(USER, ANSWER, USER), "messages[2]", "after the last assistant turn"),
    "answer without a call": (chat(USER, ANSWER, result(), ANSWER), "messages[2].tool_call_id", "answers no call"),
    "answer to another call": (
        chat(USER, call(), result(tool_call_id="c2"), result(), ANSWER),
        "messages[2].tool_call_id",
        "'c2' answers no call",
    ),
    "call without an answer": (chat(USER, call(), USER, ANSWER), "messages[1].tool_calls[0]", "is not answered"),
    "arguments that are not JSON": (
        chat(USER, call(arguments="{what"), result(), ANSWER),
        "messages[1].tool_calls[0].function.arguments",
        "is not JSON",
    ),
    "arguments that are no object": (
        chat(USER, call(arguments="[1]"), result(), ANSWER),
        "messages[1].tool_calls[0].function.arguments",
        "must be a JSON object",
    ),
    "call of an unknown tool": (
        chat(USER, call("sell"), result(), ANSWER, tools=[TOOL]),
        "messages[1].tool_calls[0].function.name",
        "'sell' is none of the row's tools: find",
    ),
    "call of another type": (
        chat(USER, call(type="custom"), result(), ANSWER),
        "messages[1].tool_calls[0].type",
        "'custom' is not 'function'",
    ),
    "tool without a name": (
        chat(USER, ANSWER, tools=[{"type": "function", "function": {}}]),
        "tools[0].function.name",
        "must be",
    ),
    "tool defined twice": (chat(USER, ANSWER, tools=[TOOL, TOOL]), "tools[1].function.name", "an earlier tool"),
    "tools that are no list": ({**GOOD, "tools": {"a": 1}}, "tools", "must be a list"),
    "system message in the middle": (
        chat(USER, ANSWER, {"role": "system", "content": "Be brief."}, USER, ANSWER),
        "messages[2].role",
        "may only be the first",
    ),
    "lone surrogate": ('{"messages": [{"role": "user", "content": "\\ud800"}]}', "messages[0].content", "surrogate"),
    "NaN": ('{"messages": [{"role": "user", "content": NaN}]}', "messages[0].content", "NaN is not a JSON number"),
    "key twice": ('{"messages": [], "messages": []}', "messages", "names a key twice"),
    "NUL": (chat({**USER, "content": "a\0b"}, ANSWER), "messages[0].content", "NUL"),
    "raw NUL": (b'{"messages": "\0"}', "messages", "is not JSON: Invalid control character"),
    "not UTF-8": (b'{"messages": "\xff"}', "", "is not UTF-8 at byte 14"),
    "nested too deep": ('{"messages": ' + "[" * 100 + "]" * 100 + "}", "messages[0][0][0]", "nested deeper"),
    "huge integer": ('{"messages": [' + "9" * 5000 + "]}", "messages[0]", "too many digits"),
    "huge float": ('{"messages": [1e999]}', "messages[0]", "too large a number"),
    "trailing comma": ('{"messages": [1,]}', "messages", "a comma with nothing after it"),
    "comma after the row": (json.dumps(GOOD) + ",", "", "a comma with nothing after it"),
    "cut short": (json.dumps(GOOD)[:-5], "messages[1].content", "is not JSON"),
    "no messages": (chat(), "messages", "must be a non-empty list"),
    "weight neither 0 nor 1": (chat(USER, {**ANSWER, "weight": 0.5}), "messages[1].weight", "0.5 is neither 0 nor 1"),
    "weight that is no number": (chat(USER, {**ANSWER, "weight": True}), "messages[1].weight", "neither 0 nor 1"),
    "weight of a user": (chat({**USER, "weight": 1}, ANSWER), "messages[0].weight", "only an assistant"),
    "all weights 0": (chat(USER, {**ANSWER, "weight": 0}), "messages", "every assistant turn has weight 0"),
    "another form in the middle": ({"prompt": "a", "completion": "b"}, "", "but the file is OpenAI chat since line 1"),
    "no form": ({"text": "a"}, "", "has none of the keys"),
    "not an object": ([1], "", "must be a JSON object"),
    "line too long": (" " * (lines.MAX_LINE_BYTES + 1) + "{}", "", "is longer than 4 MiB"),
}

OTHER_DEFECTS: dict[str, tuple[Any, Any, str, str]] = {
    # kind: (a good row before it, the row, the field's path, words of the message)
    "no completion": ({"prompt": "a", "completion": "b"}, {"prompt": "a"}, "completion", "is missing"),
    "empty prompt": ({"prompt": "a", "completion": "b"}, {"prompt": "", "completion": "b"}, "prompt", "is empty"),
    "completion no string": (
        {"prompt": "a", "completion": "b"},
        {"prompt": "a", "completion": 1},
        "completion",
        "must be a string",
    ),
    "unknown speaker": (
        said(("human", "a"), ("gpt", "b")),
        said(("human", "a"), ("alien", "b")),
        "conversations[1].from",
        "'alien' is not one of",
    ),
    "turn without a value": (
        said(("human", "a"), ("gpt", "b")),
        said(("human", "a"), ("gpt", None)),
        "conversations[1].value",
        "is missing",
    ),
    "system in the middle": (
        said(("human", "a"), ("gpt", "b")),
        said(("human", "a"), ("system", "x"), ("gpt", "b")),
        "conversations[1].from",
        "may only be the first",
    ),
    "function call not JSON": (
        said(("human", "a"), ("gpt", "b")),
        said(("human", "a"), ("function_call", "find()"), ("observation", "x"), ("gpt", "b")),
        "conversations[1].value",
        "is not JSON",
    ),
    "empty question": (
        {"question": "a", "expected_answer": "b"},
        {"question": " ", "expected_answer": "b"},
        "question",
        "is empty",
    ),
    "no expected answer": ({"question": "a", "expected_answer": "b"}, {"question": "a"}, "expected_answer", "missing"),
}

CLEAN: dict[str, list[Any]] = {
    "chat with tools": [
        GOOD,
        chat({"role": "system", "content": ""}, USER, {**ANSWER, "weight": 0}, USER, {**ANSWER, "weight": 1}),
        chat({"role": "developer", "content": "Be brief."}, {**USER, "name": "ann"}, ANSWER, USER, USER, ANSWER),
        chat(USER, {**call(), "content": None}, result(), ANSWER, tools=[TOOL], parallel_tool_calls=False),
        chat(USER, call(arguments=""), result(content=""), {**ANSWER, "reasoning_content": "Found."}, tools=[TOOL]),
        chat(USER, call(), id="r1", source="harbour", metadata={"any": ["thing"]}),
        chat({**USER, "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, ANSWER),
        chat(USER, {**ANSWER, "refusal": None, "tool_calls": None}, tools=None),
        chat({**USER, "content": "\u2028 \ufeff 🦜 \x7f"}, {**ANSWER, "content": "NaN, [1,], \\u0000"}),
        {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}]},
    ],
    "ShareGPT": [
        said(("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", "d")),
        {**said(("system", "s"), ("user", "a"), ("assistant", "b")), "id": "identity_0"},
        {**said(("human", "a"), ("gpt", "b")), "system": "Be brief.", "tools": ""},
        {
            **said(("human", "a"), ("function_call", '{"name": "find", "arguments": {}}'), ("observation", "x")),
            "tools": '[{"name": "find", "description": "", "parameters": {}}]',
        },
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": 1}]},
    ],
    "prompt/completion": [{"prompt": "a", "completion": " b\n"}, {"prompt": "[1,]", "completion": "{", "id": 7}],
    "eval items": [{"question": "why?", "expected_answer": "because", "tags": ["any"]}],
}
CLEAN["ShareGPT"][3]["conversations"].append({"from": "gpt", "value": "b"})


def as_line(row: Any) -> bytes:
    return row if isinstance(row, bytes) else row.encode() if isinstance(row, str) else json.dumps(row).encode()


def write(folder: Path, *rows: Any, name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_bytes(b"".join(as_line(row) + b"\n" for row in rows))
    return path


def found(path: Path) -> list[str]:
    with pytest.raises(InvalidDataset) as caught:
        datasets.read(path)
    with pytest.raises(InvalidDataset, match="nothing was started"):
        datasets.verify(path)
    return list(caught.value.defects)


def assert_one(defect: str, line: int, field: str, words: str) -> None:
    where = f"train.jsonl:{line}: " + (f"{field}: " if field else "")
    assert defect.startswith(where), (defect, where)
    assert words in defect.removeprefix(where), (defect, words)


def test_thirty_kinds_and_more_are_known() -> None:
    assert len(CHAT_DEFECTS) + len(OTHER_DEFECTS) >= 30


def test_every_defect_of_a_file_is_found_at_its_line_and_field_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, *(row for bad, _, _ in CHAT_DEFECTS.values() for row in (bad, b"", GOOD)))
    listed = found(path)
    assert len(listed) == len(CHAT_DEFECTS), "\n".join(listed)
    for number, (defect, (_, field, words)) in enumerate(zip(listed, CHAT_DEFECTS.values(), strict=True)):
        assert_one(defect, 2 + 3 * number, field, words)


@pytest.mark.parametrize("kind", OTHER_DEFECTS)
def test_a_defect_of_another_form_is_found_at_its_line_and_field(tmp_path: Path, kind: str) -> None:
    good, bad, field, words = OTHER_DEFECTS[kind]
    (defect,) = found(write(tmp_path, good, bad, good))
    assert_one(defect, 2, field, words)


def test_several_defects_of_one_row_are_all_found(tmp_path: Path) -> None:
    row = chat({**USER, "content": 3, "x": 1}, {**ANSWER, "content": "", "weight": 2})
    fields = [defect.split(": ")[1] for defect in found(write(tmp_path, row))]
    assert fields == ["messages[0].x", "messages[0].content", "messages[1].content", "messages[1].weight"]


@pytest.mark.parametrize("form", CLEAN)
def test_a_clean_set_raises_no_alarm(tmp_path: Path, form: str) -> None:
    assert len(datasets.read(write(tmp_path, *CLEAN[form])).rows) == len(CLEAN[form])


def test_the_shipped_sample_raises_no_alarm() -> None:
    datasets.verify(datasets.sample_path())


def test_a_byte_order_mark_is_named_and_the_line_is_read_on(tmp_path: Path) -> None:
    listed = found(write(tmp_path, b"\xef\xbb\xbf" + as_line(chat({**USER, "role": "robot"}))))
    assert_one(listed[0], 1, "", "begins with a byte order mark")
    assert_one(listed[1], 1, "messages[0].role", "robot")


def test_a_json_array_is_refused_in_one_line(tmp_path: Path) -> None:
    (defect,) = found(write(tmp_path, json.dumps([GOOD] * 5, indent=1)))
    assert_one(defect, 1, "", "begins a JSON array; a dataset is JSONL")


def test_the_first_good_row_tells_the_form(tmp_path: Path) -> None:
    (first, last) = found(write(tmp_path, {"prompt": "a"}, GOOD, {"prompt": "a", "completion": "b"}))
    assert_one(first, 1, "completion", "is missing")
    assert_one(last, 3, "", "is prompt/completion, but the file is OpenAI chat since line 2")


def test_a_value_of_the_file_is_quoted_short_and_without_control_characters(tmp_path: Path) -> None:
    row = chat({**USER, "role": "\x1b[2J" + "x" * 10_000}, ANSWER)
    key = {**GOOD, "\x1b[2J" * 1000: 1}
    listed = found(write(tmp_path, row, key))
    assert all(len(defect) < 300 and "\x1b" not in defect for defect in listed)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero"), tmp_path / "a\0b"):
        with pytest.raises(InvalidDataset):
            datasets.verify(path)


def test_the_first_thousand_defects_are_kept_and_the_rest_counted(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"has 1500 defect.*\n(.*\n)+... and 1450 more") as caught:
        datasets.verify(write(tmp_path, *["{"] * 1500))
    assert len(caught.value.defects) == defects.MAX_KEPT


def test_a_large_file_is_verified_in_little_memory_and_time(tmp_path: Path) -> None:
    row = as_line(chat({**USER, "content": "rope " * 200}, {**ANSWER, "content": "berth " * 200}))
    path = write(tmp_path, *[row] * 8_000)  # 18 MB
    tracemalloc.start()
    began = time.monotonic()
    datasets.verify(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 4 << 20
    assert time.monotonic() - began < 30


def test_forms_become_openai_messages(tmp_path: Path) -> None:
    rows = datasets.read(write(tmp_path, *CLEAN["ShareGPT"])).rows
    assert rows[2].messages[0] == {"role": "system", "content": "Be brief."}
    function = {"name": "find", "arguments": {}}
    assert rows[3].messages[1] == {"role": "assistant", "tool_calls": [{"type": "function", "function": function}]}
    assert rows[3].tools[0]["function"]["name"] == "find"
    (pair, _) = datasets.read(write(tmp_path, *CLEAN["prompt/completion"])).rows
    assert pair.messages == ({"role": "user", "content": "a"}, {"role": "assistant", "content": " b\n"})


def test_what_means_the_same_is_equal(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Where is "}, {"type": "text", "text": "the rope?"}]
    plain, same = datasets.read(
        write(tmp_path, GOOD, chat({**USER, "content": parts}, {**ANSWER, "weight": 1, "refusal": None}, id="x"))
    ).rows
    assert plain.canonical() == same.canonical()


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "function", "name", "id"]), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container inside with each of its keys."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@settings(max_examples=300)
@given(st.data())
def test_whatever_stands_in_place_of_a_value_is_a_row_or_a_defect(data: st.DataObject) -> None:
    rows = [row for rows in CLEAN.values() for row in rows]
    row = json.loads(json.dumps(data.draw(st.sampled_from(rows))))
    container, key = data.draw(st.sampled_from(places(row)))
    container[key] = data.draw(VALUES)
    reader = datasets.Reader()
    read = list(reader.values([row]))
    assert bool(read) != bool(reader.defects.total)
    for conversation in read:
        assert conversation.canonical()
        assert all(isinstance(message.get("content", ""), str) for message in conversation.messages)
