"""Drawing: each row as if it were alone, within what it allows, and as often as its probabilities say."""

from __future__ import annotations

import numpy as np
import pytest

from catalog.base import blas
from gateway.engine.requests import Sampling
from gateway.engine.sampling import Draws, Manner, draw, sampling_of

blas.preload()

import mlx.core as mx  # noqa: E402

VOCABULARY = 64
KINDS = [
    Sampling(temperature=0),
    Sampling(temperature=1.0, seed=3),
    Sampling(temperature=0.7, seed=3, top_k=5),
    Sampling(temperature=1.3, seed=4, top_p=0.5),
    Sampling(temperature=1.0, seed=5, min_p=0.2),
    Sampling(temperature=2.0, seed=6, top_k=9, top_p=0.9, min_p=0.05),
]


def logprobs(rows: int, seed: int = 0) -> mx.array:
    logits = mx.random.normal((rows, VOCABULARY), key=mx.random.key(seed)) * 3
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def tokens(kinds: list[Sampling], table: mx.array, steps: int) -> list[list[int]]:
    rows = [Draws(kind) for kind in kinds]
    manner = Manner.of(rows)
    drawn = [np.array(draw(table, rows, manner)).tolist() for _ in range(steps)]
    return [list(row) for row in zip(*drawn, strict=True)]


def test_every_row_draws_as_if_it_were_alone() -> None:
    table = logprobs(len(KINDS))
    together = tokens(KINDS, table, 40)
    for place, kind in enumerate(KINDS):
        assert tokens([kind], table[place : place + 1], 40) == [together[place]]
    backwards = tokens(KINDS[::-1], table[::-1], 40)
    assert backwards == together[::-1]


@pytest.mark.parametrize("kind", KINDS[1:])
def test_nothing_outside_what_is_allowed_is_ever_drawn(kind: Sampling) -> None:
    table = logprobs(1, seed=9)
    probabilities = np.array(mx.softmax(table / kind.temperature, axis=-1))[0]
    order = np.argsort(-probabilities)
    kept = set()
    total = 0.0
    for place, token in enumerate(order):
        allowed = total < kind.top_p and (kind.top_k <= 0 or place < kind.top_k)
        if place == 0 or (allowed and probabilities[token] >= kind.min_p * probabilities[order[0]]):
            kept.add(int(token))
        total += float(probabilities[token])
    drawn = set(tokens([kind], table, 400)[0])
    assert drawn <= kept
    assert len(drawn) > min(3, len(kept) - 1)


def test_tokens_come_as_often_as_their_probabilities_say() -> None:
    table = mx.log(mx.array([[0.5, 0.3, 0.15, 0.05]]))
    drawn = np.array(tokens([Sampling(temperature=1.0, seed=1)], table, 4000)[0])
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    assert np.abs(shares - [0.5, 0.3, 0.15, 0.05]).max() < 0.03


def test_without_a_seed_two_rows_differ() -> None:
    table = mx.zeros((2, VOCABULARY))
    first, second = tokens([Sampling(), Sampling()], table, 20)
    assert first != second


def test_a_bases_own_config_is_the_default() -> None:
    assert sampling_of({}) == Sampling()
    assert sampling_of({"do_sample": False, "temperature": 0.6}).temperature == 0
    qwen3 = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95}
    assert sampling_of(qwen3) == Sampling(temperature=0.6, top_k=20, top_p=0.95)
