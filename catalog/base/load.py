"""Loads a base for serving or training: architecture and weights through mlx-lm, in the precision its device likes.

On a CPU, quantised and 16-bit kernels are tens to hundreds of times slower than float32 (MEASURED: 4096 x 4096 matrix
by vector, 8 ms in float32, 150 ms in bf16, 715 ms in fp16), so a base is dequantised to float32 there if memory
allows. The arrays belong to the thread that calls `load`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.base import blas, device, locate
from catalog.errors import Unavailable
from catalog.ids import BaseId

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx.utils import tree_flatten  # noqa: E402
from mlx_lm.tokenizer_utils import TokenizerWrapper  # noqa: E402
from mlx_lm.utils import dequantize_model, load_model, load_tokenizer  # noqa: E402

FLOAT32_MEMORY_SHARE = 0.6


@dataclass(slots=True)
class Base:
    """A base in memory. `context` in tokens, `parameters` counted unpacked, `precision` in words."""

    base: BaseId
    model: nn.Module
    tokenizer: TokenizerWrapper
    config: dict[str, Any]
    context: int
    parameters: int
    precision: str
    generation: dict[str, Any]
    """The base's generation_config.json; empty where it has none."""


def load(base: BaseId, folder: Path, *, cpu_float32: bool = True) -> Base:
    """Read weights and tokenizer from `folder`; raises Unavailable saying which file is at fault."""
    try:
        model, config = load_model(folder)
        tokenizer = load_tokenizer(folder, eos_token_ids=config.get("eos_token_id"))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise Unavailable(
            f"The base {base} in {folder.name} cannot be loaded: {error}",
            hint="Its download may be incomplete; fetch it again.",
        ) from error
    precision = _to_cpu_precision(model) if cpu_float32 and device.current().kind == "cpu" else _precision(model)
    model.eval()
    mx.eval(model.parameters())
    parameters = _count(model)
    context = int(config.get("max_position_embeddings", 4096))
    return Base(base, model, tokenizer, config, context, parameters, precision, _generation_config(folder))


def bytes_in_memory(base: BaseId, folder: Path, *, cpu_float32: bool = True) -> int:
    """What `load` will take, told without loading; raises Unavailable."""
    try:
        widened_bytes = 4 * locate.size_of(folder).parameters
        stored_bytes = sum(path.stat().st_size for path in folder.glob("model*.safetensors"))
    except (OSError, ValueError, KeyError) as error:
        raise Unavailable(f"The base {base} in {folder.name} cannot be read: {error}") from error
    widens = cpu_float32 and device.current().kind == "cpu" and _may_widen(widened_bytes)
    return widened_bytes if widens else stored_bytes


def _generation_config(folder: Path) -> dict[str, Any]:
    path = folder / "generation_config.json"
    document = json.loads(path.read_bytes()) if path.is_file() else {}
    return document if isinstance(document, dict) else {}


def _to_cpu_precision(model: nn.Module) -> str:
    before = _precision(model)
    needed_bytes = 4 * _count(model)
    if not _may_widen(needed_bytes):
        return f"{before} (float32 would need {needed_bytes / 1e9:.1f} GB)"
    dequantize_model(model)
    model.set_dtype(mx.float32)
    return "float32" if before == "float32" else f"float32 (stored as {before})"


def _may_widen(needed_bytes: int) -> bool:
    return needed_bytes <= FLOAT32_MEMORY_SHARE * device.current().memory_bytes


def _precision(model: nn.Module) -> str:
    for module in model.modules():
        if isinstance(module, nn.QuantizedLinear):
            return f"{module.bits}-bit"
    kinds = {str(value.dtype).rpartition(".")[2] for _, value in tree_flatten(model.parameters())}
    return "/".join(sorted(kinds))


def _count(model: nn.Module) -> int:
    total = 0
    for module in model.modules():
        own = {name: value for name, value in module.items() if isinstance(value, mx.array)}
        if "scales" in own:
            total += own["weight"].size * 32 // module.bits
        else:
            total += sum(value.size for value in own.values())
    return total
