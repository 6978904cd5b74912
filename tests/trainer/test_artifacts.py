"""An adapter folder is whole or absent, and both mlx-lm and the server read it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import load_adapters

from catalog.adapters import CONFIG_FILE, MANIFEST_FILE, NPZ_FILE, WEIGHTS_FILE, AdapterConfig, LoraParameters
from catalog.base.load import Base, load
from catalog.base.lora import LoraSettings, add_lora, linear_shapes, read_adapter
from catalog.ids import BaseId
from catalog.manifest import DatasetRecord, Manifest
from catalog.run_life import Summary
from tests.house import full_disk
from tests.trainer.conftest import MakePlan
from trainer.artifacts import package_versions, write

FILES = {WEIGHTS_FILE, NPZ_FILE, CONFIG_FILE, MANIFEST_FILE}

WRITER = """
import os, signal, sys
from pathlib import Path
import mlx.core as mx
from catalog.adapters import AdapterConfig, LoraParameters
from catalog.manifest import Manifest
from trainer import artifacts
left = int(sys.argv[2])
def count(event, arguments):
    global left
    if event in ("open", "os.rename", "os.chmod", "os.mkdir", "shutil.rmtree"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
config = AdapterConfig(num_layers=1, lora_parameters=LoraParameters(rank=1, scale=1.0))
manifest = Manifest.model_validate_json(Path(sys.argv[3]).read_bytes())
sys.addaudithook(count)
artifacts.write(Path(sys.argv[1]), {"a.lora_a": mx.ones((4, 1))}, config, manifest)
"""


@pytest.fixture
def manifest(make_plan: MakePlan) -> Manifest:
    record = DatasetRecord(
        path="facts.jsonl",
        bytes_sha256="0" * 64,
        rows_sha256="1" * 64,
        split_seed=3,
        held_out_sha256=["2" * 64],
        train_rows=18,
        held_out_rows=2,
        dropped_rows=0,
        train_tokens=900,
        supervised_tokens=200,
    )
    return Manifest(
        run_id="default__20260102_030405",
        base="tiny",
        precision="float32",
        device="CPU",
        plan=make_plan(),
        dataset=record,
        best_step=4,
        steps_done=4,
        summary=Summary(),
        versions=package_versions(),
    )


def test_mlx_lm_and_the_server_read_what_was_written(
    base: Base, base_folder: Path, tmp_path: Path, manifest: Manifest
) -> None:
    shapes = linear_shapes(base.model)
    config = add_lora(base.model, LoraSettings(4, 8.0, 0.1, ("q_proj", "up_proj")), seed=1)
    mx.random.seed(0)
    tensors = {name: mx.random.normal(value.shape) for name, value in tree_flatten(base.model.trainable_parameters())}
    write(tmp_path / "model", tensors, config, manifest)

    fresh = load_adapters(load(BaseId("tiny"), base_folder).model, str(tmp_path / "model"))
    loaded = dict(tree_flatten(fresh.parameters()))
    assert all(mx.array_equal(loaded[name], value).item() for name, value in tensors.items())

    base.model.load_weights(list(tensors.items()), strict=False)
    tokens = mx.array([[1, 2, 3]])
    fresh.eval()
    base.model.eval()
    assert mx.allclose(fresh(tokens), base.model(tokens)).item()

    adapter = read_adapter(tmp_path / "model", shapes)
    assert set(adapter.pairs) == {name.rpartition(".")[0] for name in tensors}
    with np.load(tmp_path / "model" / NPZ_FILE) as archive:
        assert {name: archive[name].tolist() for name in archive.files} == {n: t.tolist() for n, t in tensors.items()}
    assert Manifest.model_validate_json((tmp_path / "model" / MANIFEST_FILE).read_bytes()) == manifest


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path, manifest: Manifest) -> None:
    config = AdapterConfig(num_layers=1, lora_parameters=LoraParameters(rank=1, scale=1.0))
    write(tmp_path / "model", {"a.lora_a": mx.zeros((4, 1))}, config, manifest)
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    with pytest.raises(RuntimeError):
        write(tmp_path / "model", {"a.lora_a": mx.ones((4, 1)), "a.lora_b": "no array"}, config, manifest)
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


def test_a_full_disk_is_an_error_of_the_disk_and_leaves_what_was_there(tmp_path: Path, manifest: Manifest) -> None:
    """What MLX itself cannot write would fail the run for good; of a full disk it can be resumed."""
    config = AdapterConfig(num_layers=1, lora_parameters=LoraParameters(rank=1, scale=1.0))
    write(tmp_path / "model", {"a.lora_a": mx.zeros((4, 1))}, config, manifest)
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    with full_disk(4096), pytest.raises(OSError, match="File too large"):
        write(tmp_path / "model", {"a.lora_a": mx.ones((4096, 1))}, config, manifest)
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


@pytest.mark.slow
def test_a_writer_killed_at_any_operation_leaves_a_whole_folder_or_none(tmp_path: Path, manifest: Manifest) -> None:
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json())
    outcomes = []
    for operation in range(1, 100):
        target = tmp_path / f"run{operation}" / "model"
        command = [sys.executable, "-c", WRITER, str(target), str(operation), str(tmp_path / "manifest.json")]
        code = subprocess.run(command, timeout=300, check=False).returncode
        if target.exists():
            assert {path.name for path in target.iterdir()} == FILES
            assert mx.load(str(target / WEIGHTS_FILE))["a.lora_a"].shape == (4, 1)
        outcomes.append(target.exists())
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert len(outcomes) > 8
    assert outcomes == sorted(outcomes)
