"""The whole gateway over the real engine: MLX on a tiny random base, through real HTTP."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.adapters import content_id
from catalog.base.load import load_tokenizer
from catalog.run_life import Ended
from catalog.settings import Settings
from gateway.main import engine as make_engine
from tests.gateway.serving import Served, events_of, served, served_base, wait_until
from tests.gateway.test_run_stream import PLAN
from tests.tiny_base import write_adapter, write_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def gateway(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_base(base, tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def ends(base: Path) -> dict[str, int]:
    """A bias that forbids every end token, so that an answer is as long as it may be."""
    return {str(token): -100 for token in load_tokenizer(base).eos_token_ids}


def text(gateway: Served, **fields: Any) -> str:
    reply = gateway.chat(temperature=0, **fields)
    assert reply.status == 200, reply.body
    message = reply.json()["choices"][0]["message"]
    return str(message.get("reasoning_content", "")) + str(message["content"])


def streamed(gateway: Served, **fields: Any) -> str:
    *chunks, done = events_of(gateway.chat(temperature=0, stream=True, **fields).body)
    assert done == "[DONE]"
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    return "".join(delta.get("reasoning_content", "") for delta in deltas) + "".join(
        delta.get("content") or "" for delta in deltas
    )


def test_streaming_says_what_plain_says(gateway: Served, ends: dict[str, int]) -> None:
    for length in (1, 7, 40):
        fields = {"max_tokens": length, "logit_bias": ends}
        assert text(gateway, **fields) == streamed(gateway, **fields)


def test_usage_is_what_was_computed(gateway: Served, ends: dict[str, int]) -> None:
    usage = gateway.chat(max_tokens=9, logit_bias=ends, n=2).json()["usage"]
    assert usage["completion_tokens"] == 18
    assert usage["total_tokens"] == usage["prompt_tokens"] + 18


def test_a_stop_string_ends_the_answer_before_it(gateway: Served, ends: dict[str, int]) -> None:
    whole = text(gateway, max_tokens=40, logit_bias=ends)
    stop = whole[10:13]
    reply = gateway.chat(temperature=0, max_tokens=40, logit_bias=ends, stop=stop).json()["choices"][0]
    assert reply["message"]["content"] == whole[: whole.index(stop)]
    assert reply["finish_reason"] == "stop"


def test_the_same_seed_gives_the_same_text_and_n_give_different_ones(gateway: Served, ends: dict[str, int]) -> None:
    def drawn(seed: int) -> list[str]:
        body = gateway.chat(temperature=1, seed=seed, n=3, max_tokens=12, logit_bias=ends).json()
        return [choice["message"]["content"] for choice in body["choices"]]

    assert drawn(5) == drawn(5)
    assert len(set(drawn(5))) == 3


def test_logprobs_are_those_of_the_answer(gateway: Served, ends: dict[str, int]) -> None:
    choice = gateway.chat(temperature=0, max_tokens=5, logit_bias=ends, logprobs=True, top_logprobs=3).json()[
        "choices"
    ][0]
    tokens = choice["logprobs"]["content"]
    assert len(tokens) == 5
    for token in tokens:
        assert token["logprob"] <= 0
        assert len(token["top_logprobs"]) == 3
        assert bytes(token["bytes"]).decode("utf-8", "replace") == token["token"]


def test_a_prompt_beyond_the_context_is_400_before_anything_is_computed(gateway: Served) -> None:
    reply = gateway.chat(messages=[{"role": "user", "content": "word " * 3000}])
    assert (reply.status, reply.error["code"]) == (400, "context_length_exceeded")


def test_a_client_that_goes_away_frees_its_row(gateway: Served, ends: dict[str, int]) -> None:
    cancelled = gateway.metric("ragweld_engine_cancelled_total")
    fields = {"messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 2000, "logit_bias": ends}
    body = json.dumps(fields).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        assert b"200 OK" in connection.recv(4096)
    wait_until(lambda: gateway.metric("ragweld_engine_cancelled_total") == cancelled + 1, "the cancelled row")
    wait_until(lambda: gateway.metric("ragweld_engine_queued_tokens") == 0, "freed tokens")


def promote(gateway: Served, base: Path, seed: int, made_for: Path | None = None) -> tuple[int, dict[str, Any]]:
    """Complete a run on `base` with a random adapter, made for another base if so wanted, and promote it."""
    store = gateway.context.runs
    run = store.create("default", PLAN.model_copy(update={"base": str(base)}))
    claimed = store.claim_next()
    assert claimed is not None
    folder = write_adapter(store.model_folder(run.run_id), made_for or base, seed)
    store.apply(run.run_id, Ended("completed", adapter_id=content_id(folder)))
    claimed.claim.release()
    reply = gateway.call("POST", f"/api/agent/train/run/{run.run_id}/promote", {})
    return reply.status, reply.json()


def test_a_promotion_is_answered_by_the_next_request_and_an_open_stream_keeps_its_adapter(
    gateway: Served, base: Path, ends: dict[str, int]
) -> None:
    fields = {"max_tokens": 300, "logit_bias": ends}
    alone = text(gateway, model="ragweld@base", **fields)
    opened: list[str] = []
    long_stream = threading.Thread(target=lambda: opened.append(streamed(gateway, **fields)))
    long_stream.start()
    wait_until(lambda: gateway.metric("ragweld_engine_rows") >= 1, "the open stream")
    status, promoted = promote(gateway, base, seed=1)
    assert status == 200, promoted
    reply = gateway.chat(max_tokens=1)
    assert reply.headers["x-ragweld-adapter"] == promoted["adapter_id"]
    long_stream.join(60)
    assert opened == [alone]
    assert text(gateway, **fields) != alone
    assert text(gateway, model="ragweld@base", **fields) == alone
    back = gateway.call("POST", "/api/adapters/rollback", {})
    assert (back.status, back.json()["adapter_id"]) == (200, None)
    assert text(gateway, **fields) == alone


def test_a_bad_adapter_is_refused_by_its_tensor_and_the_good_one_keeps_serving(
    gateway: Served, base: Path, tmp_path: Path
) -> None:
    assert promote(gateway, base, seed=2)[0] == 200
    good = gateway.chat(max_tokens=1).headers["x-ragweld-adapter"]
    other = write_base(tmp_path / "other", seed=9)
    wide = json.loads((other / "config.json").read_text()) | {"num_hidden_layers": 3}
    (other / "config.json").write_text(json.dumps(wide))
    status, refused = promote(gateway, base, seed=3, made_for=other)
    assert (status, refused["error"]["code"]) == (400, "invalid_adapter")
    assert "model.layers.2" in refused["error"]["message"]
    assert gateway.chat(max_tokens=1).headers["x-ragweld-adapter"] == good


def test_a_base_is_unloaded_and_loaded_by_curl_and_answers_the_same(gateway: Served, ends: dict[str, int]) -> None:
    fields = {"model": "ragweld@base", "max_tokens": 20, "logit_bias": ends}
    before = text(gateway, **fields)
    assert gateway.call("POST", "/api/engine/clear_cache").status == 200
    assert gateway.call("POST", "/api/engine/unload").status == 200
    assert [base["loaded"] for base in gateway.call("GET", "/api/engine").json()["bases"] if base["default"]] == [False]
    assert text(gateway, **fields) == before, "its next request loads it"
    assert gateway.call("POST", "/api/engine/unload").status == 200
    assert gateway.call("POST", "/api/engine/load").status == 200
    assert [base["loaded"] for base in gateway.call("GET", "/api/engine").json()["bases"] if base["default"]] == [True]
    assert text(gateway, **fields) == before


def test_an_extraction_of_the_real_engine_fits_its_schema_or_is_empty(gateway: Served) -> None:
    reply = gateway.call("POST", "/api/kg/extract", {"text": "A lighthouse.", "max_tokens": 64})
    assert reply.status == 200, reply.body
    assert reply.json().keys() == {"concepts", "relations"}
    assert reply.headers["x-ragweld-provider"] == "ragweld"


def test_a_home_that_is_gone_costs_no_answer(base: Path, tmp_path: Path) -> None:
    settings = Settings.model_validate({"training": {"ragweld_agent_base_model": str(base)}})
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    with served(home, make_engine(settings, home), settings) as gateway:
        wait_until(lambda: gateway.call("GET", "/readyz").status == 200, "readiness", 60)
        shutil.rmtree(home)
        home.write_text("a file where the folder was")
        assert [gateway.chat(max_tokens=3).status for _ in range(3)] == [200] * 3
        assert [gateway.call("GET", path).status for path in ("/readyz", "/metrics", "/v1/models")] == [200] * 3
        refused = gateway.call("POST", "/api/agent/train/start", {})
        assert refused.status >= 400 and set(refused.json()) == {"error"}
