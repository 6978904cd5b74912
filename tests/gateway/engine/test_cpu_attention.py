"""Blocks made for a CPU equal mlx-lm's own: of every family, whatever a cache holds, and where only ends are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from catalog.base import blas, device
from gateway.engine import cpu_attention
from gateway.engine.caches import Caches
from gateway.engine.slots import SlotModel

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx.utils import tree_flatten  # noqa: E402
from mlx_lm.models import llama, qwen2, qwen3  # noqa: E402
from mlx_lm.models.cache import make_prompt_cache  # noqa: E402

SHAPE = {"hidden_size": 48, "num_hidden_layers": 3, "intermediate_size": 64, "vocab_size": 100} | {
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_position_embeddings": 256,
}
SLIDING = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 8}
FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "llama": (llama, {"head_dim": 8, "tie_word_embeddings": False}),
    "llama with a sliding window": (llama, {"head_dim": 8} | SLIDING),
    "qwen2": (qwen2, {"tie_word_embeddings": True}),
    "qwen3": (qwen3, {"head_dim": 16, "tie_word_embeddings": True}),
}
LENGTHS = (9, 3, 6)


def made(family: str, **more: Any) -> nn.Module:
    module, own = FAMILIES[family]
    mx.random.seed(5)
    return module.Model(module.ModelArgs.from_dict({"model_type": module.__name__.split(".")[-1]} | SHAPE | own | more))


def read(model: nn.Module, prompts: list[list[int]], chunk: int) -> tuple[mx.array, Caches]:
    """Logits after the last chunk of these prompts, read so many tokens at a time, and the rows' caches."""
    caches = Caches.together([make_prompt_cache(model) for _ in prompts])
    logits = mx.zeros(())
    for start in range(0, max(map(len, prompts)), chunk):
        parts = [prompt[start : start + chunk] for prompt in prompts]
        padding = [chunk - len(part) for part in parts]
        if caches.merged:
            for layer in caches.layers:
                layer.prepare(lengths=[len(part) for part in parts], right_padding=padding)
        logits = model(
            mx.array([part + [0] * pad for part, pad in zip(parts, padding, strict=True)]), cache=caches.layers
        )
        if caches.merged:
            for layer in caches.layers:
                layer.finalize()
        caches.evaluate()
    return logits, caches


def close(ours: mx.array, theirs: mx.array) -> bool:
    return bool(mx.allclose(ours, theirs, rtol=1e-4, atol=1e-5).item())


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_unlike_lengths_are_read_in_chunks_and_decoded_as_by_mlx_lm(family: str) -> None:
    plain, fitted = made(family), made(family)
    assert cpu_attention.fit(fitted) is not None
    prompts = mx.random.randint(0, 100, (len(LENGTHS), max(LENGTHS))).tolist()
    prompts = [prompt[:length] for prompt, length in zip(prompts, LENGTHS, strict=True)]
    (theirs, their_caches), (ours, our_caches) = read(plain, prompts, 3), read(fitted, prompts, 3)
    assert close(ours[0], theirs[0])  # the others' last chunk is padding
    for _ in range(4):
        token = mx.random.randint(0, 100, (len(LENGTHS), 1))
        assert close(fitted(token, cache=our_caches.layers), plain(token, cache=their_caches.layers))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_alone_and_a_model_without_a_cache_answer_as_by_mlx_lm(family: str) -> None:
    plain, fitted = made(family), made(family)
    cpu_attention.fit(fitted)
    prompt = mx.random.randint(0, 100, (1, 12))
    assert close(fitted(prompt), plain(prompt))
    assert close(read(fitted, prompt.tolist(), 4)[0], read(plain, prompt.tolist(), 4)[0])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lengths", [(7,), (5, 7, 2), (7, 7)])
def test_what_is_read_of_ends_only_is_what_is_there_when_all_is_read(family: str, lengths: tuple[int, ...]) -> None:
    model = SlotModel(made(family))
    tokens = mx.random.randint(0, 100, (len(lengths), max(lengths)))
    ends = [length - 1 for length in lengths]

    def layers() -> list[Any]:
        return Caches.together([make_prompt_cache(model.model) for _ in lengths]).layers

    first, second = layers(), layers()
    whole = model.read(tokens, first, 0)[mx.arange(len(ends)), mx.array(ends)]
    assert close(model.read_ends(tokens, second, 0, ends), whole)
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.keys[..., : max(lengths), :], other.keys[..., : max(lengths), :])
    assert model.read(tokens, layers(), 0).shape[1] == max(lengths)  # and all again when all is asked for


@pytest.mark.skipif(device.current().kind != "cpu", reason="made for a CPU")
def test_a_base_in_memory_has_these_blocks() -> None:
    model = made("qwen3")
    SlotModel(model)
    assert [type(block).__name__ for block in model.layers] == ["TransformerBlock", "TransformerBlock", "LastBlock"]
    assert {type(block.self_attn) for block in model.layers} == {cpu_attention.Attention}


@pytest.mark.parametrize(
    "more",
    [
        {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}},
        {"rope_traditional": True},
    ],
)
def test_a_model_that_turns_its_positions_otherwise_keeps_its_own_blocks(more: dict[str, Any]) -> None:
    model = made("llama", **more)
    assert cpu_attention.fit(model) is None
    assert {type(block) for block in model.layers} == {llama.TransformerBlock}


def test_fitting_keeps_every_weight_under_its_path() -> None:
    model = made("qwen3")
    before = dict(tree_flatten(model.parameters()))
    cpu_attention.fit(model)
    after = dict(tree_flatten(model.parameters()))
    assert before.keys() == after.keys()
    assert all(after[path] is before[path] for path in before)
