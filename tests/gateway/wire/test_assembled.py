"""A stream put together is the completion that the same request gets whole."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.wire.assembled import completion_of
from tests.gateway.scripted import ScriptedEngine, words
from tests.gateway.serving import Served

TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}]
CALL = '<tool_call>{"name": "find", "arguments": {"what": "rope"}}</tool_call>'


def without_names(completion: dict[str, Any] | None) -> dict[str, Any]:
    """What does not differ between two askings."""
    assert completion is not None
    for choice in completion["choices"]:
        for call in choice["message"].get("tool_calls") or ():
            call["id"] = ""
    return {name: value for name, value in completion.items() if name not in ("id", "created")}


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        (("Hello", " world", "."), {}),
        (("<think>", "Hm.", "</think>", "Yes", "."), {"reasoning_effort": "medium"}),
        (("I look.", CALL), {"tools": TOOLS}),
        ((CALL, CALL), {"tools": TOOLS}),
        (("One", " two"), {"n": 2}),
        (("One", " two"), {"logprobs": True, "top_logprobs": 1}),
    ],
)
def test_a_stream_is_what_the_whole_answer_is(
    gateway: Served, engine: ScriptedEngine, said: tuple[str, ...], fields: dict[str, Any]
) -> None:
    engine.script = words(*said)
    whole = gateway.chat(**fields)
    stream = gateway.chat(stream=True, stream_options={"include_usage": True}, **fields)
    assert whole.status == stream.status == 200
    expected, found = without_names(whole.json()), without_names(completion_of(stream.body, is_stream=True))
    for choice in (*expected["choices"], *found["choices"]):
        choice["message"].pop("refusal", None)
        choice["logprobs"] = (choice["logprobs"] or {}).get("content")
    assert found == expected


def test_a_stream_that_broke_off_is_no_completion(gateway: Served, engine: ScriptedEngine) -> None:
    body = gateway.chat(stream=True).body
    events = body.split(b"\n\n")
    for cut in range(len(events) - 2):
        assert completion_of(b"\n\n".join(events[:cut]), is_stream=True) is None
    assert completion_of(body, is_stream=True) is not None


@pytest.mark.parametrize("body", [b"", b"data: [DONE]\n\n", b"data: {\n\ndata: [DONE]\n\n", b"hello", b"data: 1\n\n"])
def test_what_is_no_stream_of_chunks_is_no_completion(body: bytes) -> None:
    assert completion_of(body, is_stream=True) is None


def test_an_error_in_the_stream_is_no_completion() -> None:
    assert completion_of(b'data: {"error": {"message": "no"}}\n\ndata: [DONE]\n\n', is_stream=True) is None


def test_what_is_nested_too_deeply_is_no_completion() -> None:
    deep = b'{"error":' + b"[" * 10_000
    assert completion_of(deep, is_stream=False) is None
    assert completion_of(b"data: " + deep + b"\n\ndata: [DONE]\n\n", is_stream=True) is None


GOOD: dict[str, Any] = {"id": "c", "choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}


def test_a_whole_answer_of_another_server_is_taken_as_it_is() -> None:
    body = msgspec.json.encode(GOOD | {"their": "own"})
    assert completion_of(body, is_stream=False) == GOOD | {"their": "own"}


@pytest.mark.parametrize(
    "change",
    [
        {"id": 7},
        {"id": "../x"},
        {"id": ""},
        {"choices": []},
        {"choices": "none"},
        {"choices": [{"message": "hi", "finish_reason": "stop"}]},
        {"choices": [{"message": {}}]},
        {"created": 1 << 80},
        {"model": None},
    ],
)
def test_what_is_not_of_the_shape_is_no_completion(change: dict[str, Any]) -> None:
    assert completion_of(msgspec.json.encode(GOOD | change), is_stream=False) is None


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [{"delta": {"content": ["a"]}}]},
        {"choices": [{"delta": {"tool_calls": [7]}}]},
        {"choices": "none"},
        {"choices": [{"index": "0"}]},
        {"usage": 7},
    ],
)
def test_a_chunk_that_is_not_of_the_shape_makes_no_completion(chunk: dict[str, Any]) -> None:
    body = b"data: " + msgspec.json.encode({"id": "c", **chunk}) + b"\n\ndata: [DONE]\n\n"
    assert completion_of(body, is_stream=True) is None
