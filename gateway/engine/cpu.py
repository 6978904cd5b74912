"""A base's layers as a CPU computes them fastest; same weights, paths and mathematics, rounded otherwise.

What MLX's CPU build leaves on the table, measured at 100 M parameters on two cores: its `exp` goes number by number (17
ns of every swiglu's numbers; a quotient of polynomials, which a compiler turns into vectors, takes 1.7), its sums take
half of every norm, and OpenBLAS copies a whole weight before it multiplies few rows by it (57 ms of processor time a
token, 38 in blocks). Attention is `cpu_attention.py`'s.
`tests/gateway/engine/test_cpu.py`: all equal mlx-lm's own to float32's last digits.
"""

from __future__ import annotations

from math import prod
from typing import Any

from catalog.base import blas, device
from gateway.engine import cpu_attention

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx.utils import tree_unflatten  # noqa: E402
from mlx_lm.models import llama, qwen2, qwen3  # noqa: E402

WORTH_CUTTING = 1 << 19
"""Numbers in a weight; smaller ones stay in the processor's cache, where a copy costs nothing."""
UNCOPIED_PRODUCTS, UNCOPIED_OUTPUTS = 1_000_000, 1_200
"""OpenBLAS multiplies without copying below these (rows x outputs x inputs, rows x outputs), on one thread."""
LARGE_BLOCK = 64
"""Outputs from which on a block's size makes no difference; one row by blocks of one takes three times the whole."""
ROWS_IN_BLOCKS = {1: 16, 2: 4}
"""Up to how many rows blocks win, by BLAS's threads; more than two threads copy faster than one reads."""
SWIGLU_MLPS = (llama.MLP, qwen2.MLP, qwen3.MLP)

TANH_LIMIT = 7.90531110763549805
"""Where float32's tanh is 1."""
TANH_ABOVE = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
TANH_BELOW = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
"""tanh x = x P(x^2) / Q(x^2), highest power first: Eigen's coefficients (MathFunctionsImpl.h, ptanh_float)."""


def fit(model: nn.Module) -> cpu_attention.Pass | None:
    """Give a float32 base on a CPU these layers, in place; any other model stays as it is.

    Returns what a forward pass is told by, None where its last block cannot be told which positions matter.
    """
    if device.current().kind != "cpu":
        return None
    shared = cpu_attention.fit(model)
    for quicker in (_quicker_norm, _quicker_mlp, _quicker_matrix):  # the linear layers inside an MLP after itself
        new = [(path, better) for path, module in model.named_modules() if (better := quicker(module)) is not None]
        model.update_modules(tree_unflatten(new))
    return shared


class BlockedLinear(nn.Linear):  # type: ignore[misc]
    """A linear layer that few rows meet block by block."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.weight = linear.weight
        if "bias" in linear:
            self.bias = linear.bias
        self._blocks = Blocks(linear.weight)

    def __call__(self, x: mx.array) -> mx.array:
        y = self._blocks.product(x)
        return y + self.bias if "bias" in self else y


class BlockedEmbedding(nn.Embedding):  # type: ignore[misc]
    """An embedding whose matrix is the output layer too."""

    def __init__(self, embedding: nn.Embedding) -> None:
        nn.Module.__init__(self)
        self.weight = embedding.weight
        self._blocks = Blocks(embedding.weight)

    def as_linear(self, x: mx.array) -> mx.array:
        return self._blocks.product(x)


class ProductNorm(nn.RMSNorm):  # type: ignore[misc]
    """RMSNorm whose sums are a matrix product."""

    def __init__(self, norm: nn.RMSNorm) -> None:
        nn.Module.__init__(self)
        self.weight, self.eps = norm.weight, norm.eps
        self._mean = mx.full((norm.weight.size, 1), 1 / norm.weight.size)

    def __call__(self, x: mx.array) -> mx.array:
        y: mx.array = x * mx.rsqrt((x * x) @ self._mean + self.eps) * self.weight
        return y


class Swiglu(nn.Module):  # type: ignore[misc]
    """The gated MLP of Llama and Qwen."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = mlp.gate_proj, mlp.up_proj, mlp.down_proj

    def __call__(self, x: mx.array) -> mx.array:
        y: mx.array = self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))
        return y


class Blocks:
    """A weight [outputs, inputs] in equal blocks of outputs and what is left of them, each small enough for so many
    rows; views, no copies."""

    def __init__(self, weight: mx.array) -> None:
        self._weight = weight
        self._by_rows: dict[int, tuple[mx.array, mx.array]] = {}

    def product(self, x: mx.array) -> mx.array:
        """x [..., inputs] times the weight's transpose; of the whole weight where BLAS does better so."""
        rows = prod(x.shape[:-1])
        if rows > ROWS_IN_BLOCKS.get(blas.threads(), 0):
            return x @ self._weight.T
        if rows not in self._by_rows:
            self._by_rows[rows] = self._cut(rows)
        blocks, rest = self._by_rows[rows]
        flat = x.reshape(rows, -1)
        y = (flat[None] @ blocks).swapaxes(0, 1).reshape(rows, -1)
        if rest.size:
            y = mx.concatenate([y, flat @ rest], axis=-1)
        return y.reshape(*x.shape[:-1], -1)

    def _cut(self, rows: int) -> tuple[mx.array, mx.array]:
        """[blocks, inputs, outputs of each] and [inputs, outputs left], none where a large block's size divides all."""
        outputs, inputs = self._weight.shape
        most = min(outputs, max(1, min(UNCOPIED_PRODUCTS // (rows * inputs), UNCOPIED_OUTPUTS // rows)))
        size = next((size for size in range(most, LARGE_BLOCK - 1, -1) if outputs % size == 0), most)
        whole = outputs - outputs % size
        return self._weight[:whole].reshape(-1, size, inputs).swapaxes(1, 2), self._weight[whole:].T


def swiglu(gate: mx.array, x: mx.array) -> mx.array:
    """silu(gate) * x, with the logistic function made of tanh."""
    return _swiglu(gate.reshape(-1), x.reshape(-1)).reshape(x.shape)


@mx.compile
def _swiglu(gate: mx.array, x: mx.array) -> mx.array:
    """Compiled once for each size, of which there are no more than a step reads tokens (25 KB and 0.1 ms each): what is
    compiled for all takes seven passes in place of four, and twice the time."""
    half = 0.5 * gate
    return half * (1 + _tanh(half)) * x


def _tanh(x: mx.array) -> mx.array:
    x = mx.minimum(mx.maximum(x, -TANH_LIMIT), TANH_LIMIT)
    square = x * x
    return x * _polynomial(square, TANH_ABOVE) / _polynomial(square, TANH_BELOW)


def _polynomial(x: mx.array, coefficients: tuple[float, ...]) -> mx.array:
    first, second, *rest = coefficients
    y = x * first + second
    for coefficient in rest:
        y = y * x + coefficient
    return y


def _quicker_norm(module: nn.Module) -> nn.Module | None:
    return ProductNorm(module) if type(module) is nn.RMSNorm and module.weight.dtype == mx.float32 else None


def _quicker_mlp(module: nn.Module) -> nn.Module | None:
    return Swiglu(module) if type(module) in SWIGLU_MLPS and _is_float32(module.gate_proj) else None


def _quicker_matrix(module: nn.Module) -> nn.Module | None:
    if not _is_float32(module) or module.weight.size < WORTH_CUTTING:
        return None
    return BlockedLinear(module) if type(module) is nn.Linear else BlockedEmbedding(module)


def _is_float32(module: nn.Module) -> bool:
    return type(module) in (nn.Linear, nn.Embedding) and module.weight.dtype == mx.float32
