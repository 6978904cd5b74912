"""A folder laid out like mlx-community/Qwen3-1.7B-4bit (4-bit, in shards, its config) loads, answers and takes LoRA."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from catalog.base import device
from catalog.base.load import load
from catalog.base.locate import NANO_FOLDER, find, size_of
from catalog.base.lora import linear_shapes, read_adapter
from catalog.ids import BaseId
from gateway.engine.requests import Generation
from tests.gateway.engine.conftest import GREEDY, House, answer, prompt, run, running
from tests.tiny_base import TOKENIZER_FILES, write_adapter

PUBLISHED = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "head_dim": 128,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
}
REDUCED = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SHARD_BYTES = 600_000


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.models import qwen3
    from mlx_lm.utils import quantize_model

    folder = tmp_path_factory.mktemp("Qwen3-4bit")
    for name in TOKENIZER_FILES:
        shutil.copyfile(NANO_FOLDER / name, folder / name)
    nano = json.loads((NANO_FOLDER / "config.json").read_bytes())
    names = ("vocab_size", "eos_token_id", "bos_token_id")
    config = PUBLISHED | REDUCED | {name: nano[name] for name in names if name in nano}
    mx.random.seed(1)
    model = qwen3.Model(qwen3.ModelArgs.from_dict(config))
    model.set_dtype(mx.bfloat16)
    model, config = quantize_model(model, config, group_size=64, bits=4)
    write_shards(folder, dict(tree_flatten(model.parameters())))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_shards(folder: Path, weights: dict[str, object]) -> None:
    """Shards of bounded size with the published index beside them."""
    import mlx.core as mx

    shards: list[dict[str, object]] = [{}]
    for name, value in weights.items():
        if sum(part.nbytes for part in shards[-1].values()) > SHARD_BYTES:  # type: ignore[attr-defined]
            shards.append({})
        shards[-1][name] = value
    index = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        mx.save_safetensors(str(folder / file), shard)  # type: ignore[arg-type]
        index |= dict.fromkeys(shard, file)
    assert len(shards) > 1
    document = {"metadata": {}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(document))


def test_it_is_found_and_its_size_is_told_without_loading(layout: Path) -> None:
    assert find(str(layout)) == layout
    size = size_of(layout)
    loaded = load(BaseId("x"), layout)
    assert size.context == 40960
    assert abs(size.parameters - loaded.parameters) < 0.1 * loaded.parameters


@pytest.mark.parametrize("cpu_float32", [True, False])
def test_it_loads_in_the_precision_of_the_policy(layout: Path, cpu_float32: bool) -> None:
    base = load(BaseId("x"), layout, cpu_float32=cpu_float32)
    widened = cpu_float32 and device.current().kind == "cpu"
    assert base.precision == ("float32 (stored as 4-bit)" if widened else "4-bit")
    assert linear_shapes(base.model)["model.layers.0.mlp.down_proj"].inputs == 512


@pytest.mark.parametrize("cpu_float32", [True, False])
def test_it_answers_with_and_without_an_adapter(layout: Path, tmp_path: Path, cpu_float32: bool) -> None:
    adapter = write_adapter(tmp_path / "a", layout, seed=2, keys=("self_attn.q_proj", "mlp.down_proj"), size=1.0)
    house = House(tmp_path / "home", layout, (adapter,))

    async def scene() -> None:
        async with running(house, cpu_float32=cpu_float32) as engine:
            tokens = await prompt(engine, "hello")
            plain, _ = await answer(engine, Generation(tokens, None, 8, sampling=GREEDY))
            adapted, _ = await answer(engine, Generation(tokens, house.ids[0], 8, sampling=GREEDY))
            assert plain != adapted

    run(scene())
    shapes = linear_shapes(load(BaseId("x"), layout, cpu_float32=False).model)
    assert read_adapter(adapter, shapes).rank == 4
