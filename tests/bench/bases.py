"""The bases of the benches, float32 on disk so that both sides compute alike: nano, about 27 M and 100 M parameters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from catalog.base import blas
from catalog.base.locate import NANO_FOLDER

blas.preload()

import mlx.core as mx  # noqa: E402
from mlx.utils import tree_flatten  # noqa: E402
from mlx_lm.models import qwen3  # noqa: E402

SHAPE_27M = {"hidden_size": 512, "num_hidden_layers": 8, "intermediate_size": 1536} | {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "vocab_size": 4096,
}
SHAPE_100M = {"hidden_size": 768, "num_hidden_layers": 14, "intermediate_size": 2304} | {
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "head_dim": 64,
}
"""With nano's vocabulary, so that every token it draws is text."""

SHAPES = {"nano": {}, "27m": SHAPE_27M, "100m": SHAPE_100M}


def write(name: str, folder: Path, **shape: int) -> Path:
    """Write base `nano`, `27m` or `100m` into `folder` and return it; `shape` changes its config."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in NANO_FOLDER.iterdir():
        if path.suffix in (".json", ".jinja"):
            shutil.copyfile(path, folder / path.name)
    config = json.loads((NANO_FOLDER / "config.json").read_bytes())
    config |= SHAPES[name] | shape
    model = qwen3.Model(qwen3.ModelArgs.from_dict(config))
    if name == "nano":
        model.load_weights(str(NANO_FOLDER / "model.safetensors"))
    else:
        mx.random.seed(0)
        model.update(qwen3.Model(qwen3.ModelArgs.from_dict(config)).parameters())
    model.set_dtype(mx.float32)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))
    (folder / "config.json").write_text(json.dumps(config | {"torch_dtype": "float32", "dtype": "float32"}))
    return folder


def end_tokens(folder: Path) -> list[int]:
    """Ids that end an answer; the benches forbid them, so that every answer has its full length."""
    ends = json.loads((folder / "config.json").read_bytes())["eos_token_id"]
    return ends if isinstance(ends, list) else [ends]
