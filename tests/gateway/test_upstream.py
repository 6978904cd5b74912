"""What is asked of upstreams and handed on of their answers; what they do wrong is in `test_fault_table.py`."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import EngineFailed
from catalog.settings import Settings
from gateway.upstream import retry_after_s
from tests.gateway.misbehaving import (
    DONE,
    FINISH,
    GOOD_ANSWER,
    GOOD_STREAM,
    HI,
    KEY,
    PATIENT,
    ROLE,
    STREAM_HEAD,
    UNHURRIED,
    USAGE,
    WORDS,
    Misbehaving,
    answer,
    configured,
)
from tests.gateway.scripted import ScriptedEngine, words
from tests.gateway.serving import Served, events_of, served, text_of, wait_until


def test_a_plain_answer_is_handed_on_byte_for_byte(alone: Served, first: Misbehaving) -> None:
    first.steps = [answer(GOOD_ANSWER)]
    reply = alone.chat(temperature=0.5, top_k=3)
    assert (reply.status, reply.body) == (200, GOOD_ANSWER)
    assert reply.headers["x-ragweld-provider"] == "first"
    assert reply.headers["x-ragweld-fallback"] == "engine_disabled"
    assert "x-ragweld-adapter" not in reply.headers
    (asked,) = first.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.json() == {"model": "model-of-first", "messages": HI, "temperature": 0.5, "top_k": 3}


def test_a_stream_is_handed_on_byte_for_byte(alone: Served, first: Misbehaving) -> None:
    first.steps = [STREAM_HEAD, *(GOOD_STREAM[at : at + 7] for at in range(0, len(GOOD_STREAM), 7)), "close"]
    reply = alone.chat(stream=True)
    assert (reply.status, reply.body) == (200, GOOD_STREAM)
    assert reply.headers["content-type"] == "text/event-stream"
    assert text_of(events_of(reply.body)) == "Grüße from 🙂"


def test_usage_of_an_upstream_is_counted(alone: Served, first: Misbehaving) -> None:
    labels = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "first",
        "gen_ai_response_model": "model-of-first",
    }
    name = "gen_ai_client_token_usage_sum"
    before = alone.metric(name, **labels, gen_ai_token_type="input")
    first.steps = [STREAM_HEAD + ROLE + WORDS[0] + FINISH, USAGE + DONE, "close"]
    alone.chat(stream=True, stream_options={"include_usage": True})
    assert alone.metric(name, **labels, gen_ai_token_type="input") == before + 11


def test_a_fault_of_the_request_is_not_tried_elsewhere(both: Served, first: Misbehaving, second: Misbehaving) -> None:
    first.steps = [answer(b'{"error":{"message":"too long","code":"context_length_exceeded"}}', "400 Bad Request")]
    reply = both.chat()
    assert (reply.status, reply.error["message"]) == (400, "first: too long")
    assert second.asked == []


def test_one_byte_a_moment_is_fine_while_it_moves(alone: Served, first: Misbehaving) -> None:
    dripped = [piece for at in range(0, 60) for piece in (GOOD_STREAM[at : at + 1], 0.002)]
    first.steps = [STREAM_HEAD, *dripped, GOOD_STREAM[60:], "close"]
    assert alone.chat(stream=True).body == GOOD_STREAM


def test_a_client_that_goes_away_is_felt_upstream_at_once(first: Misbehaving, tmp_path: Path) -> None:
    first.steps = [STREAM_HEAD + ROLE + WORDS[0], "hang"]
    body = json.dumps({"messages": HI, "stream": True}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    upstream = configured("first", first, **UNHURRIED, total_timeout_s=60)
    with served(tmp_path, None, Settings(upstreams=[upstream])) as gateway:
        with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
            connection.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
            assert b"200 OK" in connection.recv(4096)
        wait_until(lambda: first.gone == 1, "the upstream's word", UNHURRIED["between_bytes_timeout_s"] - 5)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/benchmark/run", {"models": ["local:m"], "prompts": ["one", "two"]}),
        ("/api/kg/extract", {"model": "local:m", "text": "hi"}),
    ],
)
def test_who_asks_from_inside_and_goes_away_stops_it_too(
    alone: Served, first: Misbehaving, path: str, body: dict[str, Any]
) -> None:
    first.steps = [STREAM_HEAD + ROLE + WORDS[0], "hang"]
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", alone.port)) as connection:
        connection.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(content) + content)
        wait_until(lambda: len(first.asked) == 1, "a question")
    wait_until(lambda: alone.metric("ragweld_http_requests_total", route=path, status="400") == 1, "the end")
    wait_until(lambda: first.gone == 1, "the upstream's word")
    assert len(first.asked) == 1


def test_openai_is_spared_what_only_local_servers_know(
    first: Misbehaving, tmp_path_factory: pytest.TempPathFactory
) -> None:
    upstream = configured("direct", first, kind="cloud_direct")
    with served(tmp_path_factory.mktemp("home"), None, Settings(upstreams=[upstream])) as gateway:
        first.steps = [answer(GOOD_ANSWER)]
        gateway.chat(model="openai/gpt-5", top_k=3, chat_template_kwargs={"enable_thinking": False})
    assert first.asked[0].json() == {"model": "gpt-5", "messages": HI}


def test_what_ragweld_cannot_do_an_upstream_may(alone: Served, first: Misbehaving) -> None:
    first.steps = [answer(GOOD_ANSWER)]
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}]
    assert alone.chat(model="local:vision", messages=image, response_format={"type": "json_object"}).status == 200
    assert first.asked[0].json()["model"] == "vision"


@pytest.mark.parametrize("name", ["base_url", "api_base", "api_key", "adapters", "adapter_path"])
def test_no_field_of_a_body_steers_traffic(both: Served, first: Misbehaving, second: Misbehaving, name: str) -> None:
    assert both.chat(**{name: "http://127.0.0.1:9/"}).status == 400
    assert first.asked == second.asked == []


@pytest.mark.parametrize("model", ["http://evil.example/v1", "../../secret", "file:///etc/passwd"])
def test_a_model_that_looks_like_a_path_goes_nowhere(
    both: Served, first: Misbehaving, second: Misbehaving, model: str
) -> None:
    assert both.chat(model=model).status == 404
    assert first.asked == second.asked == []


@pytest.fixture(scope="module")
def backed(_engine: ScriptedEngine, _first: Misbehaving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An engine first, an upstream behind it."""
    settings = Settings(routing=PATIENT, upstreams=[configured("first", _first)])
    with served(tmp_path_factory.mktemp("home"), _engine, settings) as running:
        yield running


def test_the_engine_answers_while_it_can(backed: Served, engine: ScriptedEngine, first: Misbehaving) -> None:
    assert backed.chat().headers["x-ragweld-provider"] == "ragweld"
    assert first.asked == []


@pytest.mark.parametrize("streaming", [False, True])
def test_a_failure_before_the_first_piece_is_answered_upstream(
    backed: Served, engine: ScriptedEngine, first: Misbehaving, streaming: bool
) -> None:
    engine.script = words(EngineFailed("The engine failed."))
    first.steps = [STREAM_HEAD + GOOD_STREAM, "close"] if streaming else [answer(GOOD_ANSWER)]
    labels = {"provider": "first", "reason": "engine_failed"}
    before = backed.metric("ragweld_fallbacks_total", **labels)
    reply = backed.chat(stream=streaming)
    assert (reply.status, reply.headers["x-ragweld-fallback"]) == (200, "engine_failed")
    assert backed.metric("ragweld_fallbacks_total", **labels) == before + 1


def test_a_failure_after_it_is_not(backed: Served, engine: ScriptedEngine, first: Misbehaving) -> None:
    engine.script = words("Hel", EngineFailed("The engine failed."))
    assert events_of(backed.chat(stream=True).body)[-1]["error"]["code"] == "engine_failed"
    assert first.asked == []


def test_not_ready_is_answered_upstream_and_strict_refuses(
    backed: Served, engine: ScriptedEngine, first: Misbehaving
) -> None:
    engine.reason_not_ready = "the base is being loaded"
    first.steps = [answer(GOOD_ANSWER)]
    assert backed.chat().headers["x-ragweld-fallback"] == "engine_not_ready"
    assert backed.call("GET", "/readyz").json()["answers"] == "first"
    refused = backed.chat({"x-ragweld-strict": "true"})
    assert (refused.status, refused.error["code"]) == (503, "engine_not_ready")
    assert len(first.asked) == 1


def test_what_the_request_got_wrong_is_not_asked_elsewhere(
    backed: Served, engine: ScriptedEngine, first: Misbehaving
) -> None:
    assert backed.chat(web_search_options={}).status == 400
    assert backed.chat(model="ragweld@unheard").status == 404
    assert first.asked == []


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), ("0.5", 0.5), ("99999", 60), (None, 1), ("soon", 1), ("-1", 1)]
)
def test_retry_after_is_read_within_bounds(header: str | None, seconds: float) -> None:
    assert retry_after_s(header) == seconds
