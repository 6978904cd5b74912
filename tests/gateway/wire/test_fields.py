"""Every published field of a chat request is honoured, refused by name, or a hint by its own specification."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from catalog.errors import InvalidRequest
from gateway.wire.fields import FIELDS, LOCAL_ONLY, Honoured, Ignored, Refused, check_supported
from gateway.wire.request import ChatRequest, parse
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import Served

PUBLISHED = set(CompletionCreateParamsStreaming.__annotations__) | set(
    CompletionCreateParamsNonStreaming.__annotations__
)
MESSAGES = [{"role": "user", "content": "hi"}]

REFUSED_VALUES: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "mp3"},
    "function_call": "auto",
    "functions": [{"name": "f"}],
    "modalities": ["text", "audio"],
    "moderation": {"model": "omni-moderation-latest"},
    "reasoning_effort": "high",
    "service_tier": "priority",
    "verbosity": "low",
    "web_search_options": {},
}
HARMLESS_VALUES: dict[str, Any] = {
    "modalities": ["text"],
    "reasoning_effort": "none",
    "response_format": {"type": "text"},
    "service_tier": "auto",
    "store": False,
    "verbosity": "medium",
    "tool_choice": "none",
    "metadata": {"a": "b"},
    "prediction": {"type": "content", "content": "x"},
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "24h",
    "safety_identifier": "s",
    "user": "u",
}


def plain(**fields: Any) -> bytes:
    return msgspec.json.encode({"model": "ragweld", "messages": MESSAGES, **fields})


def test_the_table_holds_exactly_what_is_published_and_what_is_ours() -> None:
    assert PUBLISHED | LOCAL_ONLY == set(FIELDS) == set(ChatRequest.__struct_fields__)


def test_what_is_refused_or_ignored_says_why() -> None:
    for support in FIELDS.values():
        assert isinstance(support, Honoured) or support.why


def test_every_refused_field_has_a_case_here() -> None:
    refused = {name for name, support in FIELDS.items() if isinstance(support, Refused)}
    assert refused == set(REFUSED_VALUES)
    assert {name for name, support in FIELDS.items() if isinstance(support, Ignored)} <= set(HARMLESS_VALUES)


@pytest.mark.parametrize("name", REFUSED_VALUES)
def test_a_refused_field_is_400_with_its_name(gateway: Served, engine: ScriptedEngine, name: str) -> None:
    reply = gateway.chat(**{name: REFUSED_VALUES[name]})
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, name, "unsupported_parameter")
    assert engine.asked == []


@pytest.mark.parametrize("name", HARMLESS_VALUES)
def test_a_value_that_changes_nothing_is_taken(name: str) -> None:
    check_supported(parse(plain(**{name: HARMLESS_VALUES[name]})).request)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_null_is_the_same_as_absent(name: str) -> None:
    if name in ("messages", "model"):
        return
    check_supported(parse(plain(**{name: None})).request)


def test_json_and_tools_together_are_refused() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    with pytest.raises(InvalidRequest) as caught:
        check_supported(parse(plain(tools=tools, response_format={"type": "json_object"})).request)
    assert caught.value.param == "response_format"
    check_supported(parse(plain(tools=tools, tool_choice="none", response_format={"type": "json_object"})).request)


def test_a_tool_that_is_not_given_cannot_be_forced() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    chosen = {"type": "function", "function": {"name": "g"}}
    with pytest.raises(InvalidRequest) as caught:
        parse(plain(tools=tools, tool_choice=chosen))
    assert caught.value.param == "tool_choice.function.name"


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}], "messages[0].content[1]"),
        ([{"type": "input_audio", "input_audio": {}}], "messages[0].content[0]"),
        ([{"type": "file", "file": {}}], "messages[0].content[0]"),
    ],
)
def test_what_is_not_text_is_refused_clearly(content: object, param: str) -> None:
    with pytest.raises(InvalidRequest, match="does not take images") as caught:
        check_supported(parse(plain(messages=[{"role": "user", "content": content}])).request)
    assert caught.value.param == param
