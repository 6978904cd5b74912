"""Logprobs of tokens: of those that were drawn, and of those that a prompt is made of.

A prompt's come from the hidden states of its chunks, a few positions at a time, so that a prompt times a vocabulary is
never in memory (64 positions of 151,936 take 39 MB). They are the model's own: no bias, penalty or temperature.
`tests/gateway/engine/test_scoring.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from catalog.base import blas, device
from gateway.engine.requests import TokenLogprob

blas.preload()

import mlx.core as mx  # noqa: E402

AT_ONCE = 64
"""Positions whose logits are in memory together."""
BLOCK = 64
"""Tokens of which the highest is looked for first: partitioning a whole vocabulary takes ten times as long."""

Head = Callable[[mx.array], mx.array]
"""Hidden states [P, D] to logits [P, V]."""


def of_drawn(token: int, values: npt.NDArray[np.float32], top: int) -> TokenLogprob:
    """A drawn token's, from the logprobs [V] it was drawn by, with the `top` best at its place."""
    some = np.argpartition(-values, top)[:top]  # sorting a vocabulary of 151,936 whole takes 12 ms
    return TokenLogprob(token, float(values[token]), _best_first(some.tolist(), values[some].tolist()))


def of_prompt(head: Head, hidden: mx.array, targets: Sequence[int], top: int) -> list[TokenLogprob]:
    """Of each target the logprob after the hidden state [_, D] at its place, with the `top` best there."""
    scored: list[TokenLogprob] = []
    for start in range(0, len(targets), AT_ONCE):
        now = targets[start : start + AT_ONCE]
        scored += _scored(head(hidden[start : start + len(now)]), now, top)
    return scored


def _scored(logits: mx.array, targets: Sequence[int], top: int) -> list[TokenLogprob]:
    logits = logits.astype(mx.float32)
    total = _total(logits)
    own = mx.take_along_axis(logits, mx.array(list(targets))[:, None], axis=-1) - total
    best = _best(logits, top)
    values = mx.take_along_axis(logits, best, axis=-1) - total
    mx.eval(own, best, values)
    return [
        TokenLogprob(target, logprob, _best_first(some, theirs))
        for target, logprob, some, theirs in zip(
            targets, *(np.array(one).tolist() for one in (own[:, 0], best, values)), strict=True
        )
    ]


def _total(logits: mx.array) -> mx.array:
    """The logarithm of the sum of each row's exponentials, [P, 1]; on a CPU by numpy, in a fifth of MLX's time."""
    if device.current().kind != "cpu":
        return mx.logsumexp(logits, axis=-1, keepdims=True)
    values = np.array(logits, copy=False)
    most = values.max(axis=-1, keepdims=True)
    return mx.array(most + np.log(np.exp(values - most).sum(axis=-1, keepdims=True)))


def _best(logits: mx.array, top: int) -> mx.array:
    """Tokens [P, top] with the highest logits, in no order: they are in the `top` blocks with the highest maxima."""
    if top <= 1:
        return mx.argmax(logits, axis=-1, keepdims=True)[:, :top]
    rows, vocabulary = logits.shape
    blocks = mx.pad(logits, [(0, 0), (0, -vocabulary % BLOCK)], constant_values=-mx.inf).reshape(rows, -1, BLOCK)
    chosen = _highest(blocks.max(axis=-1), top)
    inside = mx.take_along_axis(blocks, chosen[:, :, None], axis=1).reshape(rows, -1)
    place = _highest(inside, top)
    return mx.take_along_axis(chosen, place // BLOCK, axis=-1) * BLOCK + place % BLOCK


def _highest(values: mx.array, count: int) -> mx.array:
    """Places [P, count] of the highest of [P, N], all where there are no more."""
    count = min(count, values.shape[-1])
    return mx.argpartition(-values, count - 1, axis=-1)[:, :count]


def _best_first(tokens: Sequence[int], logprobs: Sequence[float]) -> tuple[tuple[int, float], ...]:
    return tuple(sorted(zip(tokens, logprobs, strict=True), key=lambda one: (-one[1], one[0])))
