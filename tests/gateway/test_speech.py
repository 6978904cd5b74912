"""Thoughts, words and calls come out the same, whatever pieces the text came in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.speech import Call, Part, Splitter, Thought, Words
from tests.gateway.scripted import Markers

MARKED = Markers()
FRAGMENTS = st.sampled_from(
    [
        "<think>", "</think>", "<tool_call>", "</tool_call>", "\n", " ", "a", "é", "<", "</", "think>", "tool_call>",
        "<tool_call", '{"name": "f", "arguments": {"x": 1}}', "{", "🙂",
    ]
)  # fmt: skip
TEXTS = st.lists(FRAGMENTS, max_size=12).map("".join)


def parse(text: str) -> list[dict[str, Any]]:
    call = json.loads(text)
    if not isinstance(call, dict):
        raise ValueError("no call")
    return [call]


def split(pieces: Sequence[str], markers: Markers = MARKED, *, tools: bool = True) -> list[Part]:
    splitter = Splitter(markers, parse if tools else None)
    parts = [part for piece in pieces for part in splitter.feed(piece)]
    return joined([*parts, *splitter.finish()])


def joined(parts: Sequence[Part]) -> list[Part]:
    """Neighbours of a kind as one."""
    whole: list[Part] = []
    for kind, group in groupby(parts, type):
        found = list(group)
        whole += found if kind is Call else [kind("".join(part.text for part in found))]  # type: ignore[union-attr]
    return whole


@given(TEXTS, st.data())
@example("<think>\nx\n</think>\n\nok", None)
def test_any_chunking_gives_the_same_parts(text: str, data: st.DataObject | None) -> None:
    cuts = [] if data is None else sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert split(pieces) == split([text]) == split(list(text))


@given(TEXTS)
def test_text_without_markers_is_given_back_whole(text: str) -> None:
    plain = Markers(None, None, None, None)
    assert "".join(part.text for part in split(list(text), plain) if isinstance(part, Words)) == text


@given(st.text(alphabet="ab \n", min_size=1), st.sampled_from(["<think>", "<tool_call>"]))
def test_half_a_marker_is_never_shown(before: str, marker: str) -> None:
    splitter = Splitter(MARKED, parse)
    shown = [part for char in before + marker[:-1] for part in splitter.feed(char)]
    is_marker_here = marker == "<tool_call>" or not before.strip()
    assert not is_marker_here or "<" not in "".join(part.text for part in shown if isinstance(part, Words))


def test_thoughts_are_split_from_words() -> None:
    assert split(["<think>\nLet me", " see.\n</think>\n\nParis."]) == [Thought("Let me see."), Words("Paris.")]


def test_an_empty_thought_is_none() -> None:
    assert split(["<think>\n\n</think>\n\nHi"]) == [Words("Hi")]


def test_a_thought_cut_by_the_limit_stays_a_thought() -> None:
    assert split(["<think>\nI was th"]) == [Thought("I was th")]


def test_calls_are_read_one_by_one() -> None:
    text = 'So: <tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>\n<tool_call>{"name": "g"}</tool_call>'
    assert split([text]) == [Words("So: "), Call("f", '{"x":1}'), Call("g", "{}")]


@pytest.mark.parametrize("block", ["{", "", "[1]", "nothing", '{"name": "f"'])
def test_a_call_that_does_not_parse_is_given_back_and_counted(block: str) -> None:
    text = f"<tool_call>{block}</tool_call> after"
    splitter = Splitter(MARKED, parse)
    assert joined([*splitter.feed(text), *splitter.finish()]) == [Words(text)]
    assert splitter.unreadable_calls == 1


def test_a_call_cut_by_the_limit_is_given_back() -> None:
    assert split(['<tool_call>{"name": "f']) == [Words('<tool_call>{"name": "f')]


def test_without_tools_markers_of_tools_are_words() -> None:
    text = '<tool_call>{"name": "f"}</tool_call>'
    assert split([text], tools=False) == [Words(text)]


def test_a_base_whose_calls_have_no_end_marker() -> None:
    assert split(['[CALL]{"name"', ': "f"}'], Markers(None, None, "[CALL]", None)) == [Call("f", "{}")]
