"""Adapters by curl, and vLLM's two routes: only from configured folders, checked, named, answered at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import Served, served
from tests.tiny_base import write_adapter, write_base


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "home", ScriptedEngine()) as running:
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
