"""What a run leaves behind: a `model/` folder that is whole or absent.

`adapters.safetensors` and `adapter_config.json` are mlx-lm's own (`mlx_lm.generate --adapter-path` reads them as they
are), `adapter.npz` holds the same tensors under the name users know, `manifest.json` says what they were made from and
by. `tests/trainer/test_artifacts.py` kills a writer at every step.
"""

from __future__ import annotations

import io
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from catalog import __version__, files
from catalog.adapters import CONFIG_FILE, GOLDEN_FILE, MANIFEST_FILE, NPZ_FILE, WEIGHTS_FILE, AdapterConfig, Golden
from catalog.base import blas
from catalog.manifest import Manifest

blas.preload()

import mlx.core as mx  # noqa: E402


def package_versions() -> dict[str, str]:
    """What computed the adapter."""
    return {
        "ragweld": __version__,
        "mlx": version("mlx"),
        "mlx-lm": version("mlx-lm"),
        "python": platform.python_version(),
    }


# Both are made in memory: what MLX itself cannot write is a RuntimeError that does not say that the disk is full.
def _safetensors(tensors: Mapping[str, mx.array]) -> bytes:
    content = io.BytesIO()
    mx.save_safetensors(content, dict(tensors), metadata={"format": "mlx"})
    return content.getvalue()


def _npz(tensors: Mapping[str, mx.array]) -> bytes:
    content = io.BytesIO()
    mx.savez(content, **tensors)
    return content.getvalue()


def write(
    folder: Path,
    tensors: Mapping[str, mx.array],
    config: AdapterConfig,
    manifest: Manifest,
    golden: Golden | None = None,
) -> None:
    """Replace `folder` by the adapter, atomically and durably."""
    with files.staged_folder(folder) as staging:
        (staging / WEIGHTS_FILE).write_bytes(_safetensors(tensors))
        (staging / NPZ_FILE).write_bytes(_npz(tensors))
        (staging / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n", "utf-8")
        if golden is not None:
            (staging / GOLDEN_FILE).write_text(golden.model_dump_json(indent=2) + "\n", "utf-8")
        (staging / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
