"""Lists of models and health: views of the catalog and of what can answer now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog import models
from catalog.settings import Settings, Upstream
from gateway.api.health import LATELY_S, faults
from gateway.home_state import LOW_BYTES
from tests.gateway.misbehaving import Misbehaving, misbehaving
from tests.gateway.scripted import BASE, ScriptedEngine
from tests.gateway.serving import Served, served, wait_until


@pytest.fixture(scope="module")
def upstream() -> Iterator[Misbehaving]:
    with misbehaving() as running:
        yield running


@pytest.fixture(scope="module")
def among(_engine: ScriptedEngine, upstream: Misbehaving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway with upstreams: one there, one without its key, one off, one nobody listens at."""

    def one(name: str, **more: object) -> Upstream:
        return Upstream.model_validate({"name": name, "base_url": upstream.base_url, "model": f"m-{name}", **more})

    upstreams = [
        one("there"),
        one("keyless", kind="openrouter", api_key_env="UNSET"),
        one("off", enabled=False),
        one("away", kind="cloud_direct", base_url="http://127.0.0.1:1/v1"),
    ]
    with served(tmp_path_factory.mktemp("home"), _engine, Settings(upstreams=upstreams)) as running:
        yield running


def ids(gateway: Served) -> list[str]:
    return [entry["id"] for entry in gateway.call("GET", "/v1/models").json()["data"]]


def test_what_can_answer_is_listed(among: Served, engine: ScriptedEngine) -> None:
    assert ids(among) == [
        "ragweld", "ragweld:ragweld-nano", "ragweld:ragweld-nano@base", "openai/m-away", "local:m-there",
    ]  # fmt: skip
    engine.reason_not_ready = "the base is being loaded"
    assert ids(among) == ["openai/m-away", "local:m-there"]


def test_each_listed_id_can_be_looked_up_by_the_official_client(among: Served, engine: ScriptedEngine) -> None:
    client = among.client()
    listed = list(client.models.list())
    assert [client.models.retrieve(model.id).id for model in listed] == ids(among)


def test_chat_models_have_the_known_fields(among: Served, engine: ScriptedEngine) -> None:
    rows = among.call("GET", "/api/chat/models").json()["models"]
    assert set(rows[0]) == {"id", "provider", "source", "provider_type", "base_url", "supports_vision"}
    assert (rows[0]["provider"], rows[0]["source"], rows[0]["supports_vision"]) == ("Ragweld", "ragweld", False)
    assert [row["source"] for row in rows] == ["ragweld", "cloud_direct", "local"]


def looked_at(gateway: Served, count: int) -> dict[str, Any]:
    """Rows of health by provider, after so many upstreams were looked at."""
    health = gateway.context.providers.snapshot
    wait_until(lambda: sum(one.health is not None for one in health().values()) == count, "looks")
    return {row["provider"]: row for row in gateway.call("GET", "/api/chat/health").json()["providers"]}


def test_health_has_a_row_for_everybody_and_says_what_to_do(among: Served, engine: ScriptedEngine) -> None:
    rows = looked_at(among, 2)
    assert {name: row["reachable"] for name, row in rows.items()} == {
        "Ragweld": True, "there": True, "keyless": False, "off": False, "away": False,
    }  # fmt: skip
    assert "UNSET" in rows["keyless"]["detail"]
    engine.reason_not_ready = "the base is being loaded"
    own = among.call("GET", "/api/chat/health").json()["providers"][0]
    assert (own["reachable"], own["detail"]) == (False, "the base is being loaded")


def test_ready_says_what_else_does_not_work(among: Served, engine: ScriptedEngine, tmp_path: Path) -> None:
    ready = among.call("GET", "/readyz").json()
    assert ready["status"] == "ready" and "log lines" not in ready.get("degraded", "")
    among.context.measures.log_line_lost()
    ready = among.call("GET", "/readyz").json()
    assert ready["status"] == "ready" and "log lines were lost lately" in ready["degraded"]
    home, gone = among.context.home, tmp_path / "gone"
    home.rename(gone)
    assert "the home folder cannot be reached" in among.call("GET", "/readyz").json()["degraded"]
    gone.rename(home)
    assert "reached" not in among.call("GET", "/readyz").json()["degraded"]


@pytest.mark.parametrize(
    ("obstacle", "lost_s_ago", "free", "said"),
    [
        (None, None, LOW_BYTES, []),
        (None, LATELY_S, LOW_BYTES, []),
        ("chats are not kept", 1.0, LOW_BYTES, ["chats are not kept", "log lines were lost lately"]),
        (None, None, 5_000_000, ["the home folder's disk has 5 MB left"]),
        (None, None, None, ["the home folder cannot be reached"]),
    ],
)
def test_faults_that_leave_answers_are_named(
    obstacle: str | None, lost_s_ago: float | None, free: int | None, said: list[str]
) -> None:
    assert faults(obstacle, lost_s_ago, free) == said


def test_catalog_rows_say_whether_they_can_answer(among: Served, engine: ScriptedEngine) -> None:
    body = among.call("GET", "/api/models").json()
    assert body["currency"] == "USD" and body["last_updated"]
    rows = {row["model"]: row for row in body["models"]}
    assert len(rows) == len(models.rows(Settings().training))
    assert rows[BASE]["answers_now"] is True
    other = rows["mlx-community/Qwen3-4B-4bit"]
    assert (other["answers_now"], other["why_not"]) == (False, "its weights are not on this machine")


@pytest.mark.parametrize("component", ["GEN", "gen", "Gen"])
def test_rows_by_type_in_any_case(among: Served, engine: ScriptedEngine, component: str) -> None:
    rows = among.call("GET", f"/api/models/by-type/{component}").json()["models"]
    assert rows and all("GEN" in row["components"] for row in rows)


def test_an_unknown_type_is_400_and_an_unknown_provider_404(among: Served, engine: ScriptedEngine) -> None:
    assert among.call("GET", "/api/models/by-type/IMG").status == 400
    assert among.call("GET", "/api/models/providers/none").status == 404


def test_providers_and_their_rows(among: Served, engine: ScriptedEngine) -> None:
    providers = among.call("GET", "/api/models/providers").json()["providers"]
    assert "ragweld" in providers
    for provider in providers:
        assert among.call("GET", f"/api/models/providers/{provider.upper()}").json()["models"]


def test_what_cannot_chat_is_no_chat_model_and_nothing_reranks(
    engine: ScriptedEngine, upstream: Misbehaving, tmp_path: Path
) -> None:
    listed = ["nomic-embed-text", "Qwen/Qwen3-Reranker-0.6B", "unheard"]
    near = Upstream(name="near", base_url=upstream.base_url, model="qwen3:8b", models=listed)
    openai = Upstream(name="mine", kind="cloud_direct", base_url=upstream.base_url, model="gpt-5-mini")
    with served(tmp_path, engine, Settings(upstreams=[near, openai])) as running:
        chats = running.call("GET", "/api/chat/models").json()["models"]
        rows = {row["model"]: row for row in running.call("GET", "/api/models").json()["models"]}
    assert [row["id"] for row in chats[1:]] == ["openai/gpt-5-mini", "local:qwen3:8b", "local:unheard"]
    answering = ("nomic-embed-text", "qwen3:8b", "gpt-4.1", "text-embedding-3-small")
    assert all(rows[model]["answers_now"] for model in answering)
    for model in ("bge-m3", "meta-llama/llama-3.3-70b-instruct", "voyage-4"):
        assert rows[model]["why_not"] == "no upstream of the settings serves it"
    assert rows["Qwen/Qwen3-Reranker-0.6B"]["why_not"] == "ragweld has no route for reranking"
