"""Keys: who passes, with which scope, how often; and what a refusal looks like."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from catalog import keys
from catalog.errors import RagweldError
from catalog.keys import Key, KeyStore, digest
from catalog.settings import GatewaySettings, Settings, given
from gateway.app import create_app
from gateway.errors import RateLimited
from gateway.guard import GUESSES_PER_MINUTE, OPEN, Guard, Visit, scope_for
from gateway.main import serve
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import Served, served, wait_until

SETTINGS = Settings(gateway=GatewaySettings(require_keys=True))


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@dataclass(frozen=True, slots=True)
class Guarded:
    """A gateway that asks for keys, and some."""

    served: Served
    chat: str
    admin: str
    limited: str


@pytest.fixture(scope="module")
def guarded(_engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    home: Path = tmp_path_factory.mktemp("home")
    store = KeyStore(home)
    chat, admin = store.add("laptop", ["chat"]), store.add("desk", ["admin"])
    limited = store.add("toy", ["chat"], requests_per_minute=3, tokens_per_minute=1000)
    with served(home, _engine, SETTINGS) as running:
        yield Guarded(running, chat, admin, limited)


def test_without_keys_asked_for_anything_passes(gateway: Served, engine: ScriptedEngine) -> None:
    assert gateway.chat().status == 200
    assert gateway.chat(bearer("none")).status == 200


def test_no_key_and_a_wrong_key_are_401_in_openais_shape(guarded: Guarded, engine: ScriptedEngine) -> None:
    for headers, code in (({}, "no_api_key"), ({"authorization": "Basic eDp5"}, "no_api_key"),
                          (bearer("rw-wrong"), "invalid_api_key")):  # fmt: skip
        reply = guarded.served.chat(headers)
        assert (reply.status, reply.error["code"], reply.error["type"]) == (401, code, "invalid_request_error")
        assert reply.headers["www-authenticate"] == "Bearer"
    assert engine.asked == []


def test_a_scope_opens_its_routes_and_no_other(guarded: Guarded, engine: ScriptedEngine) -> None:
    call = guarded.served.call
    assert guarded.served.chat(bearer(guarded.chat)).status == 200
    assert call("GET", "/v1/models", headers=bearer(guarded.chat)).status == 200
    for path in ("/metrics", "/api/keys", "/api/admin/log", "/api/agent/train/runs"):
        refused = call("GET", path, headers=bearer(guarded.chat))
        assert (refused.status, refused.error["code"]) == (403, "missing_scope")
        assert call("GET", path, headers=bearer(guarded.admin)).status == 200
    assert guarded.served.chat(bearer(guarded.admin)).status == 403


def test_a_chat_key_may_rate_but_not_read_what_others_asked(guarded: Guarded, engine: ScriptedEngine) -> None:
    call, key = guarded.served.call, bearer(guarded.chat)
    rated = call("POST", "/api/feedback", {"id": "chatcmpl-none", "rating": "good"}, headers=key)
    assert rated.status == 404
    for method, path in (
        ("GET", "/v1/chat/completions"),
        ("GET", "/v1/chat/completions/chatcmpl-1"),
        ("DELETE", "/v1/chat/completions/chatcmpl-1"),
        ("DELETE", "/v1/models/named"),
        ("GET", "/v1/files"),
        ("GET", "/v1/fine_tuning/jobs"),
    ):
        assert call(method, path, headers=key).status == 403, path


def test_every_route_but_the_probes_is_closed_without_a_key(guarded: Guarded, engine: ScriptedEngine) -> None:
    for route in create_app(guarded.served.context).routes:
        status = guarded.served.call("GET", route.path).status
        assert (status == 401) == (route.path not in {*OPEN, "/studio/{name:str}"}), route.path
    assert scope_for("GET", "/a/route/of/tomorrow") == "admin"


def test_the_official_client_passes_with_its_key(guarded: Guarded, engine: ScriptedEngine) -> None:
    client = guarded.served.client().with_options(api_key=guarded.chat)
    answer = client.chat.completions.create(model="ragweld", messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == "Hello world."


def test_a_key_that_is_used_up_is_429_with_the_headers(guarded: Guarded, engine: ScriptedEngine) -> None:
    replies = [guarded.served.chat(bearer(guarded.limited)) for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 200, 429]
    assert [reply.headers["x-ratelimit-remaining-requests"] for reply in replies] == ["2", "1", "0", "0"]
    assert replies[0].headers["x-ratelimit-limit-tokens"] == "1000"
    assert int(replies[1].headers["x-ratelimit-remaining-tokens"]) < 1000, "the first answer was counted"
    assert (replies[3].error["type"], replies[3].error["code"]) == ("requests", "rate_limit_exceeded")
    assert int(replies[3].headers["retry-after"]) >= 1
    assert guarded.served.chat(bearer(guarded.chat)).status == 200


def test_keys_made_and_removed_by_curl_count_at_once(guarded: Guarded, engine: ScriptedEngine) -> None:
    call, admin = guarded.served.call, bearer(guarded.admin)
    made = call("POST", "/api/keys", {"name": "guest", "scopes": ["chat"]}, admin).json()
    assert guarded.served.chat(bearer(made["key"])).status == 200
    listed = call("GET", "/api/keys", headers=admin)
    assert listed.json()["required"] is True and b"sha256" not in listed.body
    assert call("DELETE", "/api/keys/guest", headers=admin).status == 200
    assert guarded.served.chat(bearer(made["key"])).status == 401
    logged = call("GET", "/api/admin/log", headers=admin)
    assert [(entry["who"], entry["what"]) for entry in logged.json()["entries"][-2:]] == [
        ("desk", "POST /api/keys"), ("desk", "DELETE /api/keys/guest"),
    ]  # fmt: skip
    assert made["key"].encode() not in logged.body


def test_a_key_added_from_the_shell_is_known_within_seconds(guarded: Guarded, engine: ScriptedEngine) -> None:
    key = KeyStore(guarded.served.context.home).add("shell", ["chat"])
    wait_until(lambda: guarded.served.chat(bearer(key)).status == 200, "answer to the new key")


@pytest.mark.parametrize(
    ("host", "only_here"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.8.8.8", True),
     ("0.0.0.0", False), ("::", False), ("", False), ("192.168.1.5", False), ("box.example", False)],
)  # fmt: skip
def test_beyond_loopback_a_key_is_required(host: str, only_here: bool, tmp_path: Path) -> None:
    assert keys.is_loopback(host) == only_here
    assert (keys.obstacle(GatewaySettings(host=host), tmp_path) is None) == only_here
    KeyStore(tmp_path).add("laptop", ["chat"])
    assert keys.obstacle(GatewaySettings(host=host), tmp_path) is None


def test_a_start_without_any_key_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everywhere = given(Settings(gateway=GatewaySettings(host="0.0.0.0", port=0)))
    assert serve(everywhere, tmp_path, {}) == os.EX_CONFIG
    (line,) = capsys.readouterr().err.splitlines()
    assert "0.0.0.0" in line and "ragweld keys add NAME --scope chat,admin" in line


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def a_key(name: str, shown: str, **limits: int) -> Key:
    return Key(name=name, sha256=digest(shown).hex(), scopes=["chat"], created="", **limits)  # type: ignore[arg-type]


def admit(guard: Guard, shown: str, address: str = "10.0.0.1") -> Visit | RagweldError:
    return guard.admit("GET", "/v1/models", {b"authorization": b"Bearer " + shown.encode()}, address)


def test_tokens_are_counted_after_the_answer_and_come_back_with_time() -> None:
    clock = Clock()
    guard = Guard([a_key("a", "rw-a", tokens_per_minute=60)], clock)
    visit = admit(guard, "rw-a")
    assert isinstance(visit, Visit)
    visit.spend_tokens(90)
    refused = admit(guard, "rw-a")
    assert isinstance(refused, RateLimited) and refused.kind == "tokens" and refused.retry_after_s == 31
    clock.now_s = 31
    assert isinstance(admit(guard, "rw-a"), Visit)


def test_guessing_is_slowed_and_locks_nobody_out() -> None:
    guard = Guard([a_key("a", "rw-a")], Clock())
    codes = [
        refusal.code for _ in range(GUESSES_PER_MINUTE + 1) if isinstance(refusal := admit(guard, "x"), RagweldError)
    ]
    assert codes == ["invalid_api_key"] * GUESSES_PER_MINUTE + ["rate_limit_exceeded"]
    assert isinstance(admit(guard, "rw-a"), Visit)


def test_what_a_key_used_outlives_a_change_of_the_others() -> None:
    guard = Guard([key := a_key("a", "rw-a", requests_per_minute=1)], Clock())
    admit(guard, "rw-a")
    guard.take([key, a_key("b", "rw-b")])
    assert isinstance(admit(guard, "rw-a"), RateLimited)


def test_another_limit_counts_at_once() -> None:
    guard = Guard([a_key("a", "rw-a", requests_per_minute=1)], Clock())
    admit(guard, "rw-a")
    guard.take([a_key("a", "rw-a", requests_per_minute=2)])
    assert isinstance(visit := admit(guard, "rw-a"), Visit)
    assert visit.headers()["x-ratelimit-limit-requests"] == "2"


def test_a_guard_of_a_hundred_keys_costs_microseconds() -> None:
    guard = Guard([a_key(f"k{number}", f"rw-{number}") for number in range(100)], time.monotonic)
    spent: list[float] = []
    for _ in range(50):
        began = time.thread_time()
        for _ in range(20):
            admit(guard, "rw-7")
        spent.append((time.thread_time() - began) / 20)
    assert median(spent) < 200e-6, f"{1e6 * median(spent):.1f} us"


def test_no_key_is_in_any_log_metric_or_error(
    guarded: Guarded, engine: ScriptedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    shown = (guarded.chat, guarded.admin, "rw-a-wrong-secret")
    replies = [guarded.served.call(method, path, body, bearer(key))
               for key in shown
               for method, path, body in (("GET", "/v1/models", None), ("POST", "/v1/chat/completions", {"x": 1}),
                                          ("PATCH", "/api/config", {"x": 1}), ("GET", "/nope", None))]  # fmt: skip
    replies += [
        guarded.served.call("GET", path, headers=bearer(guarded.admin)) for path in ("/metrics", "/api/admin/log")
    ]
    told = caplog.text + "".join(str(reply.headers) + reply.body.decode() for reply in replies)
    assert [key for key in shown if key in told] == []
