"""Settings by curl: read with their sources, changed whole or not at all, and counting when the answer says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.settings import ENV_VARS, SETTINGS_FILE, Settings, Upstream, load, store
from gateway.live import AT_ONCE, PER_SCOPE
from tests.gateway.misbehaving import GOOD_ANSWER, Misbehaving, answer, misbehaving
from tests.gateway.scripted import BASE, ScriptedEngine
from tests.gateway.serving import Reply, Served, served, wait_until

RANK = "training.ragweld_agent_lora_rank"
DATASET = [
    {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}]} for n in range(4)
]


@pytest.fixture
def house(_engine: ScriptedEngine, tmp_path: Path) -> Iterator[Served]:
    """A gateway of its own, for what outlives a test; its command line said which base."""
    _engine.reset()
    settings = Settings.model_validate({"training": {"ragweld_agent_base_model": BASE}})
    with served(tmp_path, _engine, settings, {"SET_KEY": "sk-very-secret"}) as running:
        yield running


def patch(house: Served, body: object, query: str = "") -> Reply:
    return house.call("PATCH", f"/api/config{query}", body)


def start(house: Served, **fields: object) -> dict[str, Any]:
    """The plan of a run that is queued now."""
    rows = house.context.home / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in DATASET))
    run_id = house.call("POST", "/api/agent/train/start", {"dataset_path": str(rows), **fields}).json()["run_id"]
    plan: dict[str, Any] = house.call("GET", f"/api/agent/train/run/{run_id}").json()["plan"]
    return plan


def test_every_value_is_shown_with_where_it_came_from(house: Served) -> None:
    store(house.context.home, {RANK: 4})
    wait_until(lambda: house.context.settings.training.ragweld_agent_lora_rank == 4, "rank from the file")
    shown = house.call("GET", "/api/config").json()
    assert set(shown["sources"]) == set(ENV_VARS)
    assert shown["sources"][RANK] == "file"
    assert shown["sources"]["training.ragweld_agent_base_model"] == "command line"
    assert shown["sources"]["engine.max_rows"] == "default"
    assert shown["settings"]["training"]["ragweld_agent_lora_rank"] == 4


def test_a_changed_rank_is_in_the_next_runs_plan_without_a_restart(house: Served) -> None:
    assert start(house)["lora_rank"] == 16
    told = patch(house, {"training": {"ragweld_agent_lora_rank": 8}}).json()
    assert told["changed"] == {RANK: {"from": 16, "to": 8}}
    assert (told["effective_now"], told["after_restart"]) == ([RANK], [])
    assert start(house)["lora_rank"] == 8
    assert patch(house, {RANK: None}).json()["changed"] == {RANK: {"from": 8, "to": 16}}
    assert start(house)["lora_rank"] == 16


def test_a_scope_has_values_of_its_own(house: Served) -> None:
    told = patch(house, {"training.ragweld_agent_lora_rank": 4}, "?scope=mine").json()
    assert told["effective_now"] == [RANK]
    assert house.call("GET", "/api/config?scope=mine").json()["sources"][RANK] == "scope mine"
    assert (start(house, scope="mine")["lora_rank"], start(house)["lora_rank"]) == (4, 16)
    assert house.call("GET", "/api/config/env?scope=mine").json()["env"]["RAGWELD_AGENT_LORA_RANK"] == "4"
    assert patch(house, {RANK: 5, "corpus_id": "mine"}).json()["changed"] == {RANK: {"from": 4, "to": 5}}


@pytest.mark.parametrize("name", ["scope", "corpus_id", "repo_id"])
def test_a_query_names_its_scope_in_any_of_three_ways(house: Served, name: str) -> None:
    patch(house, {RANK: 4, "training.ragweld_agent_base_model": "theirs"}, f"?{name}=mine")
    assert house.call("GET", f"/api/config?{name}=mine").json()["sources"][RANK] == "scope mine"
    assert house.call("GET", f"/api/config/env?{name}=mine").json()["env"]["RAGWELD_AGENT_LORA_RANK"] == "4"
    for path in ("/api/models", "/api/models/by-type/gen", "/api/models/providers/ragweld", "/api/chat/models"):
        listed = house.call("GET", f"{path}?{name}=mine").json()["models"]
        assert "ragweld:theirs" in [row.get("model", row.get("id")) for row in listed]


def test_what_needs_a_restart_says_so_and_is_not_pretended(house: Served) -> None:
    told = patch(house, {"engine": {"max_rows": 4}, "routing.strict": True}).json()
    assert (told["effective_now"], told["after_restart"]) == (["routing.strict"], ["engine.max_rows"])
    shown = house.call("GET", "/api/config").json()
    assert shown["settings"]["engine"]["max_rows"] == house.context.settings.engine.max_rows == 32
    assert shown["sources"]["engine.max_rows"] == "default"
    assert shown["awaiting_restart"] == {"engine.max_rows": 4}
    assert load(house.context.home, {}).settings.engine.max_rows == 4


def test_what_the_command_line_said_wins_and_the_answer_says_so(house: Served) -> None:
    told = patch(house, {"training.ragweld_agent_base_model": "other"}).json()
    assert told["overruled"] == {"training.ragweld_agent_base_model": "command line"}
    assert told["changed"] == {}


@pytest.mark.parametrize(
    ("body", "query", "status", "param"),
    [
        ({RANK: 1000}, "", 400, None),
        ({RANK: 8, "training.misspelt": 1}, "", 422, "training.misspelt"),
        ({"training": 5}, "", 422, "training"),
        ({"training": {"": 5}}, "", 422, "training"),
        ({"upstreams": [{"name": "x"}]}, "", 400, None),
        ({"upstreams": [{"name": "x", "model": "m", "base_url": "http://h", "api_key_env": "sk-oops"}]}, "", 400, None),
        ({"upstreams": [{"name": "x", "model": "m", "base_url": "http://me:pw@h"}]}, "", 400, None),
        ({"gateway.port": 1}, "?scope=mine", 422, "gateway.port"),
        ({RANK: 8}, "?scope=../x", 400, "scope"),
        ({RANK: 8, "scope": 5}, "", 422, "scope"),
        ({RANK: 8, "scope": "mine"}, "?scope=other", 400, "scope"),
        ({RANK: 8}, "?scope=mine&repo_id=other", 400, "scope"),
        ({RANK: 8}, "?scope=", 400, "scope"),
        ([], "", 422, None),
    ],
)
def test_a_fault_changes_nothing(house: Served, body: object, query: str, status: int, param: str | None) -> None:
    reply = patch(house, body, query)
    assert (reply.status, reply.error["param"]) == (status, param), reply.body
    stored = house.context.home / SETTINGS_FILE
    assert not stored.exists() or "8" not in stored.read_text()
    assert b"sk-oops" not in reply.body and b"me:pw" not in reply.body


@pytest.fixture(scope="module")
def upstream() -> Iterator[Misbehaving]:
    with misbehaving() as running:
        yield running


def test_an_upstream_added_by_curl_is_listed_and_asked_at_once(house: Served, upstream: Misbehaving) -> None:
    upstream.steps = [answer(GOOD_ANSWER)]
    one = {"name": "new", "base_url": upstream.base_url, "model": "m", "api_key_env": "SET_KEY"}
    changed = patch(house, {"upstreams": [one]}).json()
    assert changed["effective_now"] == ["upstreams"]
    assert "local:m" in [entry["id"] for entry in house.call("GET", "/v1/models").json()["data"]]
    assert house.chat(model="local:m").headers["x-ragweld-provider"] == "new"


def test_limits_of_the_border_count_at_once(house: Served) -> None:
    assert patch(house, {"gateway.allowed_hosts": ["127.0.0.1", "box.example"]}).status == 200
    assert house.chat({"host": "box.example"}).status == 200
    assert house.chat({"host": "localhost"}).status == 403
    patch(house, {"gateway.max_body_bytes": 1024})
    assert house.chat(metadata={"x": "y" * 2000}).status == 413


def test_secrets_are_set_or_not_set_and_never_shown(house: Served) -> None:
    upstreams = [
        Upstream(name=name, base_url="http://127.0.0.1:1", model="m", api_key_env=variable, enabled=False)
        for name, variable in (("a", "SET_KEY"), ("b", "UNSET_KEY"))
    ]
    patch(house, {"upstreams": [one.model_dump(mode="json") for one in upstreams]})
    shown = house.call("GET", "/api/config")
    assert shown.json()["secrets"] == {"SET_KEY": "set", "UNSET_KEY": "not set"}
    for path in ("/api/config", "/api/config/env", "/api/config/schema", "/api/admin/log", "/metrics"):
        assert b"sk-very-secret" not in house.call("GET", path).body


def test_a_change_is_in_the_administrators_log(house: Served) -> None:
    patch(house, {RANK: 8})
    (entry,) = house.call("GET", "/api/admin/log").json()["entries"]
    assert (entry["what"], entry["status"], entry["changed"]) == (
        "PATCH /api/config",
        200,
        {RANK: {"from": 16, "to": 8}},
    )


def test_the_schema_explains_every_setting(house: Served) -> None:
    schema = house.call("GET", "/api/config/schema").json()
    rank = schema["$defs"]["TrainingSettings"]["properties"]["ragweld_agent_lora_rank"]
    assert (rank["default"], rank["maximum"], rank["x-env"], rank["x-effective"]) == (
        16, 128, "RAGWELD_AGENT_LORA_RANK", "now",
    )  # fmt: skip
    unexplained = [
        (name, field)
        for name, section in schema["$defs"].items()
        for field, about in section["properties"].items()
        if not about.get("description")
    ]
    assert unexplained == []


def test_a_file_spoiled_by_hand_leaves_the_last_good_settings(house: Served) -> None:
    patch(house, {RANK: 8})
    (house.context.home / SETTINGS_FILE).write_text("{")
    assert patch(house, {RANK: 4}).status == 400
    assert house.context.settings.training.ragweld_agent_lora_rank == 8
    assert house.chat().status == 200


def test_the_lists_of_keys_name_settings() -> None:
    assert set(ENV_VARS) >= AT_ONCE | PER_SCOPE
