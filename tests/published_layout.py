"""A folder laid out like mlx-community/Qwen3-1.7B-4bit (4-bit, in shards, its config), small, with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from catalog.base import blas
from catalog.base.locate import NANO_FOLDER
from tests.tiny_base import TOKENIZER_FILES

blas.preload()

import mlx.core as mx  # noqa: E402
from mlx.utils import tree_flatten  # noqa: E402
from mlx_lm.models import qwen3  # noqa: E402
from mlx_lm.utils import quantize_model  # noqa: E402

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


def write_layout(folder: Path) -> Path:
    """Write the base and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(NANO_FOLDER / name, folder / name)
    nano = json.loads((NANO_FOLDER / "config.json").read_bytes())
    names = ("vocab_size", "eos_token_id", "bos_token_id")
    config = PUBLISHED | REDUCED | {name: nano[name] for name in names if name in nano}
    mx.random.seed(1)
    model = qwen3.Model(qwen3.ModelArgs.from_dict(config))
    model.set_dtype(mx.bfloat16)
    model, config = quantize_model(model, config, group_size=64, bits=4)
    _write_shards(folder, dict(tree_flatten(model.parameters())))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _write_shards(folder: Path, weights: dict[str, mx.array]) -> None:
    """Shards of bounded size with the published index beside them."""
    shards: list[dict[str, mx.array]] = [{}]
    for name, value in weights.items():
        if sum(part.nbytes for part in shards[-1].values()) > SHARD_BYTES:
            shards.append({})
        shards[-1][name] = value
    index = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        mx.save_safetensors(str(folder / file), shard)
        index |= dict.fromkeys(shard, file)
    assert len(shards) > 1
    document = {"metadata": {}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(document))
