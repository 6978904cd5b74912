"""DoRA by mlx-lm's own layer: learned with its magnitudes, kept in mlx-lm's naming, measured as it is served."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import pytest
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import load_model
from safetensors.numpy import load_file

from catalog.base.load import Base, load
from catalog.base.lora import LoraSettings, add_lora, linear_shapes, read_adapter, without_adapter
from catalog.ids import BaseId
from tests.trainer.conftest import MakePlan
from tests.trainer.test_objective import rows
from tests.trainer.test_run import Home
from trainer.batches import Part, make_batch
from trainer.evaluate import exam, measure, wearing
from trainer.learner import Learner
from trainer.loss import scorer
from trainer.objective import Imitation

SETTINGS = LoraSettings(4, 8.0, 0.0, ("q_proj", "v_proj"), "dora")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_before_learning_it_is_the_base_to_the_bit(base: Base) -> None:
    parts = Imitation(scorer(base.model))
    bare = measure(base.model, parts, exam(rows(4)))
    config = add_lora(base.model, SETTINGS, seed=1)
    assert config.fine_tune_type == "dora"
    assert measure(base.model, parts, exam(rows(4))) == bare
    with without_adapter(base.model):
        assert measure(base.model, parts, exam(rows(4))) == bare


def test_magnitudes_are_learned_and_the_base_is_not(base: Base) -> None:
    parts = scorer(base.model)
    add_lora(base.model, SETTINGS, seed=1)
    learner = Learner(base.model, Imitation(parts), seed=1)
    before = learner.tensors()
    learner.step(1, [Part(0, make_batch(rows(4)))], 0.01, lambda: None)
    assert {name.rpartition(".")[2] for name in before} == {"lora_a", "lora_b", "m"}
    moved = [name for name, value in learner.tensors().items() if not mx.array_equal(value, before[name]).item()]
    assert {name.rpartition(".")[2] for name in moved} >= {"lora_b", "m"}


def test_a_run_keeps_what_mlx_lm_reads_and_promotes_what_it_measured(
    home: Home, make_plan: MakePlan, base_folder: Path
) -> None:
    run = home.train(make_plan(lora_kind="dora"))
    assert (run.status, run.reason) == ("completed", None)
    folder = home.store.model_folder(run.run_id)
    assert json.loads((folder / "adapter_config.json").read_bytes())["fine_tune_type"] == "dora"
    assert any(name.endswith(".m") for name in load_file(folder / "adapters.safetensors"))
    assert run.promotion.promoted
    assert run.promotion.candidate_loss == pytest.approx(run.summary.primary_best, rel=1e-5)
    said = " ".join(event.message for event in home.of_type(run, "log"))
    assert "DoRA of rank 4 on q_proj, v_proj" in said

    theirs, _ = load_model(base_folder)
    load_adapters(theirs, str(folder))
    theirs.eval()  # what is put on a model begins with its dropout on
    ours = load(BaseId("tiny"), base_folder)
    tokens = mx.array([rows(1)[0].tokens])
    with wearing(ours.model, read_adapter(folder, linear_shapes(ours.model))):
        assert mx.allclose(ours.model(tokens), theirs(tokens), atol=1e-4).item()
    assert not mx.allclose(ours.model(tokens), theirs(tokens), atol=1e-2).item()
