"""A request's shape: bounds on every number, unknown names refused with their path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from catalog.errors import InvalidRequest
from gateway.wire.request import ParsedChat, parse

HI = {"role": "user", "content": "hi"}


def read(**fields: Any) -> ParsedChat:
    return parse(json.dumps({"model": "ragweld", "messages": [HI], **fields}).encode())


BOUNDS: dict[str, tuple[list[object], list[object]]] = {
    "temperature": ([0, 1, 2, 0.5], [-0.1, 2.1, "1", True]),
    "top_p": ([0, 1], [-0.1, 1.1]),
    "n": ([1, 8], [0, 9, -1, 1.5]),
    "max_tokens": ([1, 1 << 20], [0, -1, 1 << 21, 10**30]),
    "max_completion_tokens": ([1], [0, 10**19]),
    "frequency_penalty": ([-2, 2], [-2.1, 2.1]),
    "presence_penalty": ([-2, 2], [-2.1, 2.1]),
    "seed": ([0, -1, (1 << 63) - 1], [1 << 63, "x"]),
    "stop": (["a", ["a", "b", "c", "d"], []], ["", ["a"] * 5, [""], [1]]),
    "logit_bias": ([{"1": 100, "2": -100}], [{"1": 101}, {"x": 1}, {"-1": 1}, [1]]),
    "top_k": ([0, 50], [-1]),
    "min_p": ([0, 1], [1.1]),
    "repetition_penalty": ([1.1], [0, -1, 11]),
    "stream": ([True, False], [1, "yes"]),
    "tools": ([[]], [[{"type": "function", "function": {"name": "a b"}}], [{"type": "nope"}], {}]),
    "chat_template_kwargs": ([{"enable_thinking": False}], [{"other": 1}]),
    "model": (["", "x" * 512], ["x" * 513, 1]),
    "messages": (
        [[{"role": role, "content": "x"} for role in ("system", "developer", "user", "assistant")]],
        [
            [],
            [{"role": "robot", "content": "x"}],
            [{"content": "x"}],
            [{"role": "user"}],
            [{"role": "tool", "content": ""}],
        ],
    ),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_values_inside_the_bounds_are_read(name: str) -> None:
    for value in BOUNDS[name][0]:
        read(**{name: value})


@pytest.mark.parametrize("name", BOUNDS)
def test_values_outside_the_bounds_are_400_with_the_path(name: str) -> None:
    for value in BOUNDS[name][1]:
        with pytest.raises(InvalidRequest) as caught:
            read(**{name: value})
        assert caught.value.param is not None
        assert caught.value.param.startswith(name), (value, caught.value.param)


@pytest.mark.parametrize("name", ["base_url", "api_base", "adapters", "api_key", "temprature", "messages.x"])
def test_an_unknown_field_is_named(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**{name: "http://evil.example"})
    assert (caught.value.param, caught.value.code) == (name, "unknown_field")


def test_an_unknown_field_of_a_message_is_named_with_its_path() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(messages=[HI, {"role": "user", "content": "x", "colour": 1}])
    assert caught.value.param == "messages[1].colour"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
def test_fields_that_need_each_other_are_checked_together(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)
    assert caught.value.param == param


def test_what_a_client_sends_back_from_an_answer_is_read() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    answered = {"role": "assistant", "content": None, "refusal": None, "annotations": None, "audio": None}
    chat = read(
        messages=[
            HI,
            {**answered, "function_call": None, "tool_calls": [call], "reasoning_content": "hm"},
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "42"}]},
        ]
    )
    assert chat.messages[1] == {"role": "assistant", "tool_calls": [call], "reasoning_content": "hm"}


def test_thinking_is_on_unless_switched_off() -> None:
    assert read().request.thinking
    assert not read(reasoning_effort="none").request.thinking
    assert not read(chat_template_kwargs={"enable_thinking": False}).request.thinking
    assert read(chat_template_kwargs={"enable_thinking": True}, reasoning_effort="none").request.thinking


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"null"])
def test_a_body_that_is_no_object_is_400(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse(body)
