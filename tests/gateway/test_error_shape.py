"""One error shape on every route, whatever goes wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from gateway.app import create_app
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import Reply, Served

FILLED = {"model_id": "a/b@c", "component": "gen", "name": "mlx"}
OTHERWISE = "default__20260101_000000"
"""What stands for every other parameter of a path."""
READ_NO_BODY = ("/cancel", "/promote", "/pause", "/resume", "/clear_cache")
READ_A_FORM = ("/v1/files",)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def routes(served: Served) -> Iterator[tuple[str, set[str]]]:
    """Every path of the application with its methods, parameters filled in."""
    for route in create_app(served.context).routes:
        path = re.sub(r"{(\w+):\w+}", lambda match: FILLED.get(match[1], OTHERWISE), route.path)
        yield path, set(route.methods)  # type: ignore[union-attr]


def assert_error(reply: Reply) -> None:
    assert reply.status >= 400
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    assert set(reply.json()) == {"error"}
    error = reply.error
    assert set(error) - {"defects"} == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"]
    assert isinstance(error["type"], str) and isinstance(error["code"], str)
    assert error["param"] is None or isinstance(error["param"], str)


def test_a_foreign_host_is_refused_on_every_route(gateway: Served, engine: ScriptedEngine) -> None:
    for path, methods in routes(gateway):
        for method in methods & set(METHODS):
            reply = gateway.call(method, path, headers={"host": "evil.example"})
            assert reply.status == 403
            assert_error(reply)


def test_a_wrong_method_is_405_on_every_route(gateway: Served, engine: ScriptedEngine) -> None:
    for path, methods in routes(gateway):
        for method in set(METHODS) - methods - {"OPTIONS"}:
            reply = gateway.call(method, path)
            assert reply.status == 405, (method, path)
            assert_error(reply)


def test_bad_json_is_400_on_every_route_that_reads_a_body(gateway: Served, engine: ScriptedEngine) -> None:
    for path, methods in routes(gateway):
        if "POST" not in methods or path.endswith((*READ_NO_BODY, *READ_A_FORM)):
            continue
        for body in (b"{", b'{"a": NaN}', b'{"a": 1, "a": 2}', b'"\\ud800"', b"[" * 100_000):
            reply = gateway.call("POST", path, body)
            assert reply.status == 400, (path, body[:20], reply.body)
            assert_error(reply)
            assert str(reply.error["param"]).startswith("$")


@pytest.mark.parametrize("path", ["/", "/nope", "/v1", "/v1/models/none", "/api/models/providers/none", "/v1/../etc"])
def test_what_is_not_there_is_404(gateway: Served, engine: ScriptedEngine, path: str) -> None:
    reply = gateway.call("GET", path)
    assert reply.status == 404
    assert_error(reply)


@pytest.mark.parametrize(
    "path", ["/api/agent/train/run/none", "/api/agent/train/run/none/metrics", "/api/agent/train/run/none/stream"]
)
def test_an_unknown_run_is_404(gateway: Served, engine: ScriptedEngine, path: str) -> None:
    reply = gateway.call("GET", path)
    assert (reply.status, reply.error["param"]) == (404, "run_id")
    assert_error(reply)


@pytest.mark.parametrize("query", ["limit=x", "limit=0", "limit=99999999999", "scope=../x"])
def test_a_bad_query_is_400(gateway: Served, engine: ScriptedEngine, query: str) -> None:
    path = "/api/agent/train/profile" if query.startswith("scope") else "/api/agent/train/runs"
    reply = gateway.call("GET", f"{path}?{query}")
    assert reply.status == 400, reply.body
    assert_error(reply)


def test_what_nobody_foresaw_is_500_and_tells_nothing(gateway: Served, engine: ScriptedEngine) -> None:
    def broken(generation: object) -> list[str]:
        raise ZeroDivisionError("a secret")

    engine.script = broken
    reply = gateway.chat()
    assert reply.status == 500
    assert_error(reply)
    assert b"secret" not in reply.body


def test_a_given_request_id_is_handed_back_and_a_bad_one_replaced(gateway: Served, engine: ScriptedEngine) -> None:
    assert gateway.call("GET", "/livez", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert gateway.call("GET", "/livez", headers={"x-request-id": "a b"}).headers["x-request-id"].startswith("req_")
