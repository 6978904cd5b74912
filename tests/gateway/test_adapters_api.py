"""Adapters by curl, and vLLM's two routes: only from configured folders, checked, named, answered at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from catalog.settings import Settings, Upstream
from gateway.providers import Health
from tests.gateway.misbehaving import Misbehaving, Step, answer, misbehaving
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import Served, served
from tests.tiny_base import write_adapter, write_base

UPSTREAMS = [
    Upstream(name="vllm", base_url="http://127.0.0.1:9/v1", model="house-model", models=["Second-Model"]),
    Upstream(name="ollama", base_url="http://127.0.0.1:9/v1", model="near", models="discover"),
]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "home", ScriptedEngine(), Settings(upstreams=UPSTREAMS)) as running:
        running.context.providers.looked_at("ollama", Health(None, 0.0, ("found-there",)))
        yield running


@pytest.fixture
def made(gateway: Served, tmp_path: Path) -> str:
    """The path, relative to the home folder, of an adapter that may be added."""
    base = write_base(tmp_path / "base")
    write_adapter(gateway.context.home / "models" / "made", base, seed=5)
    return "models/made"


def add(gateway: Served, **body: object) -> tuple[int, dict[str, object]]:
    reply = gateway.call("POST", "/api/adapters", body)
    return reply.status, reply.json()


def test_an_adapter_is_added_listed_activated_and_removed(gateway: Served, made: str) -> None:
    status, added = add(gateway, path=made, name="pirate")
    assert (status, added["name"], added["active"]) == (200, "pirate", False)
    (row,) = gateway.call("GET", "/api/adapters").json()["adapters"]
    assert (row["id"], row["names"], row["active_on"], row["rank"]) == (added["id"], ["pirate"], [], 4)
    assert add(gateway, path=made, activate=True)[1]["active"] is True
    assert gateway.call("DELETE", "/api/adapters/pirate").status == 409
    gateway.call("POST", "/api/adapters/rollback", {})
    assert gateway.call("DELETE", "/api/adapters/pirate").status == 200, "whoever took it back may throw it away"
    refused = gateway.call("POST", "/api/adapters/rollback", {})
    assert (refused.status, refused.json()["error"]["code"]) == (409, "no_history")
    assert list((gateway.context.home / "data" / "adapters").glob(".incoming*")) == []


@pytest.mark.parametrize("path", ["../outside", "/etc", "models/../../outside", "models/link"])
def test_paths_outside_the_roots_are_refused(gateway: Served, tmp_path: Path, made: str, path: str) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (gateway.context.home / "models" / "link").symlink_to(outside)
    status, body = add(gateway, path=path)
    assert status == 400
    assert body["error"]["param"] == "path"  # type: ignore[index]


def test_exactly_one_source_is_wanted(gateway: Served) -> None:
    for body in ({}, {"path": "models/x", "run_id": "r"}):
        assert add(gateway, **body)[0] in (400, 422)


def test_a_spoiled_adapter_is_refused_and_leaves_nothing(gateway: Served, made: str) -> None:
    (gateway.context.home / made / "adapter_config.json").write_text("{}")
    status, body = add(gateway, path=made)
    assert status == 400
    assert "adapter_config" in body["error"]["message"]  # type: ignore[index]
    assert gateway.call("GET", "/api/adapters").json() == {"adapters": [], "moves": {}}


def test_vllms_routes_load_once_and_unload(gateway: Served, made: str) -> None:
    body = {"lora_name": "sql", "lora_path": made}
    loaded = gateway.call("POST", "/v1/load_lora_adapter", body)
    assert (loaded.status, loaded.body.decode()) == (200, "Success: LoRA adapter 'sql' added successfully.")
    again = gateway.call("POST", "/v1/load_lora_adapter", body)
    assert (again.status, again.error["param"]) == (400, "lora_name")
    assert gateway.call("POST", "/v1/load_lora_adapter", body | {"load_inplace": True}).status == 200
    unloaded = gateway.call("POST", "/v1/unload_lora_adapter", {"lora_name": "sql"})
    assert (unloaded.status, unloaded.body.decode()) == (200, "Success: LoRA adapter 'sql' removed successfully.")
    assert gateway.call("POST", "/v1/unload_lora_adapter", {"lora_name": "sql"}).status == 404


OTHERS = ["gpt-5-mini", "voyage-4", "house-model", "second-model", "found-there"]


@pytest.mark.parametrize("name", ["ragweld", "base", "none", "ragweld-nano", "3", "0c566f4769fd", "a/b", *OTHERS])
def test_a_name_that_means_something_else_is_refused_and_nothing_is_kept(gateway: Served, made: str, name: str) -> None:
    status, body = add(gateway, path=made, name=name)
    assert (status, body["error"]["param"]) == (400, "name")  # type: ignore[index]
    assert gateway.call("GET", "/api/adapters").json()["adapters"] == []


@pytest.mark.parametrize("base", ["gpt-4o", "ragweld@base", "../up"])
def test_an_adapter_is_for_a_base_of_ragwelds(gateway: Served, made: str, base: str) -> None:
    status, body = add(gateway, path=made, base=base)
    assert (status, body["error"]["param"]) == (400, "base")  # type: ignore[index]
    loaded = {"lora_name": "sql", "lora_path": made, "base_model_name": base}
    assert gateway.call("POST", "/v1/load_lora_adapter", loaded).status == 400
    assert add(gateway, path=made, base="mlx-community/Qwen3-8B-4bit")[0] == 503
    assert add(gateway, path=made, base="ragweld")[0] == 200


@pytest.fixture
def hub(gateway: Served, made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository in Hugging Face's cache as it lays it out, with no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    root = tmp_path / "hub" / "models--me--sql-adapter"
    for folder in ("refs", "blobs", "snapshots/abc"):
        (root / folder).mkdir(parents=True)
    (root / "refs" / "main").write_text("abc")
    for number, path in enumerate((gateway.context.home / made).iterdir()):
        shutil.copyfile(path, root / "blobs" / str(number))
        (root / "snapshots" / "abc" / path.name).symlink_to(f"../../blobs/{number}")
    return "me/sql-adapter"


def test_an_adapter_comes_from_hugging_faces_cache_by_both_routes(gateway: Served, made: str, hub: str) -> None:
    status, added = add(gateway, repo=hub, name="sql")
    assert status == 200, added
    assert add(gateway, path=made)[1]["id"] == added["id"]
    loaded = gateway.call("POST", "/v1/load_lora_adapter", {"lora_name": "sql2", "lora_path": hub})
    assert loaded.status == 200, loaded.body


def test_a_repo_that_cannot_be_fetched_says_what_to_do(gateway: Served, hub: str) -> None:
    for route, body in (("/api/adapters", {"repo": "me/other"}), ("/v1/load_lora_adapter", LOAD_OTHER)):
        reply = gateway.call("POST", route, body)
        assert (reply.status, reply.error["code"]) == (503, "hub_unreachable")
        assert "`hf download me/other`" in reply.error["message"] and "by its path" in reply.error["message"]
    assert add(gateway, repo="no repository")[1]["error"]["param"] == "repo"  # type: ignore[index]


LOAD_OTHER = {"lora_name": "other", "lora_path": "me/other"}


@pytest.fixture
def hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Misbehaving]:
    """A server in its place, and an empty cache."""
    with misbehaving() as there:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{there.port}")
        yield there
        huggingface_hub.close_session()


@pytest.mark.parametrize(
    ("steps", "status", "code"),
    [
        ([answer(b"", "404 Not Found", more="x-error-code: RepoNotFound\r\n")], 404, "not_found"),
        ([answer(b"", "500 Internal Server Error")], 503, "hub_unreachable"),
        (["reset"], 503, "hub_unreachable"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", "close"], 503, "hub_unreachable"),
    ],
    ids=["no such repository", "broken", "reset", "cut"],
)
def test_a_repo_that_nobody_has_is_404_and_a_hub_that_fails_is_503(
    gateway: Served, hugging_face: Misbehaving, steps: list[Step], status: int, code: str
) -> None:
    hugging_face.steps = steps
    for route, body in (("/api/adapters", {"repo": "models/typo"}), ("/v1/load_lora_adapter", LOAD_TYPO)):
        reply = gateway.call("POST", route, body)
        assert (reply.status, reply.error["code"]) == (status, code), reply.body
        assert "models/typo" in reply.error["message"]
    assert hugging_face.asked


LOAD_TYPO = {"lora_name": "typo", "lora_path": "models/typo"}
