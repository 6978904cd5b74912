"""Constrained answers fit their grammar whatever the weights say, and a hostile schema is only an error."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

import pytest

from catalog.errors import InvalidRequest
from gateway.engine import grammar
from gateway.engine.grammar import Markers
from gateway.engine.requests import AnyObject, CallsTools, FitsSchema, Generation, Grammar, Sampling
from tests.gateway.engine.conftest import GREEDY, House, answer, bare, prompt, run, running

SCHEMA = {
    "type": "object",
    "properties": {
        "country": {"enum": ["France", "Peru"]},
        "population": {"type": "integer", "minimum": 0, "maximum": 99},
        "capital": {
            "type": "object",
            "properties": {"big": {"type": "boolean"}},
            "required": ["big"],
            "additionalProperties": False,
        },
    },
    "required": ["country", "population", "capital"],
    "additionalProperties": False,
}


def tool(name: str, **properties: object) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


NO_TOOLS = Markers(None, None, are_special=False)
TOOLS = [tool("weather", place={"enum": ["Oslo", "Rome"]}), tool("clock")]


def test_random_weights_give_valid_json_in_a_mixed_batch(house: House) -> None:
    async def scene() -> None:
        async with running(house, max_queued_tokens=1 << 16) as engine:
            wanted = await (await bare(engine)).grammar(FitsSchema(SCHEMA), may_think=False)
            tokens = await prompt(engine, "hello")
            free = Generation(tokens, house.ids[0], 40, sampling=GREEDY)
            alone, _ = await answer(engine, free)
            held = [
                Generation(tokens, adapter, 400, sampling=Sampling(temperature=1.0, seed=n), grammar=wanted)
                for n, adapter in enumerate([None, *house.ids] * 2)
            ]
            got = await asyncio.gather(answer(engine, free), *(answer(engine, generation) for generation in held))
            assert got[0][0] == alone, "a free row beside held ones is untouched"
            finished = [text for text, finish in got[1:] if finish.reason == "stop"]
            assert len(finished) >= 8
            for text in finished:
                value = json.loads(text)
                assert value["country"] in ("France", "Peru")
                assert 0 <= value["population"] <= 99
                assert isinstance(value["capital"]["big"], bool)

    run(scene())


def test_keys_are_said_in_the_schemas_own_order_and_a_calls_name_before_its_arguments(house: House) -> None:
    """As OpenAI promises it: a schema whose first key is the reasoning has it said before the verdict."""
    wanted = ["verdict_comes_later", "a", "z", "m"]
    flags = {"properties": {key: {"type": "boolean"} for key in wanted}, "required": sorted(wanted)}
    schema = FitsSchema({"type": "object", **flags, "additionalProperties": False})

    async def scene() -> None:
        async with running(house) as engine:
            tokens, voice = await prompt(engine, "hello"), await bare(engine)
            held = await voice.grammar(schema, may_think=False)
            text, _ = await answer(engine, Generation(tokens, None, 400, sampling=GREEDY, grammar=held))
            assert list(json.loads(text)) == wanted
            called = await voice.grammar(CallsTools(TOOLS, many=False, or_words=False), may_think=False)
            text, _ = await answer(engine, Generation(tokens, None, 300, sampling=GREEDY, grammar=called))
            inside = text.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
            assert list(json.loads(inside)) == ["name", "arguments"]

    run(scene())


def test_forced_calls_are_calls_of_the_tools_given(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            wanted = await (await bare(engine)).grammar(CallsTools(TOOLS, many=False, or_words=False), may_think=False)
            for seed in range(6):
                sampling = Sampling(temperature=1.0, seed=seed)
                text, finish = await answer(engine, Generation(tokens, None, 300, sampling=sampling, grammar=wanted))
                assert finish.reason == "stop"
                inside = text.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
                (call,) = (await bare(engine)).parse_tool_call(inside, TOOLS)
                assert call in (
                    {"name": "weather", "arguments": {"place": "Oslo"}},
                    {"name": "weather", "arguments": {"place": "Rome"}},
                    {"name": "clock", "arguments": {}},
                )

    run(scene())


def test_a_thought_may_come_first_and_the_answer_is_held_all_the_same(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            think_end = (await prompt(engine, "</think>"))[3]
            wanted = await (await bare(engine)).grammar(AnyObject(), may_think=True)
            bias = {think_end - 1: 8.0, think_end: 9.0}
            thoughts = 0
            for seed in range(12):
                sampling = Sampling(temperature=1.0, seed=seed, logit_bias=bias)
                text, _ = await answer(engine, Generation(tokens, None, 100, sampling=sampling, grammar=wanted))
                if text.startswith("<think>"):
                    _, end, text = text.partition("</think>")
                    thoughts += bool(end)
                assert not text or text.startswith("{")
            assert thoughts >= 2

    run(scene())


def test_strict_tools_leave_words_free_and_hold_every_call(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            wanted = await (await bare(engine)).grammar(CallsTools(TOOLS, many=True, or_words=True), may_think=False)
            start = (await prompt(engine, "<tool_call>"))[3]
            called = 0
            for seed in range(8):
                sampling = Sampling(temperature=1.0, seed=seed, logit_bias={start: 4.0})
                text, _ = await answer(engine, Generation(tokens, None, 250, sampling=sampling, grammar=wanted))
                for block in text.split("<tool_call>")[1:]:
                    inside, end, _ = block.partition("</tool_call>")
                    if end:
                        called += 1
                        (call,) = (await bare(engine)).parse_tool_call(inside.strip(), TOOLS)
                        assert call["name"] in ("weather", "clock")
            assert called >= 4

    run(scene())


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (nested(200), "nested deeper"),
        ({"enum": ["x" * 40] * 5000}, "larger than"),
        ({"type": "strin"}, "cannot be used"),
        ({"$ref": "#/$defs/nowhere"}, "cannot be used"),
        ({"type": "string", "pattern": "(" * 50}, "cannot be used: regex parse error: error: unclosed group"),
        ({"type": "string", "pattern": "(?=a)b"}, "error: look-around"),
    ],
)
def test_a_hostile_schema_is_a_clear_error_soon(schema: dict[str, Any], message: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidRequest, match=message) as refusal:
        grammar.compile_constraint(FitsSchema(schema), NO_TOOLS, may_think=False)
    assert refusal.value.param == "response_format"
    assert time.process_time() - began < 5


@pytest.mark.parametrize("pattern", ["((((a{1,1000}){1,1000}){1,1000}){1,1000})", "(.*a){40}.*b.{60}", "(x+x+)+y"])
def test_a_hostile_pattern_never_stalls_the_others(house: House, pattern: str) -> None:
    schema = FitsSchema({"type": "string", "pattern": pattern})
    wanted = grammar.compile_constraint(schema, NO_TOOLS, may_think=False)

    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            hostile = asyncio.create_task(answer(engine, Generation(tokens, None, 200, grammar=wanted)))
            slowest_s, before = 0.0, time.monotonic()
            async for _ in engine.generate(Generation(tokens, house.ids[0], 60, sampling=GREEDY)):
                slowest_s, before = max(slowest_s, time.monotonic() - before), time.monotonic()
            assert slowest_s < 10
            with contextlib.suppress(InvalidRequest):
                await hostile

    run(scene())


def test_a_broken_grammar_fails_its_row_alone(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            with pytest.raises(InvalidRequest):
                await answer(engine, Generation(tokens, None, 10, grammar=Grammar("start: %%%")))
            await answer(engine, Generation(tokens, None, 10, sampling=GREEDY))

    run(scene())
