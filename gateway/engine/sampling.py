"""How rows draw their next tokens: all rows of a batch in one call, each by its own keys.

The n-th token of a row is drawn with a key made of (seed, n) and nothing else, over its logits in the vocabulary's own
order, so that a seed gives the same text alone and in any company. Penalties count what the row itself produced
(OpenAI's API reference); `repetition_penalty` counts the prompt too (Keskar et al., CTRL, 2019). Biases come first.
`tests/gateway/engine/test_sampling.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.base import blas
from gateway.engine.requests import Sampling

blas.preload()

import mlx.core as mx  # noqa: E402

_MASK_32 = (1 << 32) - 1
_MASK_64 = (1 << 64) - 1


def sampling_of(generation_config: Mapping[str, Any]) -> Sampling:
    """How a base's own generation_config.json draws; `do_sample: false` is greedy, what it does not say is OpenAI's."""
    if generation_config.get("do_sample") is False:
        return Sampling(temperature=0.0)
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    given = {name: generation_config[name] for name in names if generation_config.get(name) is not None}
    return Sampling(**given)


class Draws:
    """One row's sequence of keys."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self._drawn = 0

    def next_key(self) -> tuple[int, int]:
        """The next token's key as MLX wants it: two 32-bit halves."""
        mixed = _mix(self._seed, self._drawn)
        self._drawn += 1
        return mixed >> 32, mixed & _MASK_32


@dataclass(frozen=True, slots=True)
class Manner:
    """How the rows of one batch draw, as columns [B, 1]; made once for each composition of a batch."""

    temperature: mx.array
    top_p: mx.array
    top_k: mx.array
    min_p: mx.array
    is_greedy: mx.array
    all_greedy: bool
    any_greedy: bool
    any_restricted: bool

    @classmethod
    def of(cls, rows: Sequence[Draws]) -> Manner:
        all_rows = [row.sampling for row in rows]
        greedy = [one.temperature == 0 for one in all_rows]
        restricted = [one.top_p < 1 or one.top_k > 0 or one.min_p > 0 for one in all_rows]
        return cls(
            temperature=mx.array([[one.temperature or 1.0] for one in all_rows]),
            top_p=mx.array([[one.top_p] for one in all_rows]),
            top_k=mx.array([[float(one.top_k) if one.top_k > 0 else float("inf")] for one in all_rows]),
            min_p=mx.array([[one.min_p] for one in all_rows]),
            is_greedy=mx.array(greedy),
            all_greedy=all(greedy),
            any_greedy=any(greedy),
            any_restricted=any(r and not g for r, g in zip(restricted, greedy, strict=True)),
        )


_categorical = mx.vmap(lambda key, logits: mx.random.categorical(logits, key=key))


def draw(logits: mx.array, rows: Sequence[Draws], manner: Manner) -> mx.array:
    """The next token [B] of every row, from logits [B, V]."""
    if manner.all_greedy:
        return mx.argmax(logits, axis=-1)
    warm = logits / manner.temperature
    if manner.any_restricted:
        warm = _restrict(warm, manner)
    keys = mx.array([row.next_key() for row in rows], dtype=mx.uint32)
    drawn: mx.array = _categorical(keys, warm)
    return mx.where(manner.is_greedy, mx.argmax(logits, axis=-1), drawn) if manner.any_greedy else drawn


@dataclass(frozen=True, slots=True)
class Bias:
    """Every row's logit_bias, as one scatter."""

    rows: mx.array
    tokens: mx.array
    values: mx.array

    @classmethod
    def of(cls, rows: Sequence[Sampling]) -> Bias | None:
        """None where no row has one."""
        flat = [(place, *item) for place, row in enumerate(rows) for item in row.logit_bias.items()]
        if not flat:
            return None
        places, tokens, values = zip(*flat, strict=True)
        return cls(mx.array(places), mx.array(tokens), mx.array(values))

    def added(self, logits: mx.array) -> mx.array:
        """Logits [B, V] with the biases."""
        return logits.at[self.rows, self.tokens].add(self.values)


class Penalties:
    """One row's penalties: for what it said, and with `repetition_penalty` for what it read too. Follows the row."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        self._prompt = prompt
        self._said: mx.array | None = None
        self._seen: mx.array | None = None

    @classmethod
    def of(cls, sampling: Sampling, prompt: Sequence[int]) -> Penalties | None:
        """None where nothing is penalised."""
        asked = sampling.repetition_penalty != 1.0 or sampling.frequency_penalty or sampling.presence_penalty
        return cls(sampling, prompt) if asked else None

    def __call__(self, token: mx.array, logits: mx.array) -> mx.array:
        """Logits [1, V] after `token` [1], which at the first call is the prompt's last."""
        sampling = self._sampling
        if (penalty := sampling.repetition_penalty) != 1.0:
            seen = self._now_seen(token, logits.shape[-1])
            logits = mx.where(seen, mx.where(logits > 0, logits / penalty, logits * penalty), logits)
        said = self._now_said(token, logits)
        return logits - sampling.frequency_penalty * said - sampling.presence_penalty * (said > 0)

    def _now_seen(self, token: mx.array, vocabulary: int) -> mx.array:
        if self._seen is None:
            self._seen = mx.zeros((vocabulary,), mx.bool_).at[mx.array(list(self._prompt))].add(mx.array(True))
        else:
            self._seen = self._seen.at[token].add(mx.array(True))
        return self._seen

    def _now_said(self, token: mx.array, logits: mx.array) -> mx.array:
        counts = mx.zeros((logits.shape[-1],), logits.dtype) if self._said is None else self._said.at[token].add(1)
        self._said = counts
        return counts


def _restrict(logits: mx.array, manner: Manner) -> mx.array:
    """Logits [B, V] with what top_k, top_p and min_p exclude at minus infinity; the best of a row always stays."""
    ranked = -mx.sort(-logits, axis=-1)
    probabilities = mx.softmax(ranked, axis=-1)
    before = mx.cumsum(probabilities, axis=-1) - probabilities
    place = mx.arange(ranked.shape[-1])
    keep = (before < manner.top_p) & (place < manner.top_k) & (probabilities >= manner.min_p * probabilities[:, :1])
    least = mx.min(mx.where(keep | (place == 0), ranked, mx.inf), axis=-1, keepdims=True)
    return mx.where(logits >= least, logits, -mx.inf)


def _mix(seed: int, n: int) -> int:
    """SplitMix64 of the n-th state: neighbouring seeds and positions give unrelated keys."""
    z = (seed + (n + 1) * 0x9E3779B97F4A7C15) & _MASK_64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK_64
    return z ^ (z >> 31)
