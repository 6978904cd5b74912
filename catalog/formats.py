"""Adapters made elsewhere, brought into the house's layout, and ours taken out of it.

Read: ours and mlx-lm's (`adapters.safetensors`, `adapter_config.json`), PEFT's (`adapter_model.safetensors`, names
`base_model.model.<layer>.lora_A.weight` [rank, in], scale alpha / r, or alpha / sqrt(r) with rslora, DoRA's
`lora_magnitude_vector` [out]), and a bare `adapter.npz` beside a config. Written: PEFT. Whether an adapter fits a base
is `catalog.base.lora`'s question; here it is only told what it is. Source: Hugging Face PEFT's LoraConfig and
checkpoint format.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from catalog import files, tensors
from catalog.adapters import CONFIG_FILE, NPZ_FILE, WEIGHTS_FILE
from catalog.errors import InvalidAdapter

PEFT_WEIGHTS_FILE = "adapter_model.safetensors"
_PEFT_PREFIX = "base_model.model."
_PEFT_PARTS = {"lora_A.weight": "lora_a", "lora_B.weight": "lora_b", "lora_magnitude_vector": "m"}
_PEFT_MAGNITUDE = "lora_magnitude_vector.weight"
"""What PEFT names a magnitude in memory, and some trainers on disk."""
_PEFT_REFUSED = (
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "lora_bias",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "use_qalora",
)
"""Settings of PEFT's that change an adapter's effect in a way that cannot be served here."""

Tensors = dict[str, npt.NDArray[Any]]


def normalise(source: Path, target: Path, *, links_within: Path | None = None) -> None:
    """Write the adapter in `source` to `target` in the house's layout, atomically; raises InvalidAdapter.

    Its files may be links only to what lies inside `links_within`, as those of Hugging Face's cache are.
    """
    with files.staged_folder(target) as staging:
        if (source / WEIGHTS_FILE).is_file():
            for name in (WEIGHTS_FILE, CONFIG_FILE):
                shutil.copyfile(_real(source / name, links_within), staging / name)
        elif (source / PEFT_WEIGHTS_FILE).is_file():
            _real(source / PEFT_WEIGHTS_FILE, links_within)
            _real(source / CONFIG_FILE, links_within)
            _from_peft(source, staging)
        elif (source / NPZ_FILE).is_file():
            shutil.copyfile(_real(source / CONFIG_FILE, links_within), staging / CONFIG_FILE)
            _save(_load_npz(_real(source / NPZ_FILE, links_within)), staging)
        else:
            raise InvalidAdapter(
                f"{source.name} holds no adapter.",
                hint=f"A folder with {WEIGHTS_FILE}, {PEFT_WEIGHTS_FILE} or {NPZ_FILE} is needed.",
            )
        if not (staging / NPZ_FILE).exists():
            _write_npz(staging)


def export_peft(source: Path, target: Path, *, base_model: str) -> None:
    """Write our adapter in `source` to `target` as PEFT reads it, atomically."""
    config = _config(source)
    parameters = config["lora_parameters"]
    ours = _load(source / WEIGHTS_FILE)
    theirs = {_peft_name(name): np.ascontiguousarray(value.T) for name, value in ours.items()}
    document = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": parameters["rank"],
        "lora_alpha": parameters["scale"] * parameters["rank"],
        "lora_dropout": parameters.get("dropout", 0.0),
        "target_modules": sorted({name.split(".")[-2] for name in ours}),
        "layers_to_transform": sorted({int(_block_of(name)[0]) for name in ours}),
        "use_dora": config.get("fine_tune_type") == "dora",
        "bias": "none",
        "inference_mode": True,
    }
    with files.staged_folder(target) as staging:
        save_file(theirs, staging / PEFT_WEIGHTS_FILE, {"format": "pt"})
        (staging / CONFIG_FILE).write_text(json.dumps(document, indent=2) + "\n")


def _from_peft(source: Path, staging: Path) -> None:
    config = _config(source)
    if refused := [name for name in _PEFT_REFUSED if config.get(name)]:
        raise InvalidAdapter(f"{source.name}: PEFT's {', '.join(refused)} cannot be served.")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise InvalidAdapter(f"{source.name}/{CONFIG_FILE}: r and lora_alpha must be numbers.")
    theirs = _load(source / PEFT_WEIGHTS_FILE)
    ours = {_our_name(name): np.ascontiguousarray(value.T) for name, value in theirs.items()}
    _save(ours, staging)
    blocks = [_block_of(name) for name in ours]
    document = {
        "fine_tune_type": "dora" if config.get("use_dora") else "lora",
        "num_layers": -1,  # all, for how many the base has is not known here
        "lora_parameters": {
            "rank": rank,
            "scale": alpha / (math.sqrt(rank) if config.get("use_rslora") else rank),
            "dropout": config.get("lora_dropout", 0.0),
            "keys": sorted({".".join(parts[1:-1]) for parts in blocks}),
        },
        "model": config.get("base_model_name_or_path"),
    }
    (staging / CONFIG_FILE).write_text(json.dumps(document, indent=2) + "\n")


def _block_of(name: str) -> list[str]:
    """The parts of one of our names from its block's number on."""
    return name.split(".layers.")[1].split(".")


def _our_name(name: str) -> str:
    if name.endswith(_PEFT_MAGNITUDE):
        name = name.removesuffix(".weight")
    for theirs, ours in _PEFT_PARTS.items():
        if name.startswith(_PEFT_PREFIX) and name.endswith(f".{theirs}") and ".layers." in name:
            return name.removeprefix(_PEFT_PREFIX).removesuffix(theirs) + ours
    raise InvalidAdapter(f"{name} is no LoRA tensor of a layer.", tensor=name)


def _peft_name(name: str) -> str:
    layer, _, part = name.rpartition(".")
    theirs = next(theirs for theirs, ours in _PEFT_PARTS.items() if ours == part)
    return f"{_PEFT_PREFIX}{layer}.{theirs}"


def _config(folder: Path) -> dict[str, Any]:
    try:
        document = json.loads((folder / CONFIG_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidAdapter(f"{folder.name}/{CONFIG_FILE} cannot be read: {error}.") from error
    if not isinstance(document, dict):
        raise InvalidAdapter(f"{folder.name}/{CONFIG_FILE} must hold an object.")
    return document


def _load(path: Path) -> Tensors:
    found = tensors.read(path)
    for name, tensor in found.items():
        tensors.check_float(name, tensor)
    return {name: tensor.to_float32() for name, tensor in found.items()}


def _load_npz(path: Path) -> Tensors:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError) as error:
        raise InvalidAdapter(f"{path.parent.name}/{path.name} cannot be read: {error}.") from error


def _save(ours: Tensors, staging: Path) -> None:
    save_file(ours, staging / WEIGHTS_FILE, {"format": "mlx"})


def _write_npz(staging: Path) -> None:
    np.savez(staging / NPZ_FILE, **_load(staging / WEIGHTS_FILE))  # type: ignore[arg-type]


def _real(path: Path, links_within: Path | None) -> Path:
    """The file itself; raises InvalidAdapter when there is none, or it lies where no link may lead."""
    real = path.resolve()
    may_be = not path.is_symlink() or (links_within is not None and real.is_relative_to(links_within.resolve()))
    if not may_be or not real.is_file():
        raise InvalidAdapter(f"{path.parent.name}/{path.name} is missing, or is a link.")
    return real
