"""Answers as OpenAI gives them, plain and streaming, by a scripted engine behind the real server."""

from __future__ import annotations

import json
import socket
from typing import Any

import openai
import pytest

from catalog.errors import ContextLengthExceeded, EngineFailed, InvalidAdapter, Overloaded, RagweldError, Unavailable
from gateway.engine.requests import Finish, Generation
from tests.gateway.scripted import NAMED, ScriptedEngine, words
from tests.gateway.serving import Served, events_of, wait_until

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
CALL = '<tool_call>\n{"name": "f", "arguments": {"x": "é"}}\n</tool_call>'
HI: list[Any] = [{"role": "user", "content": "hi"}]


def stream(gateway: Served, **fields: Any) -> list[Any]:
    reply = gateway.chat(stream=True, **fields)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
    return events_of(reply.body)


def test_a_plain_answer_has_openais_shape(gateway: Served, engine: ScriptedEngine) -> None:
    reply = gateway.chat()
    completion = reply.json()
    assert completion["object"] == "chat.completion"
    assert completion["model"] == "ragweld:ragweld-nano@base"
    assert completion["id"].startswith("chatcmpl-")
    assert completion["system_fingerprint"].endswith("-base")
    (choice,) = completion["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hello world.", "refusal": None}
    assert (choice["finish_reason"], choice["logprobs"]) == ("stop", None)
    usage = completion["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (7, 3, 10)
    assert reply.headers["x-ragweld-provider"] == "ragweld"
    assert reply.headers["x-ragweld-adapter"] == "base"
    assert "x-ragweld-fallback" not in reply.headers


def test_an_adapter_is_named_in_full_and_in_short(gateway: Served, engine: ScriptedEngine) -> None:
    reply = gateway.chat(model="ragweld@named")
    assert reply.json()["model"] == f"ragweld:ragweld-nano@{NAMED[:12]}"
    assert reply.headers["x-ragweld-adapter"] == NAMED
    assert engine.asked[0].adapter_id == NAMED


def test_a_stream_follows_the_grammar(gateway: Served, engine: ScriptedEngine) -> None:
    *chunks, done = stream(gateway)
    assert done == "[DONE]"
    assert len({(chunk["id"], chunk["model"], chunk["created"], chunk["system_fingerprint"]) for chunk in chunks}) == 1
    assert all(chunk["object"] == "chat.completion.chunk" and "usage" not in chunk for chunk in chunks)
    first, *middle, last = [chunk["choices"][0] for chunk in chunks]
    assert first["delta"] == {"role": "assistant", "content": ""}
    assert "".join(choice["delta"]["content"] for choice in middle) == "Hello world."
    assert all("role" not in choice["delta"] and choice["finish_reason"] is None for choice in middle)
    assert (last["delta"], last["finish_reason"]) == ({}, "stop")


def test_the_usage_chunk_comes_last_and_only_when_asked_for(gateway: Served, engine: ScriptedEngine) -> None:
    *chunks, last, done = stream(gateway, stream_options={"include_usage": True})
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 3


def test_characters_of_many_bytes_arrive_whole(gateway: Served, engine: ScriptedEngine) -> None:
    engine.script = words("Grüße ", "🙂", "日本", "\u2028", "\x00", '"\\')
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in stream(gateway)[:-1])
    assert text == 'Grüße 🙂日本\u2028\x00"\\'


def test_what_was_asked_reaches_the_engine(gateway: Served, engine: ScriptedEngine) -> None:
    gateway.chat(
        temperature=0, top_p=0.9, top_k=5, min_p=0.1, repetition_penalty=1.1, frequency_penalty=0.5,
        presence_penalty=-1, seed=5, stop=["a", "b"], max_tokens=9, logit_bias={"3": -100}, reasoning_effort="none",
    )  # fmt: skip
    (asked,) = engine.asked
    sampling = asked.sampling
    assert (asked.max_tokens, asked.stop, asked.top_logprobs) == (9, ("a", "b"), None)
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0, 0.9, 5, 0.1)
    assert (sampling.repetition_penalty, sampling.frequency_penalty, sampling.presence_penalty) == (1.1, 0.5, -1)
    assert (sampling.seed, dict(sampling.logit_bias)) == (5, {3: -100})
    assert engine.thinking is False


def test_the_default_length_is_what_the_context_allows(gateway: Served, engine: ScriptedEngine) -> None:
    gateway.chat()
    assert engine.asked[0].max_tokens == 1024
    assert engine.thinking is True


def test_n_answers_run_side_by_side_each_with_its_own_seed(gateway: Served, engine: ScriptedEngine) -> None:
    engine.script = lambda generation: [f"seed {generation.sampling.seed}"]
    completion = gateway.chat(n=3, seed=10).json()
    texts = [choice["message"]["content"] for choice in completion["choices"]]
    assert texts == ["seed 10", "seed 11", "seed 12"]
    assert [choice["index"] for choice in completion["choices"]] == [0, 1, 2]
    assert (completion["usage"]["prompt_tokens"], completion["usage"]["completion_tokens"]) == (7, 3)
    *chunks, _ = stream(gateway, n=3, seed=10)
    for index, text in enumerate(texts):
        mine = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        assert "".join(choice["delta"].get("content", "") for choice in mine) == text
        assert sum("role" in choice["delta"] for choice in mine) == 1
        assert [choice["finish_reason"] for choice in mine if choice["finish_reason"]] == ["stop"]


def test_length_is_said(gateway: Served, engine: ScriptedEngine) -> None:
    engine.script = words("cut", Finish("length", 7, 1, 4))
    completion = gateway.chat().json()
    assert completion["choices"][0]["finish_reason"] == "length"
    assert completion["usage"]["prompt_tokens_details"]["cached_tokens"] == 4


def test_thoughts_stand_apart_and_are_counted(gateway: Served, engine: ScriptedEngine) -> None:
    engine.script = words("<thi", "nk>\n", "Hm.", "\n</think>", "\n\n", "Paris", ".")
    completion = gateway.chat().json()
    message = completion["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "Paris.")
    assert completion["usage"]["completion_tokens_details"]["reasoning_tokens"] >= 2
    deltas = [chunk["choices"][0]["delta"] for chunk in stream(gateway)[:-1]]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "Hm."
    assert "".join(delta.get("content", "") for delta in deltas) == "Paris."


def test_a_tool_call_plain(gateway: Served, engine: ScriptedEngine) -> None:
    engine.script = words(*CALL)
    (choice,) = gateway.chat(tools=TOOLS).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "f")
    assert json.loads(call["function"]["arguments"]) == {"x": "é"}
    assert engine.tools == TOOLS


def test_tool_calls_streaming_name_their_id_once(gateway: Served, engine: ScriptedEngine) -> None:
    engine.script = words(*CALL, "\n", *CALL)
    *chunks, _ = stream(gateway, tools=TOOLS)
    deltas = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])]
    for index in (0, 1):
        first, *rest = [delta for delta in deltas if delta["index"] == index]
        assert first["id"].startswith("call_") and first["function"] == {"name": "f", "arguments": ""}
        assert all("id" not in delta and "name" not in delta["function"] for delta in rest)
        assert json.loads("".join(delta["function"]["arguments"] for delta in rest)) == {"x": "é"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_one_call_only_when_calls_may_not_be_parallel(gateway: Served, engine: ScriptedEngine) -> None:
    engine.script = words(CALL, CALL, CALL)
    engine.endless = True
    (choice,) = gateway.chat(tools=TOOLS, parallel_tool_calls=False).json()["choices"]
    assert len(choice["message"]["tool_calls"]) == 1
    assert choice["finish_reason"] == "tool_calls"
    wait_until(lambda: engine.closed == 1, "end of the row")


def test_a_call_that_does_not_parse_is_given_back_and_counted(gateway: Served, engine: ScriptedEngine) -> None:
    before = gateway.metric("ragweld_unreadable_tool_calls_total")
    engine.script = words("<tool_call>{oops</tool_call>")
    (choice,) = gateway.chat(tools=TOOLS).json()["choices"]
    assert choice["message"]["content"] == "<tool_call>{oops</tool_call>"
    assert choice["finish_reason"] == "stop"
    assert gateway.metric("ragweld_unreadable_tool_calls_total") == before + 1


def test_tools_that_may_not_be_called_are_not_shown(gateway: Served, engine: ScriptedEngine) -> None:
    gateway.chat(tools=TOOLS, tool_choice="none")
    assert engine.tools == []


def test_logprobs_plain_and_streaming_agree(gateway: Served, engine: ScriptedEngine) -> None:
    (choice,) = gateway.chat(logprobs=True, top_logprobs=2).json()["choices"]
    content = choice["logprobs"]["content"]
    assert [token["token"] for token in content] == ["<1>", "<2>", "<3>"]
    assert content[0]["bytes"] == list(b"<1>")
    assert [len(token["top_logprobs"]) for token in content] == [2, 2, 2]
    *chunks, _ = stream(gateway, logprobs=True, top_logprobs=2)
    streamed = [c["choices"][0]["logprobs"] for c in chunks if c["choices"][0]["logprobs"]]
    assert [token for part in streamed for token in part["content"]] == content


@pytest.mark.parametrize(
    ("said", "with_logprobs"),
    [
        (("<thi", "nk>\n", "Hm.", "\n</think>", "\n\n", "Paris", "."), ["<6>", "<7>"]),
        (("See. ", "<tool_", "call>", CALL.removeprefix("<tool_call>"), "\n\n", "Done"), ["<1>", "<6>"]),
        (("1 <", " 2"), ["<1>", "<2>"]),
        (("<tool_call>{oops", "</tool_call>"), ["<1>", "<2>"]),
    ],
)
def test_logprobs_are_those_of_what_is_said(
    gateway: Served, engine: ScriptedEngine, said: tuple[str, ...], with_logprobs: list[str]
) -> None:
    engine.script = words(*said)
    (choice,) = gateway.chat(logprobs=True, tools=TOOLS).json()["choices"]
    assert [token["token"] for token in choice["logprobs"]["content"]] == with_logprobs
    *chunks, _ = stream(gateway, logprobs=True, tools=TOOLS)
    parts = [c["choices"][0]["logprobs"] for c in chunks if c["choices"][0]["logprobs"]]
    assert [token["token"] for part in parts for token in part["content"]] == with_logprobs


REFUSALS: list[tuple[RagweldError, int, str]] = [
    (ContextLengthExceeded("Too long.", param="messages"), 400, "context_length_exceeded"),
    (InvalidAdapter("q_proj.lora_a has shape (3, 3).", tensor="q_proj.lora_a"), 400, "invalid_adapter"),
    (Overloaded("Full.", retry_after_s=1.5), 429, "overloaded"),
    (Unavailable("Gone."), 503, "unavailable"),
    (EngineFailed("Broken."), 500, "engine_failed"),
]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("error", "status", "code"), REFUSALS)
def test_a_refusal_before_the_first_piece_is_a_status(
    gateway: Served, engine: ScriptedEngine, error: RagweldError, status: int, code: str, streaming: bool
) -> None:
    engine.script = words(error)
    reply = gateway.chat(stream=streaming)
    assert (reply.status, reply.error["code"]) == (status, code)
    if status == 429:
        assert reply.headers["retry-after"] == "2"


def test_a_failure_in_a_stream_is_an_error_event_and_no_done(gateway: Served, engine: ScriptedEngine) -> None:
    engine.script = words("Hel", EngineFailed("The engine failed."))
    *chunks, last = stream(gateway)
    assert chunks[-1]["choices"][0]["delta"] == {"content": "Hel"}
    assert last["error"]["code"] == "engine_failed"
    with pytest.raises(openai.APIError, match="The engine failed"):
        list(gateway.client().chat.completions.create(model="ragweld", messages=HI, stream=True))


def test_a_failure_of_one_of_n_ends_all(gateway: Served, engine: ScriptedEngine) -> None:
    def script(generation: Generation) -> list[Any]:
        return ["a", EngineFailed("The engine failed.")] if generation.sampling.seed == 1 else ["a"] * 5

    engine.script, engine.pause_s = script, 0.01
    assert stream(gateway, n=2, seed=0)[-1]["error"]["code"] == "engine_failed"
    wait_until(lambda: engine.closed == 2, "end of both rows")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("length", [1, 300_000])
def test_a_client_that_goes_away_stops_its_rows(
    gateway: Served, engine: ScriptedEngine, streaming: bool, n: int, length: int
) -> None:
    engine.endless, engine.pause_s = True, 0.005
    duration = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "ragweld", "error_type": "client_gone"}
    name, labels = (
        "gen_ai_server_request_duration_seconds_count",
        {**duration, "gen_ai_response_model": "ragweld:ragweld-nano"},
    )
    before = gateway.metric(name, **labels)
    messages = [{"role": "user", "content": "x" * length}]
    body = json.dumps({"messages": messages, "stream": streaming, "n": n}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(head.encode() + body)
        wait_until(lambda: len(engine.asked) == n, "start of the rows")
        if streaming:
            assert b"200 OK" in connection.recv(4096)
    wait_until(lambda: engine.closed == n, "end of the rows")
    wait_until(lambda: gateway.metric(name, **labels) == before + 1, "count of the client")


def test_first_token_and_tokens_are_measured(gateway: Served, engine: ScriptedEngine) -> None:
    labels = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "ragweld",
        "gen_ai_response_model": "ragweld:ragweld-nano",
    }
    names = {
        "gen_ai_server_time_to_first_token_seconds_sum": labels,
        "gen_ai_server_time_per_output_token_seconds_sum": labels,
        "gen_ai_server_request_duration_seconds_sum": {**labels, "error_type": ""},
    }
    before = [gateway.metric(name, **its_labels) for name, its_labels in names.items()]
    tokens = gateway.metric("gen_ai_client_token_usage_sum", **labels, gen_ai_token_type="output")
    engine.pause_s = 0.3
    least_s = 0.29  # a timer of the loop may fire a millisecond early
    gateway.chat()
    after = [gateway.metric(name, **its_labels) for name, its_labels in names.items()]
    first, between, whole = (now - was for now, was in zip(after, before, strict=True))
    # However slow the machine is: the engine pauses after each of three pieces, so three times after the first.
    assert 0 < first <= whole - 3 * least_s
    assert least_s <= between <= (whole - first) / 2
    assert gateway.metric("gen_ai_client_token_usage_sum", **labels, gen_ai_token_type="output") == tokens + 3


def test_the_official_client_reads_plain_streaming_tools_and_usage(gateway: Served, engine: ScriptedEngine) -> None:
    client = gateway.client()
    plain = client.chat.completions.create(model="ragweld", messages=HI)
    assert plain.choices[0].message.content == "Hello world."
    engine.script = words("Let me see. ", CALL)
    with client.chat.completions.stream(model="ragweld", messages=HI, tools=TOOLS) as events:  # type: ignore[arg-type]
        for _ in events:
            pass
        final = events.get_final_completion()
    assert final.choices[0].message.content == "Let me see. "
    (call,) = final.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"x": "é"}


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [("nope", 404, "model_not_found"), ("ragweld@unheard", 404, "not_found"), ("ragweld@", 400, "invalid_request"),
     ("ragweld@../x", 400, "invalid_request"), ("local:x", 503, "no_provider")],
)  # fmt: skip
def test_a_model_that_nobody_has_is_said(
    gateway: Served, engine: ScriptedEngine, model: str, status: int, code: str
) -> None:
    reply = gateway.chat(model=model)
    assert (reply.status, reply.error["code"]) == (status, code)


def test_while_loading_it_is_503_with_the_reason(gateway: Served, engine: ScriptedEngine) -> None:
    engine.reason_not_ready = "the base is being loaded"
    reply = gateway.chat()
    assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (503, "engine_not_ready", "2")
    assert "the base is being loaded" in reply.error["message"]
    ready = gateway.call("GET", "/readyz")
    assert (ready.status, ready.error["code"]) == (503, "engine_not_ready")
    engine.reason_not_ready = None
    assert gateway.call("GET", "/readyz").status == 200


def test_a_strict_header_that_is_no_truth_value_is_400(gateway: Served, engine: ScriptedEngine) -> None:
    reply = gateway.chat({"x-ragweld-strict": "maybe"})
    assert (reply.status, reply.error["param"]) == (400, "x-ragweld-strict")
