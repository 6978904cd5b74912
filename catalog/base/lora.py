"""LoRA and DoRA on a base: which linear layers there are, and reading an adapter so that a bad one is never loaded.

An adapter file is checked from the outside in: config, container (safetensors refuses overlapping tensors, which
`mx.load` accepts), names, shapes and kinds against the base, then that every number is finite; each refusal names the
tensor. It is read with numpy, so any thread may do it while another one owns MLX. Names are mlx-lm's:
`model.layers.0.self_attn.q_proj.lora_a` [in, rank], `.lora_b` [rank, out].
Sources: Hu et al., LoRA, 2021: y = W x + (alpha / rank) B A x. Liu et al., DoRA, 2024: each output of that times
m / |W + (alpha / rank) B A|, with a learned m (`.m` [out]) and the length of that output's weights.
`tests/catalog/base/test_lora.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from catalog import tensors
from catalog.adapters import WEIGHTS_FILE, AdapterConfig, content_id, read_config
from catalog.base import blas
from catalog.errors import InvalidAdapter, InvalidRequest
from catalog.ids import AdapterId
from catalog.settings import LoraKind
from catalog.tensors import Matrix, Tensor, check_float

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx.utils import tree_unflatten  # noqa: E402
from mlx_lm.tuner.dora import DoRALinear  # noqa: E402
from mlx_lm.tuner.lora import LoRALinear  # noqa: E402
from mlx_lm.tuner.utils import linear_to_lora_layers  # noqa: E402

PARTS: Mapping[str, tuple[str, ...]] = {"lora": ("lora_a", "lora_b"), "dora": ("lora_a", "lora_b", "m")}
"""What an adapter of each kind holds for a layer, in mlx-lm's naming."""


@dataclass(frozen=True, slots=True)
class LinearShape:
    """A linear layer that can be adapted: inputs and outputs."""

    inputs: int
    outputs: int


@dataclass(frozen=True, slots=True)
class Adapter:
    """A checked adapter in memory: by layer, A [in, rank] and B [rank, out], float32, the scale folded into B."""

    adapter_id: AdapterId
    rank: int
    pairs: Mapping[str, tuple[Matrix, Matrix]]
    magnitudes: Mapping[str, Matrix] = field(default_factory=dict)
    """Of a DoRA adapter: by layer, how long the weights of each output become [out]."""


def linear_shapes(model: nn.Module) -> dict[str, LinearShape]:
    """Every linear layer inside the model's blocks, by its full path."""
    shapes = {}
    for path, module in model.named_modules():
        if ".layers." in f".{path}" and isinstance(module, nn.Linear | nn.QuantizedLinear):
            outputs, inputs = module.weight.shape
            if isinstance(module, nn.QuantizedLinear):
                inputs = inputs * 32 // module.bits
            shapes[path] = LinearShape(inputs, outputs)
    return shapes


def read_adapter(folder: Path, shapes: Mapping[str, LinearShape]) -> Adapter:
    """Read and check an adapter for a base with these layers; raises InvalidAdapter naming the tensor at fault."""
    config = read_config(folder)
    if config.fine_tune_type not in PARTS:
        raise InvalidAdapter(f"{folder.name} is a {config.fine_tune_type!r} adapter; {', '.join(PARTS)} can be served.")
    found = tensors.read(folder / WEIGHTS_FILE)
    _check_against_base(found, config.lora_parameters.rank, shapes, PARTS[config.fine_tune_type])
    numbers = {name: tensor.to_float32() for name, tensor in found.items()}
    for name, values in numbers.items():
        if not np.isfinite(values).all():
            raise InvalidAdapter(f"{name} holds numbers that are not finite.", tensor=name)
    layers = [name.removesuffix(".lora_a") for name in numbers if name.endswith(".lora_a")]
    scale = np.float32(config.lora_parameters.scale)
    pairs = {layer: (numbers[f"{layer}.lora_a"], numbers[f"{layer}.lora_b"] * scale) for layer in layers}
    magnitudes = {layer: numbers[f"{layer}.m"] for layer in layers if f"{layer}.m" in numbers}
    return Adapter(content_id(folder), config.lora_parameters.rank, pairs, magnitudes)


def _check_against_base(
    found: Mapping[str, Tensor], rank: int, shapes: Mapping[str, LinearShape], parts: tuple[str, ...]
) -> None:
    for name, tensor in found.items():
        layer, _, part = name.rpartition(".")
        if layer not in shapes or part not in parts:
            raise InvalidAdapter(f"{name} fits no layer of the base.", tensor=name)
        shape = shapes[layer]
        expected = {"lora_a": (shape.inputs, rank), "lora_b": (rank, shape.outputs), "m": (shape.outputs,)}[part]
        if tensor.shape != expected:
            raise InvalidAdapter(
                f"{name} has shape {tensor.shape}; the base and rank {rank} need {expected}.", tensor=name
            )
        check_float(name, tensor)
        for twin in (f"{layer}.{other}" for other in parts):
            if twin not in found:
                raise InvalidAdapter(f"{twin} is missing beside {name}.", tensor=twin)


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """How a base is adapted for training; `target_modules` are last names such as `q_proj`, `kind` lora or dora."""

    rank: int
    alpha: float
    dropout: float
    target_modules: tuple[str, ...]
    kind: LoraKind = "lora"


def add_lora(model: nn.Module, settings: LoraSettings, seed: int) -> AdapterConfig:
    """Freeze the base and put trainable LoRA or DoRA on the targets of every block; A from `seed`, B zero.

    Returns the config that mlx-lm reads. Raises InvalidRequest when a target is no layer of this base.
    """
    blocks = len(model.layers)
    keys = sorted({path.split(".layers.")[1].partition(".")[2] for path in linear_shapes(model)})
    chosen = [key for key in keys if key.rpartition(".")[2] in settings.target_modules]
    known = {key.rpartition(".")[2] for key in keys}
    if unknown := sorted(set(settings.target_modules) - known):
        raise InvalidRequest(
            f"The base has no layer {', '.join(unknown)}.",
            hint=f"It has {', '.join(sorted(known))}.",
            param="lora_target_modules",
        )
    parameters = {
        "rank": settings.rank,
        "scale": settings.alpha / settings.rank,
        "dropout": settings.dropout,
        "keys": chosen,
    }
    model.freeze()
    mx.random.seed(seed)
    linear_to_lora_layers(model, blocks, parameters, use_dora=settings.kind == "dora")
    document = {"fine_tune_type": settings.kind, "num_layers": blocks, "lora_parameters": parameters}
    return AdapterConfig.model_validate(document)


def remove_adapter(model: nn.Module) -> dict[str, nn.Module]:
    """Leave the bare base; returns the adapted layers that were taken off, by path."""
    worn = {path: module for path, module in model.named_modules() if isinstance(module, LoRALinear | DoRALinear)}
    model.update_modules(tree_unflatten([(path, layer.linear) for path, layer in worn.items()]))
    return worn


@contextmanager
def without_adapter(model: nn.Module) -> Iterator[None]:
    """The bare base for the length of the block; the same layers come back."""
    worn = remove_adapter(model)
    try:
        yield
    finally:
        model.update_modules(tree_unflatten(list(worn.items())))
