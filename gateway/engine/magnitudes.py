"""DoRA in slots: the factor by which a layer's outputs are multiplied for each slot's adapter.

A DoRA layer is LoRA whose every output is m / |W + B A| times as strong (Liu et al., 2024). W does not change while it
is served, so the factor is computed once, when the adapter is written into its slot. Without a resident DoRA adapter
nothing is computed, and in a batch where some row has one the others are multiplied by 1.
`tests/gateway/engine/test_dora.py`: equal to mlx-lm's own DoRA run alone.
"""

from __future__ import annotations

from catalog.base import blas

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402


class Magnitudes:
    """What one linear layer's outputs are multiplied by, slot by slot."""

    def __init__(self, linear: nn.Module) -> None:
        self._linear = linear
        self._factors: dict[int, mx.array] = {}
        self._stack: mx.array | None = None

    def write(self, slot: int, pair: tuple[mx.array, mx.array] | None, magnitude: mx.array | None) -> list[mx.array]:
        """Take a slot's adapter, or none of this kind; returns what must be evaluated."""
        self._factors.pop(slot, None)
        self._stack = None
        if pair is None or magnitude is None:
            return []
        a, b = pair
        adapted = _weight(self._linear) + b.T @ a.T
        self._factors[slot] = magnitude / mx.linalg.norm(adapted, axis=1)
        return [self._factors[slot]]

    def apply(self, y: mx.array, route: int | mx.array) -> mx.array:
        """Outputs [B, L, out] of rows in one slot, or each in its own [B]."""
        if not self._factors:
            return y
        if isinstance(route, int):
            if route not in self._factors:
                return y
            factor = self._factors[route]
        else:
            stack = self._stacked()
            factor = stack[mx.where(route < stack.shape[0], route, 0)][:, None, :]
        factor = factor.astype(y.dtype)
        scaled = y * factor
        return scaled + (1 - factor) * self._linear.bias if "bias" in self._linear else scaled

    def _stacked(self) -> mx.array:
        """[slots, out] up to the last slot that has a factor; 1 where there is none, as in slot 0."""
        if self._stack is None:
            plain = mx.ones_like(next(iter(self._factors.values())))
            self._stack = mx.stack([self._factors.get(slot, plain) for slot in range(1 + max(self._factors))])
            mx.eval(self._stack)
        return self._stack


def _weight(linear: nn.Module) -> mx.array:
    if not isinstance(linear, nn.QuantizedLinear):
        return linear.weight  # type: ignore[no-any-return]
    packed = (linear.weight, linear.scales, linear.biases)
    return mx.dequantize(*packed, group_size=linear.group_size, bits=linear.bits, mode=linear.mode)
