"""What upstreams do wrong, with a second one to fall back to and without: the exact outcome of each."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import EngineFailed
from catalog.settings import RoutingSettings, Settings, Upstream
from gateway.upstream import retry_after_s
from tests.gateway.misbehaving import (
    DONE,
    FINISH,
    GOOD_ANSWER,
    GOOD_STREAM,
    ROLE,
    STREAM_HEAD,
    USAGE,
    WORDS,
    Misbehaving,
    Step,
    answer,
    misbehaving,
)
from tests.gateway.scripted import ScriptedEngine, words
from tests.gateway.serving import Reply, Served, events_of, served, wait_until

SHORT_S = 0.8
KEY = "sk-a-secret"
PATIENT = RoutingSettings(breaker_failures=1_000_000, retries=0)
"""Asks once and never leaves anybody in peace, so that each fault is seen for itself."""
HI: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def _first() -> Iterator[Misbehaving]:
    with misbehaving() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def _second() -> Iterator[Misbehaving]:
    with misbehaving() as upstream:
        yield upstream


@pytest.fixture
def first(_first: Misbehaving) -> Misbehaving:
    _first.reset()
    return _first


@pytest.fixture
def second(_second: Misbehaving) -> Misbehaving:
    _second.reset()
    _second.steps = [STREAM_HEAD + GOOD_STREAM, "close"]
    return _second


def configured(name: str, upstream: Misbehaving, **more: Any) -> Upstream:
    return Upstream.model_validate(
        {
            "name": name,
            "base_url": upstream.base_url,
            "model": f"model-of-{name}",
            "connect_timeout_s": 1,
            "first_byte_timeout_s": SHORT_S,
            "between_bytes_timeout_s": SHORT_S,
            "total_timeout_s": 5,
            **more,
        }
    )


@pytest.fixture(scope="module")
def alone(_first: Misbehaving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """No engine, one upstream."""
    settings = Settings(routing=PATIENT, upstreams=[configured("first", _first, api_key_env="THE_KEY")])
    with served(tmp_path_factory.mktemp("home"), None, settings, {"THE_KEY": KEY}) as running:
        yield running


@pytest.fixture(scope="module")
def both(_first: Misbehaving, _second: Misbehaving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """No engine, two upstreams."""
    upstreams = [configured("first", _first, priority=1), configured("second", _second, priority=2)]
    with served(tmp_path_factory.mktemp("home"), None, Settings(routing=PATIENT, upstreams=upstreams)) as running:
        yield running


def text_of(events: Sequence[Any]) -> str:
    chunks = [event for event in events if isinstance(event, dict) and event.get("choices")]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


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


DRIPPED: list[Step] = [piece for at in range(len(WORDS[0])) for piece in (WORDS[0][at : at + 1], 0.05)]
"""One event, slower than the longest silence."""

FAULTS: dict[str, tuple[Sequence[Step], int, str]] = {
    "closes at once": (["close"], 502, "upstream_cut"),
    "resets": (["reset"], 502, "upstream_cut"),
    "silent": (["hang"], 504, "upstream_timeout"),
    "slow headers": ([b"HTTP/1.1 200 OK\r\n", "hang"], 504, "upstream_timeout"),
    "silent after headers": ([STREAM_HEAD, "hang"], 504, "upstream_timeout"),
    "silent after the role": ([STREAM_HEAD + ROLE, "hang"], 504, "upstream_timeout"),
    "drip": ([STREAM_HEAD + ROLE, *DRIPPED], 504, "upstream_timeout"),
    "garbage": ([b"\x00\x01 what is this\r\n\r\n", "close"], 502, "upstream_cut"),
    "500": ([answer(b"oops", "500 Internal Server Error")], 502, "upstream_status_500"),
    "503": ([answer(b"oops", "503 Service Unavailable")], 502, "upstream_status_503"),
    "wrong key": ([answer(b'{"error":{"message":"sk-a-secret"}}', "401 T")], 502, "upstream_status_401"),
    "redirect": ([answer(b"", "307 T", more="location: http://127.0.0.1:9/evil\r\n")], 502, "upstream_status_307"),
    "429": ([answer(b"", "429 Too Many Requests", more="retry-after: 7\r\n")], 429, "overloaded"),
    "unknown model": ([answer(b'{"error":{"message":"no such model"}}', "404 Not Found")], 404, "upstream_refused"),
    "an error first": ([STREAM_HEAD + b'data: {"error":{"message":"x"}}\n\n', "close"], 502, "upstream_error_body"),
    "html as a stream": ([STREAM_HEAD + b"data: <html>\n\n", "close"], 502, "upstream_error_body"),
    "cut before content": ([STREAM_HEAD + ROLE, "close"], 502, "upstream_cut"),
    "json for a stream": ([answer(GOOD_ANSWER)], 502, "upstream_wrong_kind"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_before_content_is_an_error_where_nobody_else_is(alone: Served, first: Misbehaving, fault: str) -> None:
    first.steps, status, code = FAULTS[fault]
    reply = alone.chat(stream=True)
    assert (reply.status, reply.error["code"]) == (status, code)
    assert KEY not in reply.body.decode()
    if status == 429:
        assert reply.headers["retry-after"] == "7"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_before_content_is_nobodys_trouble_where_another_is(
    both: Served, first: Misbehaving, second: Misbehaving, fault: str
) -> None:
    first.steps = FAULTS[fault][0]
    reply = both.chat(stream=True)
    assert (reply.status, reply.body) == (200, GOOD_STREAM)
    assert reply.headers["x-ragweld-provider"] == "second"
    assert reply.headers["x-ragweld-fallback"] == "upstream_failed"
    assert (len(first.asked), len(second.asked)) == (1, 1)
    assert second.asked[0].json()["model"] == "model-of-second"


def test_a_closed_port_is_502_and_counted(tmp_path_factory: pytest.TempPathFactory) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        upstream = configured("first", Misbehaving(port=unheard.getsockname()[1]))
        with served(tmp_path_factory.mktemp("home"), None, Settings(routing=PATIENT, upstreams=[upstream])) as gateway:
            reply = gateway.chat()
            assert (reply.status, reply.error["code"]) == (502, "upstream_unreachable")
            assert gateway.metric("ragweld_upstream_errors_total", provider="first", kind="unreachable") == 1


def test_a_fault_of_the_request_is_not_tried_elsewhere(both: Served, first: Misbehaving, second: Misbehaving) -> None:
    first.steps = [answer(b'{"error":{"message":"too long","code":"context_length_exceeded"}}', "400 Bad Request")]
    reply = both.chat()
    assert (reply.status, reply.error["message"]) == (400, "first: too long")
    assert second.asked == []


def assert_told(reply: Reply, code: str) -> None:
    """The stream has what came, then an error event, and no [DONE]."""
    *came, last = events_of(reply.body)
    assert reply.status == 200
    assert last["error"]["code"] == code
    assert "[DONE]" not in came
    assert text_of(came) == "ü" or "Grüße from 🙂".startswith(text_of(came))


@pytest.mark.parametrize("fallback", [False, True])
@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ([STREAM_HEAD + ROLE + WORDS[0], "close"], "upstream_cut"),
        ([STREAM_HEAD + ROLE + WORDS[0], 0.02, "reset"], "upstream_cut"),
        ([STREAM_HEAD + ROLE + WORDS[0] + WORDS[1][:20], "close"], "upstream_cut"),
        ([STREAM_HEAD + ROLE + WORDS[0], "hang"], "upstream_timeout"),
        ([STREAM_HEAD + ROLE + WORDS[0], 0.02, *DRIPPED], "upstream_timeout"),
        ([STREAM_HEAD + ROLE + WORDS[0], 0.02, b"data: <html>\n\n" + DONE], "upstream_garbage"),
        ([STREAM_HEAD + ROLE + WORDS[0], 0.02, DONE[:8], "close"], "upstream_cut"),
        (
            [STREAM_HEAD + ROLE + WORDS[0], 0.02, b'data: {"error":{"message":"boom"}}\n\n' + DONE],
            "upstream_error_event",
        ),
    ],
)
def test_a_fault_after_content_is_told_in_the_stream_and_never_retried(
    alone: Served,
    both: Served,
    first: Misbehaving,
    second: Misbehaving,
    steps: Sequence[Step],
    code: str,
    fallback: bool,
) -> None:
    first.steps = steps
    assert_told((both if fallback else alone).chat(stream=True), code)
    assert second.asked == []


BRIEF_WORD = b'data: {"choices":[{"delta":{"content":"\xc3\xbc"}}]}\n\n'
BRIEF = BRIEF_WORD + b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n' + DONE


@pytest.mark.parametrize(
    ("stream", "first_word", "step"), [(BRIEF, len(BRIEF_WORD), 1), (GOOD_STREAM, len(ROLE) + len(WORDS[0]), 11)]
)
def test_a_stream_cut_at_every_byte_ends_cleanly(
    first: Misbehaving, tmp_path: Path, stream: bytes, first_word: int, step: int
) -> None:
    patient = configured("first", first, first_byte_timeout_s=30, between_bytes_timeout_s=30)
    with served(tmp_path, None, Settings(routing=PATIENT, upstreams=[patient])) as gateway:
        for cut in range(0, len(stream), step):
            first.steps = [STREAM_HEAD + stream[:cut], "close"]
            reply = gateway.chat(stream=True)
            if cut < first_word:
                assert (reply.status, reply.error["code"]) == (502, "upstream_cut")
            elif cut < len(stream) - len(DONE):
                assert_told(reply, "upstream_cut")
            else:
                assert reply.body == stream  # whole but for [DONE], which is added


def test_a_stream_cut_before_its_first_word_is_answered_elsewhere(
    both: Served, first: Misbehaving, second: Misbehaving
) -> None:
    first_word = len(ROLE) + len(WORDS[0])
    for cut in range(0, first_word, 9):
        first.steps = [STREAM_HEAD + GOOD_STREAM[:cut], "close"]
        assert both.chat(stream=True).body == GOOD_STREAM
    first.steps = [STREAM_HEAD + GOOD_STREAM[:first_word], "close"]
    assert_told(both.chat(stream=True), "upstream_cut")


def test_one_byte_a_moment_is_fine_while_it_moves(alone: Served, first: Misbehaving) -> None:
    dripped = [piece for at in range(0, 60) for piece in (GOOD_STREAM[at : at + 1], 0.002)]
    first.steps = [STREAM_HEAD, *dripped, GOOD_STREAM[60:], "close"]
    assert alone.chat(stream=True).body == GOOD_STREAM


def test_a_client_that_goes_away_is_felt_upstream_at_once(alone: Served, first: Misbehaving) -> None:
    first.steps = [STREAM_HEAD + ROLE + WORDS[0], "hang"]
    body = json.dumps({"messages": HI, "stream": True}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", alone.port)) as connection:
        connection.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        assert b"200 OK" in connection.recv(4096)
    wait_until(lambda: first.gone == 1, "the upstream's word", SHORT_S)


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


PLAIN_FAULTS: dict[str, tuple[Sequence[Step], str]] = {
    "an error body": ([answer(b'{"error":{"message":"x"}}')], "upstream_error_body"),
    "no choices": ([answer(b"{}")], "upstream_error_body"),
    "html": ([answer(b"<html>")], "upstream_garbage"),
    "a stream": ([STREAM_HEAD + GOOD_STREAM, "close"], "upstream_wrong_kind"),
    "half": ([answer(GOOD_ANSWER)[:-20], "close"], "upstream_cut"),
}


@pytest.mark.parametrize("fault", PLAIN_FAULTS)
def test_a_200_that_is_no_answer_is_a_fault(alone: Served, first: Misbehaving, fault: str) -> None:
    first.steps, code = PLAIN_FAULTS[fault]
    reply = alone.chat()
    assert (reply.status, reply.error["code"]) == (502, code)


@pytest.mark.parametrize("fault", PLAIN_FAULTS)
def test_a_200_that_is_no_answer_is_answered_elsewhere(
    both: Served, first: Misbehaving, second: Misbehaving, fault: str
) -> None:
    first.steps, second.steps = PLAIN_FAULTS[fault][0], [answer(GOOD_ANSWER)]
    assert both.chat().body == GOOD_ANSWER


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), ("0.5", 0.5), ("99999", 60), (None, 1), ("soon", 1), ("-1", 1)]
)
def test_retry_after_is_read_within_bounds(header: str | None, seconds: float) -> None:
    assert retry_after_s(header) == seconds
