"""Every rule of who answers, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.errors import EngineFailed, NotFound, RagweldError, Unavailable, UpstreamFailed
from catalog.ids import ModelRef
from catalog.settings import Upstream
from gateway import routing
from gateway.routing import EngineRoute, Facts, FallbackReason, Route, UpstreamRoute

BASE = "mlx-community/Qwen3-1.7B-4bit"


def upstream(name: str, kind: str = "local", model: str = "m", **fields: object) -> Upstream:
    return Upstream.model_validate(
        {"name": name, "kind": kind, "base_url": "http://127.0.0.1:9/v1", "model": model, **fields}
    )


OLLAMA = upstream("ollama", model="qwen3:8b")
LLAMA = upstream("llama", model="llama3")
ROUTER = upstream("router", "openrouter", "anthropic/claude")
OPENAI = upstream("openai", "cloud_direct", "gpt-5")
ALL = (OLLAMA, LLAMA, ROUTER, OPENAI)


def facts(*upstreams: Upstream, obstacle: FallbackReason | None = None, strict: bool = False) -> Facts:
    return Facts({"ragweld-nano", BASE}, {"pirate"}, upstreams, obstacle, "the base is being loaded", strict)


def shown(route: Route) -> str:
    match route:
        case EngineRoute(ModelRef(base, adapter)):
            return f"engine {base or '-'} {adapter or '-'}"
        case UpstreamRoute(chosen, model):
            return f"{chosen.name} {model}"


SUBSTITUTES = ["ollama qwen3:8b", "llama llama3", "router anthropic/claude", "openai gpt-5"]

ENGINE_READY = {
    "ragweld": ["engine - -", *SUBSTITUTES],
    "": ["engine - -", *SUBSTITUTES],
    "RagWeld": ["engine - -", *SUBSTITUTES],
    "ragweld@base": ["engine - base", *SUBSTITUTES],
    "ragweld:ragweld-nano": ["engine ragweld-nano -", *SUBSTITUTES],
    f"ragweld:{BASE}@v3": [f"engine {BASE} v3", *SUBSTITUTES],
    BASE: [f"engine {BASE} -", *SUBSTITUTES],
    "local:llama3": ["llama llama3", "ollama llama3"],
    "LOCAL:qwen3:8b": ["ollama qwen3:8b", "llama qwen3:8b"],
    "local:unheard:of": ["ollama unheard:of", "llama unheard:of"],
    "openrouter:x/y": ["router x/y"],
    "openai/gpt-5": ["openai gpt-5"],
    "anthropic/claude": ["router anthropic/claude"],
    "x/y": ["router x/y"],
    "qwen3:8b": ["ollama qwen3:8b"],
    "gpt-5": ["openai gpt-5"],
}


@pytest.mark.parametrize("model", ENGINE_READY)
def test_candidates_in_order(model: str) -> None:
    choice = routing.choose(model, facts(*ALL))
    assert [shown(route) for route in choice.routes] == ENGINE_READY[model]
    assert choice.fallback is None


@pytest.mark.parametrize("model", ENGINE_READY)
def test_strict_leaves_one_candidate(model: str) -> None:
    choice = routing.choose(model, facts(*ALL, strict=True))
    assert [shown(route) for route in choice.routes] == ENGINE_READY[model][:1]


@pytest.mark.parametrize("reason", ["engine_disabled", "engine_not_ready"])
def test_without_the_engine_upstreams_answer_and_say_why(reason: FallbackReason) -> None:
    choice = routing.choose("ragweld", facts(*ALL, obstacle=reason))
    assert [shown(route) for route in choice.routes] == SUBSTITUTES
    assert choice.fallback == reason


REFUSED: dict[str, tuple[Facts, type[RagweldError], str]] = {
    "ragweld": (facts(obstacle="engine_not_ready"), Unavailable, "engine_not_ready"),
    "ragweld@base": (facts(*ALL, obstacle="engine_disabled", strict=True), Unavailable, "engine_disabled"),
    "local:x": (facts(ROUTER), Unavailable, "no_provider"),
    "openrouter:x": (facts(OLLAMA), Unavailable, "no_provider"),
    "openai/gpt-5": (facts(OLLAMA), Unavailable, "no_provider"),
    "x/y": (facts(OLLAMA), NotFound, "model_not_found"),
    "gpt-4": (facts(*ALL), NotFound, "model_not_found"),
    "../../etc/passwd": (facts(OLLAMA), NotFound, "model_not_found"),
}


@pytest.mark.parametrize("model", REFUSED)
def test_nobody_is_said_clearly(model: str) -> None:
    given, kind, code = REFUSED[model]
    with pytest.raises(kind) as caught:
        routing.choose(model, given)
    assert caught.value.code == code


def test_openai_goes_to_openrouter_only_without_a_direct_key() -> None:
    assert [shown(r) for r in routing.choose("openai/gpt-5", facts(ROUTER)).routes] == ["router openai/gpt-5"]
    assert [shown(r) for r in routing.choose("openai/gpt-5", facts(ROUTER, OPENAI)).routes] == ["openai gpt-5"]


SERVED_BY = {"gpt-4.1": {"openai"}, "claude": {"anthropic"}, "embed": {"openai", "anthropic"}, "near:8b": {"local"}}


@pytest.mark.parametrize(
    ("model", "names"),
    [("gpt-4.1", ["openai"]), ("claude", ["Anthropic"]), ("embed", ["openai", "Anthropic"]), ("near:8b", [])],
)
def test_the_catalog_says_which_provider_serves_an_unqualified_id(model: str, names: list[str]) -> None:
    named = upstream("Anthropic", "cloud_direct", "claude-other")
    given = replace(facts(*ALL, named), providers=SERVED_BY)
    if names:
        assert [shown(route) for route in routing.choose(model, given).routes] == [f"{name} {model}" for name in names]
    else:
        with pytest.raises(NotFound):
            routing.choose(model, given)


def test_who_has_a_model_comes_before_what_the_catalog_says() -> None:
    having = upstream("mine", model="gpt-4.1")
    assert [
        shown(r) for r in routing.choose("gpt-4.1", replace(facts(OPENAI, having), providers=SERVED_BY)).routes
    ] == ["mine gpt-4.1"]


def test_usable_are_enabled_have_their_key_and_stand_in_order() -> None:
    late = upstream("a", priority=200)
    off = upstream("off", enabled=False)
    keyed = upstream("keyed", api_key_env="KEY")
    assert routing.usable([late, off, keyed, OLLAMA], {}) == [OLLAMA, late]
    assert routing.usable([late, off, keyed, OLLAMA], {"KEY": "k"}) == [keyed, OLLAMA, late]
    assert routing.usable([keyed], {"KEY": ""}) == []


def test_the_reason_of_a_fallback_is_from_a_closed_set() -> None:
    engine, other = EngineRoute(ModelRef(None, None)), UpstreamRoute(OLLAMA, "m")
    assert routing.reason_for(EngineFailed("x"), engine) == "engine_failed"
    assert routing.reason_for(Unavailable("x", code="model_not_loaded"), engine) == "base_missing"
    assert routing.reason_for(Unavailable("x"), engine) == "engine_not_ready"
    assert routing.reason_for(UpstreamFailed("x"), other) == "upstream_failed"
