"""Layers made for a CPU equal mlx-lm's own to float32's last digits, whatever the number of rows."""

from __future__ import annotations

import numpy as np
import pytest

from catalog.base import blas, device
from gateway.engine import cpu

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx.utils import tree_flatten  # noqa: E402
from mlx_lm.models import qwen3  # noqa: E402

WIDE = {"hidden_size": 768, "num_hidden_layers": 1, "intermediate_size": 1024, "vocab_size": 1000} | {
    "model_type": "qwen3",
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}


def model() -> nn.Module:
    mx.random.seed(3)
    return qwen3.Model(qwen3.ModelArgs.from_dict(WIDE))


def test_swiglu_is_float32_exact_from_minus_to_plus_infinity() -> None:
    gate = mx.concatenate([mx.linspace(-40, 40, 40_001), mx.array([-3e38, 3e38, -mx.inf, 0.0])])
    exact = np.array(gate, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        exact = exact / (1 + np.exp(-exact))
    ours = np.array(cpu.swiglu(gate, mx.ones_like(gate)), dtype=np.float64)
    finite = np.isfinite(exact)
    assert np.all(np.abs(ours - exact)[finite] <= 3e-6 + 3e-7 * np.abs(exact[finite]))
    assert np.isnan(cpu.swiglu(mx.array([mx.nan]), mx.array([1.0])).item())


@pytest.mark.skipif(device.current().kind != "cpu", reason="made for a CPU")
@pytest.mark.parametrize("rows", [1, 3, 4, 8, 17])
def test_a_fitted_base_answers_as_before(rows: int) -> None:
    plain, fitted = model(), model()
    cpu.fit(fitted)
    kinds = {type(module).__name__ for module in fitted.modules()}
    assert {"BlockedLinear", "BlockedEmbedding", "Swiglu", "ProductNorm"} <= kinds
    tokens = mx.random.randint(0, 1000, (rows, 1))
    assert mx.allclose(plain(tokens), fitted(tokens), rtol=1e-4, atol=1e-4).item()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outputs", [770, 1201])
def test_blocks_give_the_product_of_the_whole_weight(threads: int, bias: bool, outputs: int) -> None:
    before = blas.threads()
    blas.limit_threads(threads)
    try:
        linear = nn.Linear(1000, outputs, bias=bias)
        for rows in (1, 2, 4, 16):
            x = mx.random.normal((rows, 1, 1000))
            assert mx.allclose(cpu.BlockedLinear(linear)(x), linear(x), rtol=1e-4, atol=1e-5).item()
    finally:
        blas.limit_threads(before)


@pytest.mark.parametrize("outputs", [32_003, 151_936, 2 * 5_003])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_no_number_of_outputs_is_cut_into_small_blocks(outputs: int, rows: int) -> None:
    """32,003 is a prime: by blocks of one its product takes three times the whole weight's."""
    blocks, rest = cpu.Blocks(mx.zeros((outputs, 64)))._cut(rows)
    assert blocks.shape[2] >= cpu.LARGE_BLOCK
    assert blocks.shape[0] * blocks.shape[2] + rest.shape[1] == outputs
    assert rest.shape[1] < blocks.shape[2]


def test_fitting_keeps_every_weight_under_its_path_and_copies_none() -> None:
    plain = model()
    before = dict(tree_flatten(plain.parameters()))
    cpu.fit(plain)
    after = dict(tree_flatten(plain.parameters()))
    assert before.keys() == after.keys()
    assert all(after[path] is before[path] for path in before)


def test_a_base_in_another_precision_keeps_its_own_layers() -> None:
    half = model()
    half.set_dtype(mx.float16)
    before = {path: type(module) for path, module in half.named_modules()}
    cpu.fit(half)
    assert {path: type(module) for path, module in half.named_modules()} == before
