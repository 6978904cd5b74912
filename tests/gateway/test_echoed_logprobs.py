"""Logprobs of echoed prompts over the real engine, as evaluation harnesses ask for them: raw HTTP and OpenAI's client.

What lm-evaluation-harness sends and reads is in its `lm_eval/models/openai_completions.py`: prompts as texts or tokens,
`echo`, `logprobs: 1`, `max_tokens: 1`, `temperature: 0`; the sum of a continuation's logprobs, and whether each of its
tokens is the best there.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalog.base import blas
from catalog.base.load import load_tokenizer
from tests.gateway.serving import Served, events_of, served_base, wait_until
from tests.tiny_base import write_adapter, write_base

blas.preload()

import mlx.core as mx  # noqa: E402
from mlx_lm.tuner.utils import load_adapters  # noqa: E402
from mlx_lm.utils import load_model  # noqa: E402

TEXTS = ["What is the capital of France? Paris", "naïve 日本語 🙂", "a"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def gateway(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_base(base, tmp_path_factory.mktemp("home")) as running:
        write_adapter(running.context.home / "models" / "theirs", base, seed=1)
        added = running.call("POST", "/api/adapters", {"path": "models/theirs", "name": "theirs"})
        assert added.status == 200, added.body
        yield running


def expected(base: Path, tokens: Sequence[int], adapter: Path | None = None) -> Any:
    """The logprobs [L, V] of the plain model."""
    model, _ = load_model(base)
    if adapter is not None:
        load_adapters(model, str(adapter))
    model.eval()
    logits = model(mx.array([tokens]))[0]
    return np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))


def own(values: Any, tokens: Sequence[int]) -> list[float]:
    return [float(values[place, token]) for place, token in enumerate(tokens[1:])]


@pytest.mark.parametrize("adapter", [None, "theirs"])
def test_the_official_client_reads_the_plain_models_logprobs(gateway: Served, base: Path, adapter: str | None) -> None:
    model = f"ragweld@{adapter or 'base'}"
    folder = gateway.context.home / "models" / adapter if adapter else None
    answer = gateway.client().completions.create(model=model, prompt=TEXTS, echo=True, logprobs=2, max_tokens=0)
    tokenizer = load_tokenizer(base)
    for choice, text in zip(sorted(answer.choices, key=lambda one: one.index), TEXTS, strict=True):
        tokens = tokenizer.encode(text)
        values = expected(base, tokens, folder)
        found = choice.logprobs
        assert choice.text == text and found is not None
        assert found.tokens == [tokenizer.decode([token]) for token in tokens]
        assert found.token_logprobs is not None and found.token_logprobs[0] is None
        np.testing.assert_allclose(found.token_logprobs[1:], own(values, tokens), rtol=1e-4, atol=2e-4)
        assert found.top_logprobs is not None and found.top_logprobs[0] is None
        for place, top in enumerate(found.top_logprobs[1:]):
            assert max(top.values()) == pytest.approx(float(values[place].max()), rel=1e-4)
        assert found.text_offset is not None and found.text_offset[0] == 0
    assert answer.usage is not None and answer.usage.completion_tokens == 0


def test_a_harness_sums_a_continuations_logprobs_from_tokens_or_text(gateway: Served, base: Path) -> None:
    tokenizer = load_tokenizer(base)
    context, continuation = tokenizer.encode("The sea is"), tokenizer.encode(" wide and blue")
    tokens = context + continuation
    total = sum(own(expected(base, tokens), tokens)[len(context) - 1 :])
    for prompt in ([tokens, tokens], tokenizer.decode(tokens)):
        body = {"model": "ragweld@base", "prompt": prompt, "temperature": 0, "max_tokens": 1, "logprobs": 1}
        reply = gateway.call("POST", "/v1/completions", body | {"echo": True, "seed": 1234})
        for choice in reply.json()["choices"]:
            assert len(choice["logprobs"]["tokens"]) == len(tokens) + 1, "a token is drawn besides"
            assert sum(choice["logprobs"]["token_logprobs"][len(context) : -1]) == pytest.approx(total, abs=1e-3)


def test_the_best_continuation_is_seen_to_be_greedy(gateway: Served, base: Path) -> None:
    ask = {"model": "ragweld@base", "prompt": "The sea is", "temperature": 0, "max_tokens": 5, "logprobs": 1}
    said = gateway.call("POST", "/v1/completions", ask).json()["choices"][0]["logprobs"]
    values = expected(base, load_tokenizer(base).encode("The sea is"))
    assert said["token_logprobs"][0] == pytest.approx(float(values[-1].max()), rel=1e-4)
    for own_logprob, top in zip(said["token_logprobs"], said["top_logprobs"], strict=True):
        assert own_logprob == max(top.values())


def test_the_token_that_ends_an_answer_has_its_logprob_as_harnesses_count_on(gateway: Served, base: Path) -> None:
    tokenizer = load_tokenizer(base)
    tokens, end = tokenizer.encode("The sea is wide"), min(tokenizer.eos_token_ids)
    body = {"model": "ragweld@base", "prompt": tokens, "echo": True, "logprobs": 1, "logit_bias": {str(end): 100}}
    for wanted in (1, 5):
        (choice,) = gateway.call("POST", "/v1/completions", body | {"max_tokens": wanted}).json()["choices"]
        assert (choice["text"], choice["finish_reason"]) == ("The sea is wide", "stop")
        assert choice["logprobs"]["tokens"][len(tokens) :] == [tokenizer.decode([end])]
        assert choice["logprobs"]["text_offset"][len(tokens) :] == [len("The sea is wide")]


def test_a_prompt_of_the_whole_context_is_scored_and_a_longer_one_is_refused_by_its_name(gateway: Served) -> None:
    tokens = np.random.default_rng(6).integers(4, 300, 2049).tolist()
    body = {"model": "ragweld@base", "echo": True, "logprobs": 0, "max_tokens": 0}
    (choice,) = gateway.call("POST", "/v1/completions", body | {"prompt": tokens[:2048]}).json()["choices"]
    assert len(choice["logprobs"]["token_logprobs"]) == 2048
    refused = gateway.call("POST", "/v1/completions", body | {"prompt": tokens})
    assert (refused.status, refused.error["code"]) == (400, "context_length_exceeded")
    assert refused.error["param"] == "prompt"


def test_a_stop_string_has_no_logprobs(gateway: Served, base: Path) -> None:
    tokenizer = load_tokenizer(base)
    (stop,) = tokenizer.encode("x")
    body = {"model": "ragweld@base", "prompt": "The sea", "logprobs": 1, "logit_bias": {str(stop): 100}, "stop": "x"}
    (choice,) = gateway.call("POST", "/v1/completions", body).json()["choices"]
    assert (choice["text"], choice["finish_reason"], choice["logprobs"]["tokens"]) == ("", "stop", [])


def test_a_long_prompt_streams_its_logprobs_once_before_the_answer(gateway: Served, base: Path) -> None:
    tokens = np.random.default_rng(5).integers(4, 300, 700).tolist()
    body = {"model": "ragweld@base", "prompt": tokens, "echo": True, "logprobs": 1, "max_tokens": 3, "stream": True}
    *events, done = events_of(gateway.call("POST", "/v1/completions", body).body)
    assert done == "[DONE]"
    choices = [event["choices"][0] for event in events]
    logprobs = [value for choice in choices for value in choice["logprobs"]["token_logprobs"]]
    assert logprobs[0] is None
    np.testing.assert_allclose(logprobs[1:700], own(expected(base, tokens), tokens), rtol=1e-4, atol=5e-4)
    offsets = [place for choice in choices for place in choice["logprobs"]["text_offset"]]
    assert offsets == sorted(offsets)
    assert choices[0]["text"].startswith(load_tokenizer(base).decode(tokens))


def test_a_client_that_goes_away_while_its_prompts_are_scored_stops_them(gateway: Served) -> None:
    engine = gateway.context.engine
    assert engine is not None
    before = engine.counters.cancelled
    prompts = [np.random.default_rng(seed).integers(4, 300, 1900).tolist() for seed in range(30)]
    body = json.dumps({"model": "ragweld@base", "prompt": prompts, "echo": True, "logprobs": 5, "max_tokens": 0})
    head = "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(head.encode() + body.encode())
        wait_until(lambda: engine.counters.rows > 0, "row")
    wait_until(lambda: engine.counters.rows == 0 and engine.admitted_tokens == 0, "end")
    assert engine.counters.cancelled > before
