"""The engine by curl: what it holds, and changing that without cutting anybody off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.settings import Settings
from tests.gateway.scripted import BASE, ScriptedEngine
from tests.gateway.serving import Served, served


def test_what_the_engine_holds_is_shown(gateway: Served, engine: ScriptedEngine) -> None:
    shown = gateway.call("GET", "/api/engine").json()
    assert shown["bases"] == [{"base": BASE, "default": True, "loaded": True}]
    assert (shown["ready"], shown["device"], shown["counters"]["rows"]) == (True, "CPU", 0)


def test_a_base_leaves_memory_and_comes_back(gateway: Served, engine: ScriptedEngine) -> None:
    assert gateway.call("POST", "/api/engine/unload", {}).json() == {"ok": True, "base": BASE, "loaded": False}
    assert gateway.call("GET", "/api/engine").json()["bases"][0]["loaded"] is False
    assert gateway.call("POST", "/api/engine/load", {"base": BASE}).json()["loaded"] is True
    assert gateway.call("GET", "/api/engine").json()["bases"][0]["loaded"] is True


def test_a_base_that_answers_stays(gateway: Served, engine: ScriptedEngine) -> None:
    engine.busy = True
    reply = gateway.call("POST", "/api/engine/unload", {})
    assert (reply.status, reply.error["code"]) == (409, "base_busy")


def test_prefixes_are_forgotten_when_asked(gateway: Served, engine: ScriptedEngine) -> None:
    assert gateway.call("POST", "/api/engine/clear_cache").json() == {"ok": True}
    assert engine.forgotten == 1


def test_what_cannot_be_done_says_why(gateway: Served, engine: ScriptedEngine) -> None:
    assert gateway.call("POST", "/api/engine/load", {"base": "nobody/nothing"}).status == 404
    assert gateway.call("POST", "/api/engine/load", {"bass": BASE}).status == 422
    engine.reason_not_ready = "the base is being loaded"
    for act in ("load", "unload", "clear_cache"):
        reply = gateway.call("POST", f"/api/engine/{act}")
        assert reply.status == 503 and "the base is being loaded" in reply.error["message"]


@pytest.fixture
def without(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, None, Settings()) as running:
        yield running


def test_a_gateway_without_an_engine_says_so(without: Served) -> None:
    assert without.call("GET", "/api/engine").json()["enabled"] is False
    assert without.call("POST", "/api/engine/unload").status == 503


def test_every_act_is_in_the_administrators_log(gateway: Served, engine: ScriptedEngine) -> None:
    gateway.call("POST", "/api/engine/unload", {"base": BASE})
    gateway.call("POST", "/api/engine/clear_cache")
    gateway.call("GET", "/api/engine")
    last = gateway.call("GET", "/api/admin/log?limit=2").json()["entries"]
    assert [entry["what"] for entry in last] == ["POST /api/engine/unload", "POST /api/engine/clear_cache"]
    assert (last[0]["base"], last[0]["who"], last[0]["status"]) == (BASE, "loopback", 200)
