"""Attention as a CPU computes it fastest, and a last block that computes only what the next token needs.

What MLX's CPU build leaves on the table: softmax's `exp` goes number by number (12 ns of every score; libm's `powf`
takes 4.4), every head of a group multiplies its keys and values in a call of its own (three times the calls at three
heads a group), and each layer makes the angles of the same positions again. All of it equals mlx-lm's own to float32's
last digits: `tests/gateway/engine/test_cpu_attention.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from catalog.base import blas

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx_lm.models import llama, qwen2, qwen3  # noqa: E402
from mlx_lm.models.base import create_causal_mask  # noqa: E402

ATTENTIONS = (llama.Attention, qwen2.Attention, qwen3.Attention)
BLOCKS = (llama.TransformerBlock, qwen2.TransformerBlock, qwen3.TransformerBlock)
LEAST = mx.finfo(mx.float32).min
LEAST_EXPONENT = -87.0
"""exp of it is float32's smallest normal number, or nearly."""
Turns = tuple[mx.array, mx.array]
"""Cosines and sines [B or 1, L, 1, D] of positions."""


def fit(model: nn.Module) -> Pass | None:
    """Give a model of plain Llama or Qwen blocks in float32 these, in place, and return what they share; else None."""
    blocks = getattr(getattr(model, "model", None), "layers", [])
    if not blocks or not all(_is_plain(block) for block in blocks):
        return None
    shared = Pass(blocks[0].self_attn.rope)
    for place, block in enumerate(blocks):
        block.self_attn = Attention(block.self_attn, shared, is_first=place == 0)
    blocks[-1] = LastBlock(blocks[-1], shared)
    return shared


def _is_plain(block: Any) -> bool:
    if type(block) not in BLOCKS or type(block.self_attn.q_proj) is not nn.Linear:
        return False
    attention, rope = block.self_attn, block.self_attn.rope
    outputs, _ = attention.q_proj.weight.shape
    turns_all = type(rope) is nn.RoPE and not rope.traditional and rope.dims == outputs // attention.n_heads
    return turns_all and attention.q_proj.weight.dtype == mx.float32


class Pass:
    """What the layers of one model share while a forward pass is under way."""

    def __init__(self, rope: Any) -> None:
        self._frequencies = mx.array([rope.base ** (-2 * i / rope.dims) for i in range(rope.dims // 2)]) * rope.scale
        self.ends: mx.array | None = None
        """The position of each row [B] that the last block computes; all of every row where there is none."""
        self.turns: Turns

    @contextmanager
    def of_ends(self, ends: mx.array) -> Iterator[None]:
        """Let the last block compute these positions only."""
        self.ends = ends
        try:
            yield
        finally:
            self.ends = None

    def begin(self, offset: int | mx.array, length: int) -> None:
        """Let the pass be over so many positions from the rows' offset [B], or that of all."""
        positions = mx.array(offset).reshape(-1, 1) + mx.arange(length)
        angles = positions[..., None, None] * self._frequencies
        cos, sin = mx.cos(angles), mx.sin(angles)
        self.turns = mx.concatenate([cos, cos], axis=-1), mx.concatenate([-sin, sin], axis=-1)


class Attention(nn.Module):  # type: ignore[misc]
    """Grouped attention with rotary positions, as Llama and Qwen have it."""

    def __init__(self, attention: Any, shared: Pass, is_first: bool) -> None:
        super().__init__()
        _take_over(self, attention)
        self._pass, self._is_first = shared, is_first

    def __call__(
        self, x: mx.array, mask: mx.array | str | None = None, cache: Any = None, ends: mx.array | None = None
    ) -> mx.array:
        """As mlx-lm's; with `ends` [B] of these positions only, [B, 1, D]."""
        rows, length, _ = x.shape
        if self._is_first:
            self._pass.begin(cache.offset if cache is not None else 0, length)
        turns = self._pass.turns
        keys = turned(self._split(self.k_proj(x), self.n_kv_heads, "k_norm"), turns).swapaxes(1, 2)
        values = self.v_proj(x).reshape(rows, length, self.n_kv_heads, -1).swapaxes(1, 2)
        if cache is not None:
            keys, values = cache.update_and_fetch(keys, values)
        allowed = create_causal_mask(length, keys.shape[2] - length) if isinstance(mask, str) else mask
        if ends is not None:
            x, turns = at(x, ends), (at(turns[0], ends), at(turns[1], ends))
            allowed = None if allowed is None else at(allowed.reshape(-1, *allowed.shape[-2:]), ends)[:, None]
        queries = turned(self._split(self.q_proj(x), self.n_heads, "q_norm"), turns).swapaxes(1, 2)
        attended = attend(queries, keys, values, allowed, self.scale)
        y: mx.array = self.o_proj(attended.swapaxes(1, 2).reshape(rows, x.shape[1], -1))
        return y

    def _split(self, x: mx.array, heads: int, norm: str) -> mx.array:
        """[B, L, heads, D], normed where the model norms them."""
        x = x.reshape(*x.shape[:2], heads, -1)
        return self[norm](x) if norm in self else x


class LastBlock(nn.Module):  # type: ignore[misc]
    """The last block of a model: of prompts only their ends go on to the head, so no more than these are computed."""

    def __init__(self, block: Any, shared: Pass) -> None:
        super().__init__()
        _take_over(self, block)
        self._pass = shared

    def __call__(self, x: mx.array, mask: mx.array | str | None = None, cache: Any = None) -> mx.array:
        ends = self._pass.ends
        attended = self.self_attn(self.input_layernorm(x), mask, cache, ends)
        hidden = (x if ends is None else at(x, ends)) + attended
        y: mx.array = hidden + self.mlp(self.post_attention_layernorm(hidden))
        return y


def at(x: mx.array, ends: mx.array) -> mx.array:
    """x [B or 1, L, ...] at one position of each row [B]: [B, 1, ...]."""
    return x[mx.arange(ends.size) if x.shape[0] > 1 else 0, ends][:, None]


def _take_over(new: nn.Module, old: nn.Module) -> None:
    """Give a module all that another has: its numbers and modules lie in the dictionary that it is."""
    vars(new).update(vars(old))
    dict.update(new, old)


def turned(x: mx.array, turns: Turns) -> mx.array:
    """x [B, L, heads, D] with each pair (i, i + D / 2) turned by its position's angle (Su et al., RoFormer, 2021)."""
    cos, sin = turns
    return x * cos + mx.roll(x, x.shape[-1] // 2, -1) * sin


def attend(queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array | None, scale: float) -> mx.array:
    """Queries [B, heads, L, D] over keys and values [B, groups, T, D]; the heads of a group in one product."""
    rows, heads, length, size = queries.shape
    groups, total = keys.shape[1:3]
    scores = queries.reshape(rows, groups, -1, size) @ keys.swapaxes(-1, -2)
    if mask is not None:
        scores = mx.where(mask, scores.reshape(rows, heads, length, total), LEAST).reshape(rows, groups, -1, total)
    weights = _weights(scores, mx.max(scores, axis=-1, keepdims=True), scale)
    attended = (weights @ values) / mx.sum(weights, axis=-1, keepdims=True)
    return attended.reshape(rows, heads, length, -1)


@partial(mx.compile, shapeless=True)
def _weights(scores: mx.array, best: mx.array, scale: float) -> mx.array:
    """exp(scale (scores - best)); where it is as good as 0 libm would take a slow way."""
    return mx.power(math.e, mx.maximum((scores - best) * scale, LEAST_EXPONENT))
