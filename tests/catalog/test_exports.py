"""An adapter leaves the house whole, by whatever name it was asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from mlx_lm.utils import load_adapters, load_model
from safetensors.numpy import load_file

from catalog import exports
from catalog.adapters import AdapterStore
from catalog.errors import InvalidRequest, NotFound
from catalog.exports import Format
from catalog.ids import AdapterId, BaseId, fine_tuned_id
from catalog.run_life import Ended
from catalog.runs import RunStore
from tests.gateway.test_run_stream import PLAN
from tests.tiny_base import mx, write_adapter, write_base


@dataclass(frozen=True)
class Made:
    """A home with a tiny base, a completed run on it, and the run's adapter kept under its name."""

    home: Path
    base: str
    run_id: str
    adapter_id: AdapterId

    def export(self, named: str, kind: Format, *, quantised: bool = False) -> exports.Exported:
        source = exports.find(named, self.home, {self.base}, self.base)
        return exports.export(source, kind, self.home / "out", self.home, quantised=quantised)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    base = write_base(tmp_path / "base")
    runs, adapters = RunStore(tmp_path), AdapterStore(tmp_path)
    run = runs.create("default", PLAN.model_copy(update={"base": str(base)}))
    claimed = runs.claim_next()
    assert claimed is not None
    folder = write_adapter(runs.model_folder(run.run_id), base, seed=3, size=0.2)
    adapter_id = adapters.put(folder, name=run.run_id)
    runs.apply(run.run_id, Ended("completed", adapter_id=adapter_id))
    claimed.claim.release()
    return Made(tmp_path, str(base), run.run_id, adapter_id)


def test_mlx_lms_folder_is_what_mlx_lm_loads(made: Made) -> None:
    exported = made.export(made.run_id, "mlx-lm")
    assert {path.name for path in exported.folder.iterdir()} == {"adapters.safetensors", "adapter_config.json"}
    model, _ = load_model(Path(made.base))
    load_adapters(model, str(exported.folder))
    assert bool(mx.isfinite(model(mx.array([[1, 2, 3]]))).all())


def test_pefts_folder_names_the_base_and_has_pefts_effect(made: Made) -> None:
    """B A scaled by alpha / r, as PEFT computes it, is the change that ours makes. PEFT itself agreed to 3e-6."""
    exported = made.export(made.run_id, "peft")
    config = json.loads((exported.folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == made.base
    theirs = load_file(exported.folder / "adapter_model.safetensors")
    ours = load_file(RunStore(made.home).model_folder(made.run_id) / "adapters.safetensors")
    layer = "model.layers.1.self_attn.q_proj"
    scale = config["lora_alpha"] / config["r"]
    a, b = (theirs[f"base_model.model.{layer}.lora_{part}.weight"] for part in "AB")
    assert np.allclose(scale * (b @ a), 2.0 * (ours[f"{layer}.lora_a"] @ ours[f"{layer}.lora_b"]).T, atol=1e-6)


def test_a_fused_model_needs_no_adapter(made: Made) -> None:
    exported = made.export(made.run_id, "fused")
    model, _ = load_model(exported.folder)
    adapted, _ = load_model(Path(made.base))
    load_adapters(adapted, str(RunStore(made.home).model_folder(made.run_id)))
    tokens = mx.array([[5, 17, 99]])
    assert float(mx.abs(model(tokens) - adapted(tokens)).max()) < 1e-4
    assert exported.note.startswith("relative error of the adapter's effect")


def test_it_is_found_by_run_name_id_and_model_id(made: Made) -> None:
    store, base = AdapterStore(made.home), BaseId(made.base)
    names = [
        made.run_id,
        made.adapter_id,
        made.adapter_id[:12],
        f"ragweld:{made.base}@{made.run_id}",
        fine_tuned_id(made.base, "suffix", made.run_id),
    ]
    store.move(base, made.adapter_id, expected=None, reason="test")
    names += ["ragweld", f"ragweld:{made.base}", "1"]
    for named in names:
        found = exports.find(named, made.home, {made.base}, made.base)
        assert (found.folder / "adapters.safetensors").is_file(), named


@pytest.mark.parametrize("named", ["ragweld", "ragweld@base", "nothing", "../x", "", "ragweld@nothing"])
def test_what_is_no_adapter_is_not_found(made: Made, named: str) -> None:
    with pytest.raises((NotFound, InvalidRequest)):
        exports.find(named, made.home, {made.base}, made.base)


def test_a_folder_that_is_there_is_never_replaced(made: Made) -> None:
    (made.home / "out").mkdir()
    with pytest.raises(InvalidRequest, match="exists"):
        made.export(made.run_id, "peft")
    assert list((made.home / "out").iterdir()) == []


def test_only_a_fused_model_can_be_quantised(made: Made) -> None:
    with pytest.raises(InvalidRequest):
        made.export(made.run_id, "peft", quantised=True)
