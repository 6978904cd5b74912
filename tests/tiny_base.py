"""A tiny Qwen3 with random weights and ragweld-nano's tokenizer, and adapters for it, made in a moment by a seed."""

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
from mlx_lm.tuner.utils import linear_to_lora_layers  # noqa: E402

CONFIG = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def write_base(folder: Path, seed: int = 0) -> Path:
    """Write the base in mlx-lm's layout and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(NANO_FOLDER / name, folder / name)
    vocabulary = json.loads((folder / "tokenizer.json").read_bytes())
    size = len(vocabulary["model"]["vocab"]) + len(vocabulary["added_tokens"])
    config = CONFIG | {"vocab_size": size}
    mx.random.seed(seed)
    model = qwen3.Model(qwen3.ModelArgs.from_dict(config))
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_adapter(
    folder: Path,
    base: Path,
    seed: int,
    *,
    rank: int = 4,
    keys: tuple[str, ...] = ("self_attn.q_proj",),
    size: float = 0.5,
    kind: str = "lora",
) -> Path:
    """Write an adapter in mlx-lm's layout whose effect is plain to see, and return its folder.

    Of kind "dora" it also makes each output up to half stronger or weaker.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((base / "config.json").read_bytes())
    model = qwen3.Model(qwen3.ModelArgs.from_dict(config))
    parameters = {"rank": rank, "scale": 2.0, "dropout": 0.0, "keys": list(keys)}
    linear_to_lora_layers(model, config["num_hidden_layers"], parameters, use_dora=kind == "dora")
    mx.random.seed(seed)
    tensors = {
        name: mx.random.normal(value.shape) * size
        for name, value in tree_flatten(model.parameters())
        if name.endswith(("lora_a", "lora_b"))
    }
    if kind == "dora":
        whole = mx.load(str(base / "model.safetensors"))
        for name in [name for name in tensors if name.endswith("lora_a")]:
            layer = name.removesuffix(".lora_a")
            lengths = mx.linalg.norm(whole[f"{layer}.weight"].astype(mx.float32), axis=1)
            tensors[f"{layer}.m"] = lengths * mx.random.uniform(0.5, 1.5, lengths.shape)
    mx.save_safetensors(str(folder / "adapters.safetensors"), tensors)
    document = {"fine_tune_type": kind, "num_layers": config["num_hidden_layers"], "lora_parameters": parameters}
    (folder / "adapter_config.json").write_text(json.dumps(document))
    return folder
