"""Extraction of knowledge over every kind of route: read where it can be, empty and counted where it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from catalog.settings import RoutingSettings, Settings, Upstream
from gateway.engine.requests import Finish
from gateway.knowledge import SCHEMA, Extraction, mended, read
from tests.gateway.misbehaving import DONE, FINISH, STREAM_HEAD, Misbehaving, answer, chunk, misbehaving
from tests.gateway.scripted import ScriptedEngine, words
from tests.gateway.serving import Reply, Served, served

FOUND = {
    "concepts": ["Mara Quill", "lighthouse"],
    "relations": [{"source": "Mara Quill", "target": "lighthouse", "relation_type": "keeps"}],
}
EMPTY: dict[str, list[str]] = {"concepts": [], "relations": []}
STREAMED = [STREAM_HEAD + chunk({"content": json.dumps(FOUND)}) + FINISH + DONE, "close"]
RESPONSE = {
    "model": "really-this",
    "status": "completed",
    "error": None,
    "output": [
        {"type": "reasoning", "summary": []},
        {"type": "message", "content": [{"type": "output_text", "text": json.dumps(FOUND), "annotations": []}]},
    ],
    "usage": {"input_tokens": 11, "output_tokens": 7},
}


@pytest.fixture(scope="module")
def _upstream() -> Iterator[Misbehaving]:
    with misbehaving() as running:
        yield running


@pytest.fixture
def upstream(_upstream: Misbehaving) -> Misbehaving:
    _upstream.reset()
    return _upstream


@pytest.fixture(scope="module")
def house(
    _engine: ScriptedEngine, _upstream: Misbehaving, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A gateway with its engine and one upstream of every kind."""
    upstreams = [
        Upstream(name=kind, kind=kind, base_url=_upstream.base_url, model="m", priority=place)  # type: ignore[arg-type]
        for place, kind in enumerate(("cloud_direct", "local", "openrouter"))
    ]
    patient = RoutingSettings(breaker_failures=1000)
    settings = Settings(upstreams=upstreams, routing=patient)
    with served(tmp_path_factory.mktemp("home"), _engine, settings) as running:
        yield running


def extract(house: Served, model: str = "", **fields: object) -> Reply:
    body = {"text": "Mara Quill keeps the lighthouse.", "model": model, **fields}
    return house.call("POST", "/api/kg/extract", body)


def test_ragweld_is_held_to_the_schema(house: Served, engine: ScriptedEngine) -> None:
    engine.script = words(*json.dumps(FOUND))
    reply = extract(house)
    assert (reply.status, reply.json(), reply.headers["x-ragweld-provider"]) == (200, FOUND, "ragweld")
    (asked,) = engine.asked
    assert asked.grammar is not None and "relation_type" in asked.grammar.source
    assert asked.sampling.temperature == 0


@pytest.mark.parametrize("kind", ["local", "openrouter"])
def test_a_server_is_asked_by_response_format(
    house: Served, engine: ScriptedEngine, upstream: Misbehaving, kind: str
) -> None:
    upstream.steps = STREAMED
    reply = extract(house, f"{kind}:m")
    assert (reply.json(), reply.headers["x-ragweld-provider"]) == (FOUND, kind)
    asked = upstream.asked[-1]
    assert asked.path == "/v1/chat/completions"
    assert asked.json()["response_format"]["json_schema"]["schema"] == SCHEMA


def test_openai_is_asked_by_its_responses_api(house: Served, engine: ScriptedEngine, upstream: Misbehaving) -> None:
    upstream.steps = [answer(json.dumps(RESPONSE).encode())]
    reply = extract(house, "openai/m")
    assert (reply.json(), reply.headers["x-ragweld-model"]) == (FOUND, "really-this")
    asked = upstream.asked[-1]
    assert asked.path == "/v1/responses"
    assert (asked.json()["model"], asked.json()["store"]) == ("m", False)
    assert asked.json()["text"]["format"] == {
        "type": "json_schema", "name": "knowledge_graph", "schema": SCHEMA, "strict": True,
    }  # fmt: skip


def test_openais_tokens_are_counted(house: Served, engine: ScriptedEngine, upstream: Misbehaving) -> None:
    upstream.steps = [answer(json.dumps(RESPONSE).encode())]
    labels = {
        "gen_ai_operation_name": "chat", "gen_ai_provider_name": "cloud_direct", "gen_ai_response_model": "m",
    }  # fmt: skip

    def counted() -> list[float]:
        name = "gen_ai_client_token_usage_sum"
        return [house.metric(name, **labels, gen_ai_token_type=kind) for kind in ("input", "output")]

    before = counted()
    extract(house, "openai/m")
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [11, 7]


def test_what_cannot_be_read_is_empty_and_counted(house: Served, engine: ScriptedEngine) -> None:
    before = house.metric("ragweld_extractions_total", provider="ragweld", outcome="empty")
    for said in ("I think that", '{"concepts": ["cut', '{"concepts": "none", "relations": []}', "{}"):
        engine.script = words(said)
        reply = extract(house)
        assert (reply.status, reply.json()) == (200, EMPTY)
    assert house.metric("ragweld_extractions_total", provider="ragweld", outcome="empty") == before + 4


@pytest.mark.parametrize(
    "broken",
    [
        [answer(b"{}")],
        [answer(b"not json")],
        [answer(b'{"error":{"message":"x"}}')],
        [answer(b"{}", "500 Oops")],
        ["reset"],
    ],
)
def test_a_broken_responses_api_is_an_error_that_names_the_upstream(
    house: Served, engine: ScriptedEngine, upstream: Misbehaving, broken: list[bytes]
) -> None:
    upstream.steps = broken
    reply = extract(house, "openai/m")
    assert reply.status in (502, 504)
    assert "cloud_direct" in reply.error["message"]


def test_without_the_engine_the_next_one_reads_and_the_headers_say_so(
    house: Served, engine: ScriptedEngine, upstream: Misbehaving
) -> None:
    engine.reason_not_ready = "the base is being loaded"
    upstream.steps = [answer(json.dumps(RESPONSE).encode())]
    reply = extract(house)
    assert (reply.json(), reply.headers["x-ragweld-provider"]) == (FOUND, "cloud_direct")
    assert reply.headers["x-ragweld-fallback"] == "engine_not_ready"


def test_a_model_nobody_has_is_an_error_not_an_empty_extraction(house: Served, engine: ScriptedEngine) -> None:
    assert extract(house, "nobody").status == 404
    assert extract(house, text="").status == 422


@pytest.mark.parametrize("text", [json.dumps(FOUND), f"```json\n{json.dumps(FOUND)}\n```", f"  {json.dumps(FOUND)}\n"])
def test_an_extraction_is_read_also_from_a_fence(text: str) -> None:
    found = read(text)
    assert found is not None and found.concepts == FOUND["concepts"]


def test_an_answer_that_was_cut_anywhere_keeps_what_was_whole() -> None:
    whole = json.dumps(FOUND)
    begun = len('{"concepts": [')
    counts = []
    for end in range(begun, len(whole)):
        found = mended(whole[:end])
        assert isinstance(found, Extraction)
        assert found.concepts == FOUND["concepts"][: len(found.concepts)]
        assert len(found.relations) <= 1
        counts.append(len(found.concepts) + len(found.relations))
    assert counts == sorted(counts) and counts[-1] == 3
    assert mended("") is None and mended("I think") is None


def test_an_answer_cut_by_max_tokens_is_read(house: Served, engine: ScriptedEngine) -> None:
    engine.script = words('{"concepts": ["Mara Quill", "light', Finish("length", 7, 1, 0))
    assert extract(house).json() == {"concepts": ["Mara Quill"], "relations": []}


def test_strict_leaves_it_to_nobody_else(house: Served, engine: ScriptedEngine) -> None:
    engine.reason_not_ready = "the base is being loaded"
    body = {"text": "Mara Quill keeps the lighthouse."}
    reply = house.call("POST", "/api/kg/extract", body, {"x-ragweld-strict": "true"})
    assert (reply.status, reply.error["code"]) == (503, "engine_not_ready")
    assert house.call("POST", "/api/kg/extract", body, {"x-ragweld-strict": "maybe"}).status == 400
