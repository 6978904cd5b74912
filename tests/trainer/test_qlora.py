"""The published 4-bit layout is learned on, dequantised or as it is; the recipe for its weights says what exists."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm.tuner.lora import LoRALinear
from mlx_lm.utils import load_model

from catalog.adapters import WEIGHTS_FILE
from catalog.base import device
from catalog.base.load import load
from catalog.base.lora import linear_shapes, read_adapter
from catalog.ids import BaseId
from catalog.plan import Profile, RunRequest, resolve
from catalog.settings import TrainingSettings
from tests.published_layout import write_layout
from tests.trainer.conftest import MakePlan
from tests.trainer.test_run import Home
from trainer import lesson
from trainer.evaluate import exam, measure, wearing
from trainer.loss import scorer
from trainer.objective import Imitation

README = Path(lesson.__file__).with_name("README.md")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layout(tmp_path_factory.mktemp("published") / "Qwen3-4bit")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


FEW_LOOKS = {"eval_interval_steps": 6, "telemetry_interval_steps": 20, "surface_grid": 0, "epochs": 2}


@pytest.mark.parametrize(
    ("kind", "cpu_float32"),
    [
        pytest.param("lora", True, id="LoRA in float32"),
        pytest.param("lora", False, id="LoRA on 4 bits", marks=pytest.mark.slow),
        pytest.param("dora", False, id="DoRA on 4 bits", marks=pytest.mark.slow),
    ],
)
def test_a_run_on_4_bits_learns_in_the_precision_of_the_policy_and_is_promoted(
    home: Home, make_plan: MakePlan, layout: Path, kind: str, cpu_float32: bool
) -> None:
    plan = make_plan(base=str(layout), lora_kind=kind, lora_target_modules=["q_proj", "down_proj"], **FEW_LOOKS)
    run = home.train(plan, cpu_float32=cpu_float32)
    assert (run.status, run.reason) == ("completed", None)
    manifest = json.loads((home.store.model_folder(run.run_id) / "manifest.json").read_bytes())
    widened = cpu_float32 and device.current().kind == "cpu"
    assert manifest["precision"] == ("float32 (stored as 4-bit)" if widened else "4-bit")
    measured = [event.metrics["eval_loss"] for event in home.of_type(run, "metrics")]
    assert measured[-1] < measured[0] - 0.1
    assert run.promotion.promoted
    assert run.promotion.candidate_loss == pytest.approx(run.summary.primary_best, rel=1e-3)


def test_over_4_bits_only_the_adapter_learns(make_plan: MakePlan, layout: Path, home: Home) -> None:
    prepared = lesson.prepare(make_plan(base=str(layout)), home.place.home, cpu_float32=False)
    layers = [module for module in prepared.learner.model.modules() if isinstance(module, LoRALinear)]
    assert layers and all(isinstance(layer.linear, nn.QuantizedLinear) for layer in layers)
    assert all(name.endswith(("lora_a", "lora_b")) for name in prepared.learner.tensors())
    packed = [mx.array(layer.linear.weight) for layer in layers]
    step = next(iter(prepared.course()))
    result = prepared.learner.step(1, prepared.parts(step), 0.01, lambda: None)
    assert result.applied and math.isfinite(result.loss)
    assert all(mx.array_equal(layer.linear.weight, before).item() for layer, before in zip(layers, packed, strict=True))


@pytest.mark.slow
def test_what_was_learned_in_float32_helps_the_4_bits_that_are_served_elsewhere(
    home: Home, make_plan: MakePlan, layout: Path
) -> None:
    run = home.train(make_plan(base=str(layout), **FEW_LOOKS))
    folder = home.store.model_folder(run.run_id)
    assert (folder / WEIGHTS_FILE).is_file()
    base = load(BaseId("published"), layout, cpu_float32=False)
    objective = Imitation(scorer(base.model))
    paper = exam(lesson.prepare(run.plan, home.place.home).material.held_out.rows)
    bare = measure(base.model, objective, paper).loss
    with wearing(base.model, read_adapter(folder, linear_shapes(base.model))):
        assert measure(base.model, objective, paper).loss < bare - 0.1
    assert isinstance(load_model(layout)[0].layers[0].mlp.down_proj, nn.QuantizedLinear)


def test_the_recipe_for_the_published_weights_names_settings_that_exist() -> None:
    (body,) = re.findall(r"train/start .*?-d '(\{.*?\})'", README.read_text("utf-8"), re.DOTALL)
    request = RunRequest.model_validate_json(body)
    profile = Profile.recommend(
        base=request.base or "",
        base_parameters=1_720_000_000,
        context=40_960,
        dataset_path="train.jsonl",
        rows=2400,
        training=TrainingSettings(),
    )
    plan = resolve(request, TrainingSettings(), profile)
    assert plan.base == "mlx-community/Qwen3-1.7B-4bit"
    assert plan.epochs * math.ceil(2400 / (plan.batch_size * plan.grad_accum_steps)) == 600
    assert (plan.batch_size, plan.lr, plan.lr_schedule, plan.warmup_ratio) == (4, 5e-6, "constant", 0.0)
