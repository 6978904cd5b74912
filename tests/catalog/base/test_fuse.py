"""A fused model answers as the adapter does, and one that would have lost the adapter is not written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import load_adapters, load_model, quantize_model, save_config, save_model

from catalog.base.fuse import MOST_ERROR, fuse
from catalog.base.load import load
from catalog.errors import InvalidAdapter, InvalidRequest
from catalog.ids import BaseId
from tests.tiny_base import TOKENIZER_FILES, write_adapter, write_base

TOKENS = mx.array([[5, 17, 99, 3, 250, 7, 42, 11]])
KEYS = ("self_attn.q_proj", "mlp.down_proj")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("fuse") / "base")


@pytest.fixture(scope="module")
def in_4_bits(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuse") / "4-bit"
    model, config = load_model(base)
    model.set_dtype(mx.bfloat16)
    model, config = quantize_model(model, config, group_size=64, bits=4)
    save_model(folder, model)
    save_config(config, folder / "config.json")
    for name in TOKENIZER_FILES:
        (folder / name).write_bytes((base / name).read_bytes())
    return folder


def adapter(folder: Path, base: Path, size: float, kind: str = "lora") -> Path:
    return write_adapter(folder, base, seed=3, keys=KEYS, size=size, kind=kind)


def logits(folder: Path, adapter: Path | None = None) -> np.ndarray:
    """Of mlx-lm's own loader."""
    model, _ = load_model(folder)
    if adapter is not None:
        load_adapters(model, str(adapter))
    return np.array(model(TOKENS).astype(mx.float32))


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_the_fused_model_is_the_base_with_the_adapter(base: Path, tmp_path: Path, kind: str) -> None:
    made = adapter(tmp_path / "adapter", base, 0.2, kind)
    loss = fuse(base, made, tmp_path / "fused")
    assert np.abs(logits(tmp_path / "fused") - logits(base, made)).max() < 1e-4
    assert np.abs(logits(base, made) - logits(base)).max() > 0.1
    assert loss.error < 1e-6 and loss.share > 0.01
    assert load(BaseId("fused"), tmp_path / "fused").tokenizer.encode("hello")


def test_a_quantised_base_is_fused_into_floats_and_keeps_the_adapter(in_4_bits: Path, tmp_path: Path) -> None:
    made = adapter(tmp_path / "adapter", in_4_bits, 0.05)
    loss = fuse(in_4_bits, made, tmp_path / "fused")
    model, config = load_model(tmp_path / "fused")
    assert "quantization" not in config
    assert not any(isinstance(module, nn.QuantizedLinear | nn.QuantizedEmbedding) for module in model.modules())
    assert loss.error < 0.2
    effect = np.abs(logits(in_4_bits, made) - logits(in_4_bits)).max()
    assert np.abs(logits(tmp_path / "fused") - logits(in_4_bits, made)).max() < effect / 3


def test_quantising_again_is_refused_when_it_erases_the_adapter_with_the_figure(
    in_4_bits: Path, tmp_path: Path
) -> None:
    made = adapter(tmp_path / "adapter", in_4_bits, 0.02)
    with pytest.raises(InvalidRequest) as caught:
        fuse(in_4_bits, made, tmp_path / "fused", quantised=True)
    assert caught.value.code == "adapter_erased"
    words = str(caught.value)
    error = float(words.split("adapter's effect ")[1].split(",")[0])
    assert error > MOST_ERROR
    assert not (tmp_path / "fused").exists()


def test_an_effect_finer_than_the_bases_floats_is_kept_in_float32(in_4_bits: Path, tmp_path: Path) -> None:
    made = adapter(tmp_path / "adapter", in_4_bits, 0.004)
    loss = fuse(in_4_bits, made, tmp_path / "fused")
    assert loss.share < 0.002 and loss.error < 1e-3
    model, _ = load_model(tmp_path / "fused")
    assert {value.dtype for _, value in tree_flatten(model.parameters())} == {mx.float32}


def test_an_adapter_that_outweighs_the_steps_of_4_bits_may_be_quantised(in_4_bits: Path, tmp_path: Path) -> None:
    made = adapter(tmp_path / "adapter", in_4_bits, 1.0)
    loss = fuse(in_4_bits, made, tmp_path / "fused", quantised=True)
    assert loss.error < MOST_ERROR
    model, config = load_model(tmp_path / "fused")
    assert config["quantization"]["bits"] == 4
    assert any(isinstance(module, nn.QuantizedLinear) for module in model.modules())


def test_an_adapter_that_does_not_fit_is_refused_by_its_tensor(base: Path, tmp_path: Path) -> None:
    made = adapter(tmp_path / "adapter", base, 0.2)
    config = json.loads((made / "adapter_config.json").read_text())
    config["lora_parameters"]["rank"] = 8
    (made / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidAdapter) as caught:
        fuse(base, made, tmp_path / "fused")
    assert caught.value.tensor is not None
    assert not (tmp_path / "fused").exists()


@pytest.mark.slow
def test_mlx_lm_generates_from_the_folder_unchanged(base: Path, tmp_path: Path) -> None:
    made = adapter(tmp_path / "adapter", base, 0.3)
    fuse(base, made, tmp_path / "fused")
    said = [
        subprocess.run(
            [sys.executable, "-m", "mlx_lm", "generate", "--prompt", "hi", "--max-tokens", "8", "--temp", "0", *where],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("==========")[1]
        for where in (
            ["--model", str(tmp_path / "fused")],
            ["--model", str(base), "--adapter-path", str(made)],
        )
    ]
    assert said[0] == said[1] != ""
