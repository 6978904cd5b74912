"""Several requests and several upstreams: who is left in peace, who is asked again, who comes first, who has what."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from catalog import models
from catalog.settings import RoutingSettings, Settings
from gateway.breaker import Open
from tests.gateway.misbehaving import (
    GOOD_ANSWER,
    HI,
    ROLE,
    STREAM_HEAD,
    WORDS,
    Misbehaving,
    answer,
    configured,
    misbehaving,
)
from tests.gateway.serving import DEADLINE_S, Served, served, wait_until

BROKEN = [answer(b"oops", "500 Internal Server Error")]
GOOD = [answer(GOOD_ANSWER)]

Gateway = Callable[..., Served]


@pytest.fixture
def first() -> Iterator[Misbehaving]:
    with misbehaving() as upstream:
        yield upstream


@pytest.fixture
def second() -> Iterator[Misbehaving]:
    with misbehaving() as upstream:
        upstream.steps = GOOD
        yield upstream


@pytest.fixture
def alone(first: Misbehaving, tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, None, Settings(upstreams=[configured("first", first)])) as running:
        yield running


@pytest.fixture
def both(first: Misbehaving, second: Misbehaving, tmp_path: Path) -> Iterator[Served]:
    upstreams = [configured("first", first, priority=1), configured("second", second, priority=2)]
    with served(tmp_path, None, Settings(upstreams=upstreams)) as running:
        yield running


def speakers(gateway: Served, times: int) -> list[str]:
    return [gateway.chat().headers["x-ragweld-provider"] for _ in range(times)]


def test_a_storm_is_met_by_five_requests_and_then_by_none(alone: Served, first: Misbehaving) -> None:
    first.steps = BROKEN
    replies = [alone.chat() for _ in range(8)]
    codes = ["upstream_status_500"] * 3 + ["upstream_resting"] * 5
    assert [reply.error["code"] for reply in replies] == codes
    assert [reply.status for reply in replies] == [502] * 3 + [503] * 5
    assert len(first.asked) == 5
    assert alone.metric("ragweld_provider_breaker", provider="first", state="open") == 1
    assert alone.metric("ragweld_provider_in_flight", provider="first") == 0


def test_a_storm_is_nobodys_trouble_where_another_is(both: Served, first: Misbehaving) -> None:
    first.steps = BROKEN
    replies = [both.chat() for _ in range(8)]
    assert [reply.body for reply in replies] == [GOOD_ANSWER] * 8
    reasons = ["upstream_failed"] * 5 + ["upstream_resting"] * 3
    assert [reply.headers["x-ragweld-fallback"] for reply in replies] == reasons
    assert len(first.asked) == 5


def test_an_upstream_that_is_well_again_is_found_by_one_request(both: Served, first: Misbehaving) -> None:
    first.steps = BROKEN
    assert speakers(both, 5) == ["second"] * 5
    first.steps = GOOD
    both.context.providers.by_name["first"].breaker = Open(until=0, rests=1)
    assert speakers(both, 2) == ["first"] * 2
    assert both.metric("ragweld_provider_breaker", provider="first", state="closed") == 1


@pytest.mark.parametrize("fault", [BROKEN, ["close"], [answer(b"", "429 Too Many", more="retry-after: 0\r\n")]])
def test_what_was_gone_in_a_moment_nobody_sees(alone: Served, first: Misbehaving, fault: list[Any]) -> None:
    first.in_turn, first.steps = [fault], GOOD
    assert alone.chat().body == GOOD_ANSWER
    assert len(first.asked) == 2
    assert alone.metric("ragweld_upstream_retries_total", outcome="asked") == 1


def test_all_at_once_only_a_fifth_is_asked_again(alone: Served, first: Misbehaving) -> None:
    first.steps = [answer(b"", "429 Too Many Requests", more="retry-after: 3\r\n")]  # all have come by then
    with ThreadPoolExecutor(30) as crowd:
        statuses = list(crowd.map(lambda _: alone.chat().status, range(30)))
    again = alone.metric("ragweld_upstream_retries_total", outcome="asked")
    assert statuses == [429] * 30
    assert len(first.asked) == 30 + again
    assert 1 <= again <= 6
    assert alone.metric("ragweld_upstream_retries_total", outcome="no_budget") == 30 - again


def test_a_timeout_is_not_asked_again(alone: Served, first: Misbehaving) -> None:
    first.steps = ["hang"]
    assert alone.chat().status == 504
    assert len(first.asked) == 1


@contextmanager
def open_stream(gateway: Served) -> Iterator[str]:
    """A stream that its client keeps open; the name of who answers it."""
    body = json.dumps({"messages": HI, "stream": True}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=DEADLINE_S) as connection:
        connection.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        yield connection.recv(4096).decode("latin-1").split("x-ragweld-provider: ")[1].split("\r\n")[0]


def test_the_least_busy_of_equals_is_asked(first: Misbehaving, second: Misbehaving, tmp_path: Path) -> None:
    upstreams = [configured("first", first, weight=9), configured("second", second)]
    with served(tmp_path, None, Settings(upstreams=upstreams)) as gateway:
        first.steps = second.steps = [STREAM_HEAD + ROLE + WORDS[0], "hang"]
        with open_stream(gateway) as busy:
            first.steps = second.steps = GOOD
            idle = {"first": "second", "second": "first"}[busy]
            assert speakers(gateway, 5) == [idle] * 5
        in_flight = gateway.context.providers.snapshot()
        wait_until(lambda: in_flight[busy].in_flight == 0, "end of the stream")


def test_what_an_upstream_says_it_has_is_listed_and_routed_and_not_written(
    first: Misbehaving, second: Misbehaving, tmp_path: Path
) -> None:
    first.models, first.steps = ["qwen3:8b", "llama3", "model-of-first"], GOOD
    upstreams = [configured("first", first, models="discover"), configured("second", second, models=["phi4"])]
    routing = RoutingSettings(probe_interval_s=0.05)
    with served(tmp_path, None, Settings(upstreams=upstreams, routing=routing)) as gateway:
        wait_until(lambda: len(gateway.context.providers.discovered) == 1, "what the first has")
        listed = [entry["id"] for entry in gateway.call("GET", "/v1/models").json()["data"]]
        assert listed == [
            "local:model-of-first", "local:qwen3:8b", "local:llama3", "local:model-of-second", "local:phi4",
        ]  # fmt: skip
        for model, speaker in [("qwen3:8b", "first"), ("local:llama3", "first"), ("phi4", "second")]:
            assert gateway.chat(model=model).headers["x-ragweld-provider"] == speaker
        assert [asked.json()["model"] for asked in first.asked] == ["qwen3:8b", "llama3"]
        name = "gen_ai_server_request_duration_seconds_count"
        labels = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "first", "error_type": ""}
        for label in ("qwen3:8b", "other"):  # what the catalog has bears its name, what an upstream says does not
            assert gateway.metric(name, gen_ai_response_model=label, **labels) == 1
        first.models = ["mistral"]
        wait_until(lambda: gateway.chat(model="mistral").status == 200, "the new list")
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"llama3" not in written and b"mistral" not in written


def test_health_and_metrics_say_how_each_is(both: Served, first: Misbehaving) -> None:
    first.steps = GOOD
    both.chat()
    known = both.context.providers.snapshot
    wait_until(lambda: sum(one.health is not None for one in known().values()) == 2, "looks")
    rows = {row["provider"]: row for row in both.call("GET", "/api/chat/health").json()["providers"]}
    assert (rows["Ragweld"]["state"], rows["Ragweld"]["reachable"]) == ("off", False)
    row = rows["first"]
    assert (row["state"], row["breaker"], row["in_flight"]) == ("up", "closed", 0)
    assert 0 < row["probe_latency_s"] < DEADLINE_S and 0 < row["first_content_latency_s"] < DEADLINE_S
    assert rows["second"]["first_content_latency_s"] is None
    assert both.metric("ragweld_provider_up", provider="first") == 1
    assert both.metric("ragweld_provider_probe_seconds", provider="first") == row["probe_latency_s"]
    assert both.metric("ragweld_provider_first_content_seconds", provider="first") > 0


def test_health_waits_for_nobody(first: Misbehaving, tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        upstream = configured("first", Misbehaving(port=silent.getsockname()[1]))
        with served(tmp_path, None, Settings(upstreams=[upstream])) as gateway:
            row = gateway.call("GET", "/api/chat/health").json()["providers"][1]
    assert (row["state"], row["detail"]) == ("unknown", "it was not looked at yet")


def test_a_cost_that_nobody_knows_is_counted_as_unknown(alone: Served, first: Misbehaving) -> None:
    first.steps = GOOD
    alone.chat()
    labels = {"provider": "first", "model": "model-of-first"}
    assert alone.metric("ragweld_cost_unknown_total", **labels) == 1
    assert "ragweld_cost_usd_total{" not in alone.call("GET", "/metrics").body.decode()


def test_a_cost_is_usage_times_price(first: Misbehaving, tmp_path: Path) -> None:
    row = next(row for row in models.model_file().models if row.provider == "openai" and row.input_per_1k)
    first.steps = GOOD
    upstream = configured("direct", first, kind="cloud_direct", models=[row.model])
    with served(tmp_path, None, Settings(upstreams=[upstream])) as gateway:
        assert gateway.chat(model=f"openai/{row.model}").status == 200
        usd = gateway.metric("ragweld_cost_usd_total", provider="direct", model=row.model)
    assert usd == pytest.approx((11 * (row.input_per_1k or 0) + 3 * (row.output_per_1k or 0)) / 1000)


def test_an_id_of_the_catalog_needs_no_prefix_and_has_its_price(first: Misbehaving, tmp_path: Path) -> None:
    first.steps = GOOD
    (row,) = models.by_name()["gpt-4.1"]
    assert row.input_per_1k and row.output_per_1k
    upstreams = [configured("first", first, kind="cloud_direct", model="gpt-5-mini")]
    with served(tmp_path, None, Settings(upstreams=upstreams)) as running:
        assert running.chat(model="gpt-4.1").status == 200
        usd = running.metric("ragweld_cost_usd_total", provider="first", model="gpt-4.1")
    assert first.asked[0].json()["model"] == "gpt-4.1"
    assert usd == pytest.approx((11 * row.input_per_1k + 3 * row.output_per_1k) / 1000)
