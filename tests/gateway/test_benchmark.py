"""Benchmarks: every model is asked every prompt, told apart, timed, priced, and kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catalog.benchmarks import Answered
from catalog.settings import Settings, Upstream
from gateway.benchmark import standing
from tests.gateway.misbehaving import GOOD_STREAM, STREAM_HEAD, USAGE, Misbehaving, misbehaving
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import Served, served

PRICED = "gpt-4.1-mini"


@pytest.fixture(scope="module")
def _upstream() -> Iterator[Misbehaving]:
    with misbehaving() as running:
        yield running


@pytest.fixture(scope="module")
def _two(_engine: ScriptedEngine, _upstream: Misbehaving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    priced = Upstream(name="OpenAI", kind="cloud_direct", base_url=_upstream.base_url, model=PRICED)
    with served(tmp_path_factory.mktemp("home"), _engine, Settings(upstreams=[priced])) as running:
        yield running


@pytest.fixture
def two(_two: Served, _upstream: Misbehaving, engine: ScriptedEngine) -> Served:
    """A gateway with its engine and an upstream whose price is known."""
    done = GOOD_STREAM.removesuffix(b"data: [DONE]\n\n") + USAGE + b"data: [DONE]\n\n"
    _upstream.steps = [STREAM_HEAD + done, "close"]
    return _two


def test_models_answer_side_by_side_with_times_and_cost(two: Served) -> None:
    body = {"models": ["ragweld", f"openai/{PRICED}"], "prompts": ["one", "two"], "max_tokens": 8}
    made = two.call("POST", "/api/benchmark/run", body).json()
    assert [(one["prompt"], one["model"]) for one in made["answers"]] == [
        (0, "ragweld"), (0, f"openai/{PRICED}"), (1, "ragweld"), (1, f"openai/{PRICED}"),
    ]  # fmt: skip
    own, other = made["answers"][:2]
    assert (own["answer"], own["provider"], own["cost_usd"]) == ("Hello world.", "ragweld", 0)
    assert own["answered_by"] == "ragweld:ragweld-nano@base"
    assert (other["answer"], other["provider"], other["answered_by"]) == ("Grüße from 🙂", "OpenAI", "there-really")
    assert other["cost_usd"] == pytest.approx((11 * 0.0004 + 3 * 0.0016) / 1000)
    assert 0 < own["first_token_s"] <= own["latency_s"]
    assert [one["answered"] for one in made["standings"]] == [2, 2]


def test_a_benchmark_is_kept_and_read_again(two: Served) -> None:
    made = two.call("POST", "/api/benchmark/run", {"models": ["ragweld"], "prompts": ["one"]}).json()
    assert two.call("GET", f"/api/benchmark/runs/{made['id']}").json() == made
    newest = two.call("GET", "/api/benchmark/runs?limit=1").json()["runs"]
    assert [run["id"] for run in newest] == [made["id"]] and "answers" not in newest[0]
    assert two.call("GET", "/api/benchmark/runs/none").status == 404


def test_a_model_that_cannot_answer_is_a_failure_and_nobody_stands_in(two: Served, engine: ScriptedEngine) -> None:
    engine.reason_not_ready = "the base is being loaded"
    body = {"models": ["ragweld", "nobody"], "prompts": ["one"]}
    made = two.call("POST", "/api/benchmark/run", body).json()
    assert [(one["answer"], one["provider"]) for one in made["answers"]] == [(None, None), (None, None)]
    assert "the base is being loaded" in made["answers"][0]["error"]
    assert [one["failed"] for one in made["standings"]] == [1, 1]


def test_an_answer_that_takes_too_long_is_a_failure(two: Served, engine: ScriptedEngine) -> None:
    engine.endless, engine.pause_s = True, 0.01
    body = {"models": ["ragweld"], "prompts": ["one"], "answer_timeout_s": 0.1}
    (answer,) = two.call("POST", "/api/benchmark/run", body).json()["answers"]
    assert "0.1 s" in answer["error"]
    assert engine.closed == 1


@pytest.mark.parametrize(
    "body", [{}, {"models": [], "prompts": ["x"]}, {"models": ["m"], "prompts": ["x"], "max_tokens": 0}]
)
def test_a_bad_body_is_422(two: Served, body: object) -> None:
    assert two.call("POST", "/api/benchmark/run", body).status == 422


def test_a_cost_that_is_partly_unknown_is_unknown() -> None:
    answers = [Answered(model="m", prompt=place, cost_usd=usd) for place, usd in enumerate((1.0, None))]
    assert standing("m", answers).cost_usd is None
    assert standing("m", answers[:1]).cost_usd == 1.0
    assert standing("m", []).cost_usd is None
