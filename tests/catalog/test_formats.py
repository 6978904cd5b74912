"""Adapters made elsewhere keep their effect on the way in and on the way out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from catalog import formats
from catalog.adapters import content_id, read_config
from catalog.errors import InvalidAdapter
from tests.tiny_base import mx, write_adapter, write_base


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("formats")
    keys = ("self_attn.q_proj", "mlp.down_proj")
    return write_adapter(root / "ours", write_base(root / "base"), seed=3, keys=keys)


def test_out_to_peft_and_back_is_the_same_adapter(ours: Path, tmp_path: Path) -> None:
    formats.export_peft(ours, tmp_path / "peft", base_model="base")
    formats.normalise(tmp_path / "peft", tmp_path / "back")
    before, after = load_file(ours / "adapters.safetensors"), load_file(tmp_path / "back" / "adapters.safetensors")
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    old, new = read_config(ours), read_config(tmp_path / "back")
    assert old.lora_parameters.scale == new.lora_parameters.scale
    assert new.num_layers == -1, "mlx-lm's word for every block; PEFT does not say how many there are"
    assert new.lora_parameters.keys == ["mlp.down_proj", "self_attn.q_proj"]


def test_a_dora_adapter_keeps_its_magnitudes_out_to_peft_and_back(ours: Path, tmp_path: Path) -> None:
    dora = write_adapter(tmp_path / "dora", ours.parent / "base", seed=4, kind="dora")
    formats.export_peft(dora, tmp_path / "peft", base_model="base")
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert (config["use_dora"], config["target_modules"]) == (True, ["q_proj"])
    path = tmp_path / "peft" / "adapter_model.safetensors"
    theirs = load_file(path)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"
    assert theirs[name].shape == (64,)
    for spelt in (name, f"{name}.weight"):
        save_file({spelt if one == name else one: value for one, value in theirs.items()}, path)
        formats.normalise(tmp_path / "peft", tmp_path / "back")
        before, after = load_file(dora / "adapters.safetensors"), load_file(tmp_path / "back" / "adapters.safetensors")
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[name], after[name]) for name in before)
        assert read_config(tmp_path / "back").fine_tune_type == "dora"
    formats.export_peft(ours, tmp_path / "plain", base_model="base")
    assert json.loads((tmp_path / "plain" / "adapter_config.json").read_text())["use_dora"] is False


def test_peft_shapes_and_scale_are_those_of_peft(ours: Path, tmp_path: Path) -> None:
    formats.export_peft(ours, tmp_path / "peft", base_model="base")
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 8.0)
    assert config["target_modules"] == ["down_proj", "q_proj"]
    tensors = load_file(tmp_path / "peft" / "adapter_model.safetensors")
    assert tensors["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"].shape == (4, 64)


def test_only_the_blocks_that_the_adapter_has_are_named_to_peft(ours: Path, tmp_path: Path) -> None:
    shutil.copytree(ours, tmp_path / "one-block")
    tensors = load_file(ours / "adapters.safetensors")
    save_file(
        {name: one for name, one in tensors.items() if ".layers.1." in name},
        tmp_path / "one-block" / "adapters.safetensors",
    )
    formats.export_peft(tmp_path / "one-block", tmp_path / "peft", base_model="base")
    assert json.loads((tmp_path / "peft" / "adapter_config.json").read_text())["layers_to_transform"] == [1]


def test_an_adapter_kept_in_bfloat16_is_widened(ours: Path, tmp_path: Path) -> None:
    formats.export_peft(ours, tmp_path / "peft", base_model="base")
    path = tmp_path / "peft" / "adapter_model.safetensors"
    halves = {name: mx.array(value).astype(mx.bfloat16) for name, value in load_file(path).items()}
    mx.save_safetensors(str(path), halves, metadata={"format": "pt"})
    formats.normalise(tmp_path / "peft", tmp_path / "back")
    before, after = load_file(ours / "adapters.safetensors"), load_file(tmp_path / "back" / "adapters.safetensors")
    assert all(np.allclose(before[name], after[name], rtol=1 / 128) for name in before)


def test_rslora_scales_by_the_root_of_the_rank(ours: Path, tmp_path: Path) -> None:
    formats.export_peft(ours, tmp_path / "peft", base_model="base")
    path = tmp_path / "peft" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_rslora": True}))
    formats.normalise(tmp_path / "peft", tmp_path / "back")
    assert read_config(tmp_path / "back").lora_parameters.scale == 4.0


def test_a_bare_npz_is_read(ours: Path, tmp_path: Path) -> None:
    formats.normalise(ours, tmp_path / "whole")
    (tmp_path / "whole" / "adapters.safetensors").unlink()
    formats.normalise(tmp_path / "whole", tmp_path / "back")
    formats.normalise(ours, tmp_path / "direct")
    read = load_file(tmp_path / "back" / "adapters.safetensors")
    expected = load_file(tmp_path / "direct" / "adapters.safetensors")
    assert all(np.array_equal(read[name], expected[name]) for name in expected)
    assert content_id(tmp_path / "direct") == content_id(ours)


@pytest.mark.parametrize("option", ["lora_bias", "rank_pattern", "modules_to_save"])
def test_what_cannot_be_served_is_refused_and_nothing_is_left(ours: Path, tmp_path: Path, option: str) -> None:
    formats.export_peft(ours, tmp_path / "peft", base_model="base")
    path = tmp_path / "peft" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {option: {"q_proj": 8}}))
    with pytest.raises(InvalidAdapter, match=option):
        formats.normalise(tmp_path / "peft", tmp_path / "back")
    assert [folder.name for folder in tmp_path.iterdir()] == ["peft"]


def test_a_tensor_that_is_no_lora_is_refused_by_name(ours: Path, tmp_path: Path) -> None:
    formats.export_peft(ours, tmp_path / "peft", base_model="base")
    path = tmp_path / "peft" / "adapter_model.safetensors"
    save_file(load_file(path) | {"base_model.model.lm_head.weight": np.zeros((2, 2), np.float32)}, path)
    with pytest.raises(InvalidAdapter, match="lm_head"):
        formats.normalise(tmp_path / "peft", tmp_path / "back")


def test_pickles_inside_an_npz_never_run(ours: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes((ours / "adapter_config.json").read_bytes())
    np.savez(folder / "adapter.npz", evil=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InvalidAdapter, match="cannot be read"):
        formats.normalise(folder, tmp_path / "back")


@pytest.mark.parametrize("kind", ["mlx-lm", "peft", "npz"])
def test_links_lead_only_to_where_they_may(ours: Path, tmp_path: Path, kind: str) -> None:
    """Hugging Face's cache holds links from its snapshots to its blobs; any other link could show a foreign file."""
    real, linked = tmp_path / "cache" / "blobs", tmp_path / "cache" / "snapshots" / "1"
    as_kind(ours, real, kind)
    linked.mkdir(parents=True)
    for path in real.iterdir():
        (linked / path.name).symlink_to(Path("../../blobs") / path.name)
    formats.normalise(linked, tmp_path / "taken", links_within=tmp_path / "cache")
    formats.normalise(real, tmp_path / "plain")
    assert content_id(tmp_path / "taken") == content_id(tmp_path / "plain")
    for links_within in (None, linked.parent):
        with pytest.raises(InvalidAdapter, match="is a link"):
            formats.normalise(linked, tmp_path / "never", links_within=links_within)
    assert not (tmp_path / "never").exists()


def as_kind(ours: Path, target: Path, kind: str) -> None:
    if kind == "peft":
        formats.export_peft(ours, target, base_model="base")
        return
    target.mkdir(parents=True)
    shutil.copyfile(ours / "adapter_config.json", target / "adapter_config.json")
    if kind == "npz":
        np.savez(target / "adapter.npz", **load_file(ours / "adapters.safetensors"))
    else:
        shutil.copyfile(ours / "adapters.safetensors", target / "adapters.safetensors")
