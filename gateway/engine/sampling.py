"""How rows draw their next tokens: all rows of a batch in one call, each by its own keys.

The n-th token of a row is drawn with a key made of (seed, n) and nothing else, over its logits in the vocabulary's own
order, so that a seed gives the same text alone and in any company. Penalties count what the row itself produced
(OpenAI's API reference); `repetition_penalty` counts the prompt too (Keskar et al., CTRL, 2019).
`tests/gateway/engine/test_sampling.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.base import blas
from gateway.engine.requests import Sampling

blas.preload()

import mlx.core as mx  # noqa: E402

LogitsProcessor = Callable[[mx.array, mx.array], mx.array]

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


def draw(logprobs: mx.array, rows: Sequence[Draws], manner: Manner) -> mx.array:
    """The next token [B] of every row, from logprobs [B, V]."""
    if manner.all_greedy:
        return mx.argmax(logprobs, axis=-1)
    logits = logprobs / manner.temperature
    if manner.any_restricted:
        logits = _restrict(logits, manner)
    keys = mx.array([row.next_key() for row in rows], dtype=mx.uint32)
    drawn: mx.array = _categorical(keys, logits)
    return mx.where(manner.is_greedy, mx.argmax(logprobs, axis=-1), drawn) if manner.any_greedy else drawn


def make_processors(sampling: Sampling, prompt_tokens: int) -> list[LogitsProcessor]:
    """What changes the logits [1, V] of a row before its token is drawn, given all its tokens [N] so far."""
    processors: list[LogitsProcessor] = []
    if sampling.repetition_penalty != 1.0:
        processors.append(lambda tokens, logits: _repetition(tokens, logits, sampling.repetition_penalty))
    if sampling.frequency_penalty or sampling.presence_penalty:
        processors.append(lambda tokens, logits: _penalties(tokens[prompt_tokens:], logits, sampling))
    if sampling.logit_bias:
        ids = mx.array(list(sampling.logit_bias))
        bias = mx.array(list(sampling.logit_bias.values()))
        processors.append(lambda _, logits: logits.at[:, ids].add(bias))
    return processors


def _restrict(logits: mx.array, manner: Manner) -> mx.array:
    """Logits [B, V] with what top_k, top_p and min_p exclude at minus infinity; the best of a row always stays."""
    ranked = -mx.sort(-logits, axis=-1)
    probabilities = mx.softmax(ranked, axis=-1)
    before = mx.cumsum(probabilities, axis=-1) - probabilities
    place = mx.arange(ranked.shape[-1])
    keep = (before < manner.top_p) & (place < manner.top_k) & (probabilities >= manner.min_p * probabilities[:, :1])
    least = mx.min(mx.where(keep | (place == 0), ranked, mx.inf), axis=-1, keepdims=True)
    return mx.where(logits >= least, logits, -mx.inf)


def _penalties(produced: mx.array, logits: mx.array, sampling: Sampling) -> mx.array:
    if produced.size == 0:
        return logits
    counts = mx.zeros((logits.shape[-1],), logits.dtype).at[produced].add(1)
    return logits - sampling.frequency_penalty * counts - sampling.presence_penalty * (counts > 0)


def _repetition(tokens: mx.array, logits: mx.array, penalty: float) -> mx.array:
    seen = mx.zeros((logits.shape[-1],), mx.bool_).at[tokens].add(mx.array(True))
    return mx.where(seen, mx.where(logits > 0, logits / penalty, logits * penalty), logits)


def _mix(seed: int, n: int) -> int:
    """SplitMix64 of the n-th state: neighbouring seeds and positions give unrelated keys."""
    z = (seed + (n + 1) * 0x9E3779B97F4A7C15) & _MASK_64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK_64
    return z ^ (z >> 31)
