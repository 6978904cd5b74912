"""How a row draws its next token: its own keys, so that a seed gives the same text alone and inside a batch.

The n-th token of a row is drawn with a key made of (seed, n) and nothing else. Penalties count what the row itself
produced (OpenAI's API reference); `repetition_penalty` counts the prompt too (Keskar et al., CTRL, 2019).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from catalog.base import blas
from gateway.engine.requests import Sampling

blas.preload()

import mlx.core as mx  # noqa: E402
from mlx_lm.sample_utils import greedy_sampler  # noqa: E402

Sampler = Callable[[mx.array], mx.array]
LogitsProcessor = Callable[[mx.array, mx.array], mx.array]

_MASK_64 = (1 << 64) - 1


def sampling_of(generation_config: Mapping[str, Any]) -> Sampling:
    """How a base's own generation_config.json draws; `do_sample: false` is greedy, what it does not say is OpenAI's."""
    if generation_config.get("do_sample") is False:
        return Sampling(temperature=0.0)
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    given = {name: generation_config[name] for name in names if generation_config.get(name) is not None}
    return Sampling(**given)


def make_sampler(sampling: Sampling) -> Sampler:
    """A function of logprobs [1, V] that gives the token [1]. Greedy rows share one, so their batch is one call."""
    if sampling.temperature == 0:
        greedy: Sampler = greedy_sampler
        return greedy
    seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
    drawn = 0

    def draw(logprobs: mx.array) -> mx.array:
        nonlocal drawn
        key = mx.random.key(_mix(seed, drawn))
        drawn += 1
        logits = logprobs / sampling.temperature
        if sampling.top_p >= 1 and sampling.top_k <= 0 and sampling.min_p <= 0:
            return mx.random.categorical(logits, key=key)
        order = mx.argsort(-logits, axis=-1)
        ranked = mx.take_along_axis(logits, order, axis=-1)
        choice = mx.random.categorical(_restrict(ranked, sampling), key=key)
        return mx.take_along_axis(order, choice[:, None], axis=-1)[:, 0]

    return draw


def make_processors(sampling: Sampling, prompt_tokens: int) -> list[LogitsProcessor]:
    """What changes the logits [1, V] before a token is drawn, given all tokens [N] so far."""
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


def _restrict(ranked: mx.array, sampling: Sampling) -> mx.array:
    """Logits [1, V], best first, with what top_k, top_p and min_p exclude at minus infinity; the best always stays."""
    probabilities = mx.softmax(ranked, axis=-1)
    before = mx.cumsum(probabilities, axis=-1) - probabilities
    keep = before < sampling.top_p
    if sampling.top_k > 0:
        keep = keep & (mx.arange(ranked.shape[-1]) < sampling.top_k)
    if sampling.min_p > 0:
        keep = keep & (probabilities >= sampling.min_p * probabilities[:, :1])
    first = mx.arange(ranked.shape[-1]) == 0
    return mx.where(keep | first, ranked, -mx.inf)


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
