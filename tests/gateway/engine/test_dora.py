"""A DoRA adapter is served as mlx-lm's own DoRA run alone answers, beside LoRA and the base; never as LoRA."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm.tuner.dora import DoRALinear
from safetensors.numpy import load_file, save_file

from gateway.engine.magnitudes import Magnitudes
from gateway.engine.requests import Generation
from tests.gateway.engine.conftest import GREEDY, House, answer, prompt, run, running
from tests.gateway.engine.test_identity import QUESTIONS, reference
from tests.tiny_base import write_adapter

KEYS = ("self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.gate_proj", "mlp.down_proj")


@pytest.fixture
def mixed(tmp_path: Path, base_folder: Path, adapter_folders: tuple[Path, ...]) -> House:
    """Two DoRA adapters of different ranks between two of LoRA."""
    dora = [
        write_adapter(tmp_path / f"dora{n}", base_folder, seed=40 + n, rank=(8, 3)[n], keys=KEYS[n:], kind="dora")
        for n in range(2)
    ]
    return House(tmp_path / "home", base_folder, (adapter_folders[0], dora[0], adapter_folders[2], dora[1]))


def test_a_mixed_batch_equals_each_adapter_alone(mixed: House) -> None:
    async def scene() -> None:
        async with running(mixed, prompt_cache_bytes=0) as engine:
            folders, ids = (None, *mixed.folders), (None, *mixed.ids)
            for question in QUESTIONS:
                tokens = await prompt(engine, question)
                expected = [reference(mixed, folder, tokens, 24) for folder in folders]
                assert len(set(expected)) > 2, "the adapters must differ for this to prove anything"
                asked = [Generation(tokens, adapter, 24, sampling=GREEDY) for adapter in ids] * 2
                got = await asyncio.gather(*(answer(engine, generation) for generation in asked))
                assert [text for text, _ in got] == expected * 2

    run(scene())


def test_a_slot_that_held_dora_keeps_nothing_of_it(mixed: House) -> None:
    async def scene() -> None:
        async with running(mixed, adapter_slots=1, prompt_cache_bytes=0) as engine:
            tokens = await prompt(engine, QUESTIONS[1])
            for folder, adapter in [*zip(mixed.folders, mixed.ids, strict=True), (None, None)] * 2:
                text, _ = await answer(engine, Generation(tokens, adapter, 16, sampling=GREEDY))
                assert text == reference(mixed, folder, tokens, 16)

    run(scene())


def test_the_magnitudes_count(mixed: House, tmp_path: Path) -> None:
    """The same matrices without them answer otherwise, so that none of the above could pass by leaving them out."""
    bare = tmp_path / "bare"
    bare.mkdir()
    whole = load_file(mixed.folders[1] / "adapters.safetensors")
    save_file({name: value for name, value in whole.items() if not name.endswith(".m")}, bare / "adapters.safetensors")
    config = json.loads((mixed.folders[1] / "adapter_config.json").read_text())
    (bare / "adapter_config.json").write_text(json.dumps(config | {"fine_tune_type": "lora"}))

    async def scene() -> None:
        async with running(mixed) as engine:
            tokens = await prompt(engine, QUESTIONS[1])
            assert reference(mixed, bare, tokens, 24) != reference(mixed, mixed.folders[1], tokens, 24)

    run(scene())


@pytest.mark.parametrize("bits", [None, 4])
def test_a_layer_with_a_bias_is_mlx_lms_layer(bits: int | None) -> None:
    mx.random.seed(3)
    plain = nn.Linear(64, 32, bias=True)
    linear = plain if bits is None else nn.QuantizedLinear.from_linear(plain, bits=bits)
    layer = DoRALinear.from_base(linear, r=4, scale=1.0)
    layer.lora_a, layer.lora_b = mx.random.normal((64, 4)), mx.random.normal((4, 32))
    layer.m = layer.m * mx.random.uniform(0.5, 1.5, (32,))
    magnitudes = Magnitudes(linear)
    magnitudes.write(2, (layer.lora_a, layer.lora_b), layer.m)
    x = mx.random.normal((3, 5, 64))
    lora = linear(x) + (x @ layer.lora_a) @ layer.lora_b
    assert mx.allclose(magnitudes.apply(lora, 2), layer(x), atol=1e-4).item()
    routed = magnitudes.apply(lora, mx.array([2, 0, 5], dtype=mx.uint32))
    assert mx.allclose(routed[0], layer(x)[0], atol=1e-4).item()
    assert mx.array_equal(routed[1:], lora[1:]).item()


def test_without_dora_nothing_is_computed() -> None:
    magnitudes, y = Magnitudes(nn.Linear(8, 8)), mx.ones((2, 1, 8))
    pair = (mx.ones((8, 2)), mx.ones((2, 8)))
    assert magnitudes.write(1, pair, None) == []
    assert magnitudes.apply(y, mx.array([0, 1], dtype=mx.uint32)) is y
    magnitudes.write(1, pair, mx.ones((8,)))
    assert magnitudes.apply(y, 3) is y
    magnitudes.write(1, None, None)
    assert magnitudes.apply(y, 1) is y
