"""An adapter folded into its base's weights: a model folder that needs no adapter any more.

Each adapted layer is computed in float32 and then kept as the base keeps its floats. What that rounding does to the
adapter is measured: the error of the stored effect relative to the true one, over all adapted layers together.
Quantising again rounds to steps far larger than most adapters (4 bits, an effect of 1 % of the weights: error 3), so
that an adapter which would be lost is refused; where the base's own floats would lose it, float32 is kept. The arrays
belong to the calling thread. `tests/catalog/base/test_fuse.py`.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from catalog import files
from catalog.base import blas
from catalog.base.lora import linear_shapes, read_adapter
from catalog.errors import InvalidAdapter, InvalidRequest

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx.utils import tree_unflatten  # noqa: E402
from mlx_lm.utils import dequantize_model, load_adapters, load_model, save_config, save_model  # noqa: E402

MOST_ERROR = 0.5
"""Beyond it less than half of the adapter's effect is what was learned."""
_TOKENIZER_FILES = (
    "tokenizer*", "chat_template*", "generation_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab*", "merges.txt", "*.tiktoken",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Loss:
    """What storing did to the adapter. Norms are Frobenius, over all adapted layers."""

    error: float
    """Norm of (stored effect - true effect) by the norm of the true effect."""
    share: float
    """Norm of the true effect by the norm of the weights that it changes."""

    def in_words(self) -> str:
        return f"relative error of the adapter's effect {self.error:.2g}, an effect of {self.share:.1%} of the weights"


def fuse(base: Path, adapter: Path, target: Path, *, quantised: bool = False) -> Loss:
    """Write the fused model to `target`, atomically, in mlx-lm's layout; floats unless `quantised` as the base is.

    Raises InvalidAdapter for one that does not fit, InvalidRequest when storing would erase it.
    """
    model, config = load_model(base, lazy=True)
    read_adapter(adapter, linear_shapes(model))
    load_adapters(model, str(adapter))
    fused = _fused(model, quantised=quantised)
    if quantised and fused.loss.error > MOST_ERROR:
        raise InvalidRequest(
            f"Quantising the fused weights would erase the adapter: {fused.loss.in_words()}; at most {MOST_ERROR} "
            "is let pass.",
            hint="Leave it dequantised, or export the adapter itself.",
            param="quantised",
            code="adapter_erased",
        )
    needs_float32 = fused.loss.error > MOST_ERROR
    if needs_float32:
        fused = _fused(model, quantised=False, floats=mx.float32)
    model.update_modules(tree_unflatten(fused.layers))
    if not quantised:
        dequantize_model(model)
        config.pop("quantization", None)
        config.pop("quantization_config", None)
    if needs_float32:
        model.set_dtype(mx.float32)
    with files.staged_folder(target) as staging:
        save_model(staging, model)
        save_config(config, staging / "config.json")
        for pattern in _TOKENIZER_FILES:
            for path in base.glob(pattern):
                shutil.copyfile(path, staging / path.name)
    return fused.loss


@dataclass(frozen=True, slots=True)
class _Fused:
    """Plain layers for those that are adapted, by name, and what that does to the adapter."""

    layers: list[tuple[str, nn.Module]]
    loss: Loss


def _fused(model: nn.Module, *, quantised: bool, floats: mx.Dtype | None = None) -> _Fused:
    """Fold every adapted layer; `floats` None keeps the base's own."""
    layers, missing, wanted, weights = [], 0.0, 0.0, 0.0
    for name, module in model.named_modules():
        if not hasattr(module, "fuse"):
            continue
        before = _weight(module.linear)
        true = _true_weight(module, before)
        stored = _stored(module.linear, true, quantised, floats)
        missing += _square(_weight(stored) - true)
        wanted += _square(true - before)
        weights += _square(before)
        layers.append((name, stored))
    if not wanted:
        raise InvalidAdapter("The adapter changes nothing of this base.")
    return _Fused(layers, Loss(math.sqrt(missing / wanted), math.sqrt(wanted / weights)))


def _weight(layer: nn.Module) -> mx.array:
    """A linear layer's weight in float32."""
    whole: mx.array = layer.weight
    if isinstance(layer, nn.QuantizedLinear):
        packed = (layer.weight, layer.scales, layer.biases)
        whole = mx.dequantize(*packed, group_size=layer.group_size, bits=layer.bits, mode=layer.mode)
    return whole.astype(mx.float32)


def _true_weight(module: nn.Module, before: mx.array) -> mx.array:
    """The fused weight as mlx-lm defines it for the kind of adapter, in float32."""
    outputs, inputs = before.shape
    plain = nn.Linear(inputs, outputs, bias=False)
    plain.weight = before
    kept, module.linear = module.linear, plain
    fused: mx.array = module.fuse().weight
    module.linear = kept
    return fused


def _stored(layer: nn.Module, weight: mx.array, quantised: bool, floats: mx.Dtype | None) -> nn.Module:
    """A linear layer with `weight` in the kind of numbers that the base uses, or in `floats`."""
    outputs, inputs = weight.shape
    is_quantised = isinstance(layer, nn.QuantizedLinear)
    own: mx.Dtype = layer.scales.dtype if is_quantised else layer.weight.dtype
    stored: nn.Module = nn.Linear(inputs, outputs, bias="bias" in layer)
    stored.weight = weight.astype(floats or own)
    if "bias" in layer:
        stored.bias = layer.bias
    if quantised and is_quantised:
        stored = nn.QuantizedLinear.from_linear(stored, layer.group_size, layer.bits, mode=layer.mode)
    mx.eval(stored.parameters())
    return stored


def _square(values: mx.array) -> float:
    return mx.sum(values * values).item()  # type: ignore[return-value]
