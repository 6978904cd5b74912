"""Embeddings by upstreams, under the rules of chat; ragweld's own models make none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.settings import RoutingSettings, Settings
from tests.gateway.misbehaving import KEY, Misbehaving, answer, configured
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import Reply, Served, served

MODEL = "text-embedding-3-small"


def vectors(*indexes: int, usage: bool = True) -> bytes:
    rows = [{"object": "embedding", "index": index, "embedding": [0.25, -1.5, index]} for index in indexes]
    body: dict[str, Any] = {"object": "list", "data": rows, "model": "really-this"}
    return json.dumps(body | ({"usage": {"prompt_tokens": 500, "total_tokens": 500}} if usage else {})).encode()


GOOD = [answer(vectors(0))]


@pytest.fixture
def pair(first: Misbehaving, second: Misbehaving, engine: ScriptedEngine, tmp_path: Path) -> Iterator[Served]:
    """A gateway with its engine and two upstreams that have the model, the second beside another."""
    first.steps = second.steps = GOOD
    upstreams = [
        configured("first", first, kind="cloud_direct", model=MODEL, priority=1, api_key_env="THE_KEY"),
        configured("second", second, models=[MODEL], priority=2),
    ]
    settings = Settings(upstreams=upstreams, routing=RoutingSettings(retries=1))
    with served(tmp_path, engine, settings, {"THE_KEY": KEY}) as running:
        yield running


def ask(gateway: Served, headers: dict[str, str] | None = None, **fields: Any) -> Reply:
    return gateway.call("POST", "/v1/embeddings", {"model": MODEL, "input": "a", **fields}, headers)


def test_the_official_client_is_given_vectors(pair: Served, first: Misbehaving) -> None:
    made = pair.client().embeddings.create(model=MODEL, input="a", encoding_format="float")
    assert made.data[0].embedding == [0.25, -1.5, 0]
    assert made.usage.prompt_tokens == 500
    (asked,) = first.asked
    assert asked.path == "/v1/embeddings"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.json() == {"model": MODEL, "input": "a", "encoding_format": "float"}


def test_it_comes_byte_for_byte_and_says_who_made_it(pair: Served) -> None:
    reply = ask(pair)
    assert (reply.status, reply.body, reply.headers["x-ragweld-provider"]) == (200, vectors(0), "first")
    assert "x-ragweld-fallback" not in reply.headers


@pytest.mark.parametrize("given", ["a", ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_inputs_of_every_form_are_handed_on(pair: Served, first: Misbehaving, given: Any) -> None:
    first.steps = [answer(vectors(*range(2 if given in (["a", "b"], [[1], [2, 3]]) else 1)))]
    assert ask(pair, input=given, dimensions=3, user="me").status == 200
    assert first.asked[0].json() == {"model": MODEL, "input": given, "dimensions": 3, "user": "me"}


@pytest.mark.parametrize(
    "fault",
    [
        ["close"],
        ["hang"],
        [answer(b"", "500 Internal Server Error")],
        [answer(b"", "429 Too Many Requests")],
        [answer(b"no JSON")],
        [answer(b'{"error": {"message": "oops"}}')],
        [answer(b'{"data": []}')],
        [answer(b'{"data": [{"index": 0, "embedding": []}]}')],
        [answer(vectors(0, 0))],
        [answer(vectors(0, 1))],
        [answer(vectors(0))[:-9], "close"],
    ],
)
def test_a_fault_is_met_by_another_with_the_same_model(
    pair: Served, first: Misbehaving, second: Misbehaving, fault: list[Any]
) -> None:
    first.steps = fault
    reply = ask(pair)
    assert (reply.status, reply.body) == (200, vectors(0))
    assert (reply.headers["x-ragweld-provider"], reply.headers["x-ragweld-fallback"]) == ("second", "upstream_failed")
    assert second.asked[0].json()["model"] == MODEL


def test_strict_asks_nobody_else(pair: Served, first: Misbehaving, second: Misbehaving) -> None:
    first.steps = ["hang"]
    assert ask(pair, {"x-ragweld-strict": "true"}).status == 504
    assert second.asked == []


def test_one_that_fails_five_times_is_left_in_peace(pair: Served, first: Misbehaving) -> None:
    first.steps = [answer(b"", "500 Internal Server Error")]
    reasons = [ask(pair).headers["x-ragweld-fallback"] for _ in range(6)]
    assert reasons == ["upstream_failed"] * 5 + ["upstream_resting"]
    assert len(first.asked) == 5


def test_what_was_gone_in_a_moment_nobody_sees(pair: Served, first: Misbehaving) -> None:
    first.in_turn = [[answer(b"", "503 Service Unavailable")]]
    assert ask(pair, {"x-ragweld-strict": "true"}).status == 200
    assert pair.metric("ragweld_upstream_retries_total", outcome="asked") == 1


def test_it_costs_what_the_catalog_says_and_is_counted_as_embeddings(pair: Served, first: Misbehaving) -> None:
    ask(pair)
    assert pair.metric("ragweld_cost_usd_total", provider="first", model=MODEL) == pytest.approx(500 * 2e-8)
    labels = {
        "gen_ai_operation_name": "embeddings", "gen_ai_provider_name": "first", "gen_ai_response_model": MODEL,
    }  # fmt: skip
    assert pair.metric("gen_ai_server_request_duration_seconds_count", **labels, error_type="") == 1
    assert pair.metric("gen_ai_client_token_usage_sum", **labels, gen_ai_token_type="input") == 500
    first.steps = [answer(vectors(0, usage=False))]
    ask(pair)
    assert pair.metric("ragweld_cost_unknown_total", provider="first", model=MODEL) == 1


@pytest.mark.parametrize("model", ["ragweld", "ragweld:ragweld-nano", "ragweld-nano", "ragweld@named"])
@pytest.mark.parametrize("is_ready", [True, False])
def test_a_model_of_ragweld_makes_none_and_nobody_stands_in(
    pair: Served, engine: ScriptedEngine, first: Misbehaving, model: str, is_ready: bool
) -> None:
    engine.reason_not_ready = None if is_ready else "the base is being loaded"
    reply = ask(pair, model=model)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (404, "unsupported_endpoint", "model")
    assert first.asked == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"model": ""}, "model"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"base_url": "http://elsewhere"}, "base_url"),
    ],
)
def test_a_fault_is_refused_by_name(pair: Served, first: Misbehaving, fields: dict[str, Any], param: str) -> None:
    reply = ask(pair, **fields)
    assert (reply.status, reply.error["param"]) == (400, param), reply.body
    assert first.asked == []


def test_a_model_that_nobody_has_is_404(pair: Served) -> None:
    assert ask(pair, model="unheard").error["code"] == "model_not_found"


def test_what_the_upstream_says_of_the_request_is_handed_on(pair: Served, first: Misbehaving) -> None:
    first.steps = [answer(b'{"error": {"message": "too long"}}', "400 Bad Request")]
    assert (ask(pair).status, "too long" in ask(pair).error["message"]) == (400, True)
