"""The default run on the shipped sample: what a person gets who changes nothing, in the time that is promised."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from catalog import events
from catalog.adapters import AdapterStore
from catalog.base import blas
from catalog.runs import RunStore
from tests.requirements_of_machine import need_openblas
from tests.sample_run import default_plan, default_profile
from trainer.main import train_next
from trainer.run import Workplace

LIMIT_S = 120.0
POINTS = 40


@pytest.mark.slow
def test_the_sample_is_learned_within_two_minutes_of_one_core(tmp_path: Path) -> None:
    if not blas.preload().fast:
        need_openblas()
    store, adapters = RunStore(tmp_path), AdapterStore(tmp_path)
    run = store.create("default", default_plan())
    began_s = time.process_time()
    assert train_next(Workplace(tmp_path, lambda scope: tmp_path / scope, store, adapters))
    assert time.process_time() - began_s < LIMIT_S

    run = store.get(run.run_id)
    told = events.read_events(store.metrics_path(run.run_id))
    telemetry = [event for event in told if event.type == "telemetry"]
    assert run.status == "completed"
    assert run.promotion is not None and run.promotion.promoted
    assert run.summary is not None and run.summary.primary_best < 0.2 * run.promotion.base_loss
    assert len(telemetry) >= POINTS
    assert telemetry[-1].loss < 0.1 * telemetry[0].loss
    assert telemetry[-1].step == pytest.approx(default_profile().steps, rel=0.15)
