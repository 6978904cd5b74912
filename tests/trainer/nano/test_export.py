"""The exported folder is the model that torch trained, small enough to ship, and complete."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from catalog.base import blas

blas.preload()

import mlx.core as mx  # noqa: E402

from trainer.nano.evaluate import load_float32  # noqa: E402

FOLDER = Path(__file__).parents[3] / "catalog" / "nano"
LARGEST_BYTES = 8 * 2**20
LARGEST_DIFFERENCE = 0.02  # the reference is kept in float16, whose step near 16 is 0.016


def test_logits_in_mlx_are_those_of_torch() -> None:
    model, _ = load_float32(FOLDER)
    with np.load(Path(__file__).with_name("torch_logits.npz")) as reference:
        for index in range(len(reference.files) // 2):
            ids = reference[f"ids_{index}"]
            ours = np.array(model(mx.array(ids)[None])[0])
            theirs = reference[f"logits_{index}"].astype(np.float32)
            difference = float(np.abs(ours - theirs).max())
            assert difference < LARGEST_DIFFERENCE, f"prompt {index}: logits differ by {difference}"
            assert (ours.argmax(-1) == theirs.argmax(-1)).mean() > 0.98


def test_folder_is_at_most_eight_megabytes() -> None:
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert sum(sizes.values()) <= LARGEST_BYTES, sizes


@pytest.mark.parametrize(
    "name",
    [
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja", "README.md", "scores.json",
    ],
)  # fmt: skip
def test_folder_has(name: str) -> None:
    assert (FOLDER / name).stat().st_size > 0


def test_configuration_is_qwen3() -> None:
    configuration = json.loads((FOLDER / "config.json").read_text())
    assert configuration["model_type"] == "qwen3"
    assert configuration["tie_word_embeddings"] is True
    assert configuration["max_position_embeddings"] >= 2048
