"""Twelve ways an adapter file can be wrong: each is refused with the tensor's name."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from catalog.base.lora import linear_shapes, read_adapter
from catalog.errors import InvalidAdapter
from tests.tiny_base import write_adapter, write_base

Q0 = "model.layers.0.self_attn.q_proj"
Tensors = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def shapes(base: Path) -> Any:
    from mlx_lm.utils import load_model

    return linear_shapes(load_model(base)[0])


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "adapter", base, seed=1)


def test_a_good_adapter_is_read_with_its_scale_in_b(adapter: Path, shapes: Any) -> None:
    read = read_adapter(adapter, shapes)
    raw = load_file(adapter / "adapters.safetensors")
    a, b = read.pairs[Q0]
    assert np.array_equal(a, raw[f"{Q0}.lora_a"])
    assert np.array_equal(b, raw[f"{Q0}.lora_b"] * 2.0)
    assert read.rank == 4


def rename(tensors: Tensors) -> None:
    tensors["model.layers.7.self_attn.q_proj.lora_a"] = tensors.pop(f"{Q0}.lora_a")


def stray(tensors: Tensors) -> None:
    tensors["model.layers.0.self_attn.q_proj.weight"] = np.zeros((2, 2), np.float32)


def drop_b(tensors: Tensors) -> None:
    del tensors[f"{Q0}.lora_b"]


def nan(tensors: Tensors) -> None:
    tensors[f"{Q0}.lora_a"][3, 1] = np.nan


def infinity(tensors: Tensors) -> None:
    tensors[f"{Q0}.lora_b"][0, 0] = -np.inf


def transposed(tensors: Tensors) -> None:
    tensors[f"{Q0}.lora_a"] = np.ascontiguousarray(tensors[f"{Q0}.lora_a"].T)


def other_rank(tensors: Tensors) -> None:
    tensors[f"{Q0}.lora_a"] = tensors[f"{Q0}.lora_a"][:, :3].copy()


def other_base(tensors: Tensors) -> None:
    tensors[f"{Q0}.lora_b"] = np.zeros((4, 65), np.float32)


def integers(tensors: Tensors) -> None:
    tensors[f"{Q0}.lora_a"] = tensors[f"{Q0}.lora_a"].astype(np.int32)


@pytest.mark.parametrize(
    ("spoil", "tensor"),
    [
        (rename, "model.layers.7.self_attn.q_proj.lora_a"),
        (stray, f"{Q0}.weight"),
        (drop_b, f"{Q0}.lora_b"),
        (nan, f"{Q0}.lora_a"),
        (infinity, f"{Q0}.lora_b"),
        (transposed, f"{Q0}.lora_a"),
        (other_rank, f"{Q0}.lora_a"),
        (other_base, f"{Q0}.lora_b"),
        (integers, f"{Q0}.lora_a"),
    ],
)
def test_a_wrong_tensor_is_refused_by_name(
    spoil: Callable[[Tensors], None], tensor: str, adapter: Path, shapes: Any
) -> None:
    path = adapter / "adapters.safetensors"
    tensors = {name: values.copy() for name, values in load_file(path).items()}
    spoil(tensors)
    if spoil is rename:
        del tensors[f"{Q0}.lora_b"]
    save_file(tensors, path)
    with pytest.raises(InvalidAdapter) as refusal:
        read_adapter(adapter, shapes)
    assert refusal.value.tensor == tensor
    assert tensor in refusal.value.message


def test_a_dora_adapter_is_read_with_its_magnitudes(base: Path, shapes: Any, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "dora", base, seed=1, kind="dora")
    read = read_adapter(folder, shapes)
    assert np.array_equal(read.magnitudes[Q0], load_file(folder / "adapters.safetensors")[f"{Q0}.m"])
    assert read.magnitudes.keys() == read.pairs.keys()


def forget_m(tensors: Tensors, config: dict[str, Any]) -> None:
    del tensors[f"{Q0}.m"]


def short_m(tensors: Tensors, config: dict[str, Any]) -> None:
    tensors[f"{Q0}.m"] = tensors[f"{Q0}.m"][:-1].copy()


def said_to_be_lora(tensors: Tensors, config: dict[str, Any]) -> None:
    config["fine_tune_type"] = "lora"


@pytest.mark.parametrize("spoil", [forget_m, short_m, said_to_be_lora])
def test_a_dora_adapter_without_its_own_magnitudes_is_refused_by_name_and_never_read_as_lora(
    spoil: Callable[[Tensors, dict[str, Any]], None], base: Path, shapes: Any, tmp_path: Path
) -> None:
    folder = write_adapter(tmp_path / "dora", base, seed=1, kind="dora")
    path, config_path = folder / "adapters.safetensors", folder / "adapter_config.json"
    tensors, config = load_file(path), json.loads(config_path.read_text())
    spoil(tensors, config)
    save_file(tensors, path)
    config_path.write_text(json.dumps(config))
    with pytest.raises(InvalidAdapter) as refusal:
        read_adapter(folder, shapes)
    assert refusal.value.tensor == f"{Q0}.m"


def test_an_adapter_of_another_kind_is_refused(adapter: Path, shapes: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(path.read_text().replace('"fine_tune_type": "lora"', '"fine_tune_type": "full"'))
    with pytest.raises(InvalidAdapter, match="'full' adapter; lora, dora can be served"):
        read_adapter(adapter, shapes)


def truncated(content: bytes) -> bytes:
    return content[:-17]


def overlapping(content: bytes) -> bytes:
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]
    header[names[1]]["shape"] = header[names[0]]["shape"]
    packed = json.dumps(header).encode()
    return struct.pack("<Q", len(packed)) + packed + content[8 + length :]


def not_safetensors(content: bytes) -> bytes:
    return b"PK\x03\x04" + content


@pytest.mark.parametrize("spoil", [truncated, overlapping, not_safetensors])
def test_a_broken_container_is_refused(spoil: Callable[[bytes], bytes], adapter: Path, shapes: Any) -> None:
    path = adapter / "adapters.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InvalidAdapter, match=r"adapters\.safetensors"):
        read_adapter(adapter, shapes)


def test_a_config_that_does_not_match_the_tensors_is_refused(adapter: Path, shapes: Any) -> None:
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text())
    config["lora_parameters"]["rank"] = 8
    path.write_text(json.dumps(config))
    with pytest.raises(InvalidAdapter, match="rank 8 need"):
        read_adapter(adapter, shapes)


@pytest.mark.parametrize("scale", ["NaN", "Infinity", '"x"'])
def test_a_scale_that_is_no_number_is_refused(adapter: Path, shapes: Any, scale: str) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(path.read_text().replace('"scale": 2.0', f'"scale": {scale}'))
    with pytest.raises(InvalidAdapter, match="adapter_config"):
        read_adapter(adapter, shapes)
