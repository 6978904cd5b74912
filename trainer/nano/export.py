"""The checkpoint as a folder that `mlx_lm.load` reads, and the reference logits that prove it is the same model.

Promises float16 weights under the names of Qwen3, and logits of *those* weights computed by torch in float32, so that
`tests/trainer/nano/test_export.py` can compare MLX with torch on a machine without torch.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
import torch
from safetensors.torch import save_file

from trainer.nano import tokenizer
from trainer.nano.corpus import training_chat
from trainer.nano.rendering import render
from trainer.nano.shape import Shape
from trainer.nano.torch_model import Qwen3

REFERENCE_PROMPTS: Final = 6
REFERENCE_TOKENS: Final = 48


def _configuration(shape: Shape) -> dict[str, object]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **asdict(shape),
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "torch_dtype": "float16",
    }


def _write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def _reference(model: Qwen3, folder: Path, logits: Path) -> None:
    words = tokenizer.load(folder)
    arrays = {}
    for index in range(REFERENCE_PROMPTS):
        chat = training_chat(Random(f"reference {index}"))
        ids = render(chat, words, dense=False, rest_weight=0.0).ids[:REFERENCE_TOKENS]
        with torch.no_grad():
            arrays[f"logits_{index}"] = model(torch.tensor([ids]))[0].numpy().astype(np.float16)
        arrays[f"ids_{index}"] = np.array(ids, np.int32)
    logits.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(logits, **arrays)


def export(checkpoint: Path, folder: Path, logits: Path) -> None:
    """Write the weights of `checkpoint` beside the tokenizer in `folder`, and the reference to `logits`."""
    shape = Shape()
    model = Qwen3(shape)
    state = torch.load(checkpoint, weights_only=True)
    halves = {name: weight.to(torch.float16).contiguous() for name, weight in state["model"].items()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", _configuration(shape))
    _write_json(
        folder / "generation_config.json",
        {"do_sample": False, "eos_token_id": [2, 0], "pad_token_id": 0, "max_new_tokens": 128},
    )
    plan, progress = state["plan"], state["progress"]
    made = {name: plan[name] for name in ("seed", "total_tokens")}
    made |= {name: progress[name] for name in ("tokens", "steps", "seconds")}
    _write_json(folder / "pretraining.json", made)
    model.load_state_dict({name: half.float() for name, half in halves.items()})
    _reference(model.eval(), folder, logits)
