"""What the page believes of plain answers is what a running gateway answers."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from catalog.run_life import Ended
from catalog.settings import Settings, Upstream
from gateway.studio import shapes
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import Reply, Served, served
from tests.gateway.test_run_stream import running

LISTS = [
    ("/api/agent/train/runs", shapes.RunList),
    ("/api/adapters", shapes.AdapterList),
    ("/api/chat/models", shapes.ChatModels),
    ("/v1/models", shapes.OpenAIModels),
    ("/api/chat/health", shapes.Health),
    ("/api/models", shapes.CatalogRows),
    ("/api/engine", shapes.EngineView),
    ("/api/config", shapes.ConfigShown),
    ("/api/agent/train/run/{run}/metrics", shapes.EventList),
]


def read(reply: Reply, shape: type[BaseModel]) -> BaseModel:
    """The answer as the page reads it."""
    assert reply.status == 200, reply.body
    return shape.model_validate_json(reply.body, strict=True)


@pytest.mark.parametrize(("path", "shape"), LISTS, ids=[path for path, _ in LISTS])
def test_what_is_looked_at(gateway: Served, engine: ScriptedEngine, path: str, shape: type[BaseModel]) -> None:
    claimed = running(gateway.context.runs)
    gateway.context.runs.append(claimed.run.run_id, "telemetry", step=1, loss=1.0)
    read(gateway.call("GET", path.format(run=claimed.run.run_id)), shape)
    claimed.claim.release()


def test_what_is_asked_of_a_run(gateway: Served, engine: ScriptedEngine) -> None:
    claimed = running(gateway.context.runs)
    path = f"/api/agent/train/run/{claimed.run.run_id}"
    for wish in ("pause", "resume", "cancel"):
        read(gateway.call("POST", f"{path}/{wish}"), shapes.Asked)
    gateway.context.runs.apply(claimed.run.run_id, Ended("cancelled"))
    claimed.claim.release()
    both = {"baseline_run_id": claimed.run.run_id, "current_run_id": claimed.run.run_id}
    read(gateway.call("POST", f"{path}/diff", both), shapes.Diff)


def test_a_changed_setting(gateway: Served, engine: ScriptedEngine) -> None:
    change = gateway.call("PATCH", "/api/config", {"training.ragweld_agent_lora_rank": 8})
    answer = read(change, shapes.ConfigChanged)
    assert isinstance(answer, shapes.ConfigChanged)
    assert answer.changed["training.ragweld_agent_lora_rank"].to == 8


def test_a_refusal(gateway: Served, engine: ScriptedEngine) -> None:
    reply = gateway.call("PATCH", "/api/config", {"training.ragweld_agent_lora_rank": 0})
    assert shapes.ErrorBody.model_validate(json.loads(reply.body)).error.message


def test_an_upstream_in_health_and_models(engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> None:
    upstream = Upstream(name="near", base_url="http://127.0.0.1:9/v1", model="m")
    with served(tmp_path_factory.mktemp("home"), engine, Settings(upstreams=[upstream])) as running_:
        for path, shape in (("/api/chat/health", shapes.Health), ("/api/chat/models", shapes.ChatModels)):
            read(running_.call("GET", path), shape)
