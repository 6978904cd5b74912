"""Two runs are compared in settings, data, curve and results, and results only where they mean the same."""

from __future__ import annotations

from pathlib import Path

from catalog.ids import BaseId
from catalog.run_life import Run, Summary
from catalog.runs import RunStore
from gateway import diff
from gateway.diff import Side
from tests.gateway.test_run_stream import PLAN

ROWS = {"rows_sha256": "a"}


def run(name: str, **changes: object) -> Run:
    plan = PLAN.model_copy(update=changes)
    return Run(run_id=name, scope="s", status="completed", plan=plan, created_at="x", summary=Summary(primary_best=1.0))


def test_runs_on_other_rows_bases_or_objectives_are_not_comparable() -> None:
    one = Side(run("a"), ROWS)
    assert diff.compare(one, Side(run("b"), ROWS))["compatible"]
    others = {
        "their rows": Side(run("b"), {"rows_sha256": "b"}),
        "different bases": Side(run("b", base=BaseId("x")), ROWS),
        "their objectives": Side(run("b", objective="dpo"), ROWS),
    }
    for words, other in others.items():
        found = diff.compare(one, other)
        assert (found["compatible"], found["improved"], found["delta_best"]) == (False, None, 0.0)
        assert words in found["reason"]


def test_settings_that_differ_are_told_and_no_others() -> None:
    found = diff.compare(Side(run("a"), ROWS), Side(run("b", lr=0.5, seed=7), ROWS))
    assert found["settings"] == {
        "seed": {"baseline": PLAN.seed, "current": 7},
        "lr": {"baseline": PLAN.lr, "current": 0.5},
    }
    assert diff.compare(Side(run("a"), ROWS), Side(run("b"), ROWS))["settings"] == {}


def test_curves_are_joined_by_step() -> None:
    found = diff.compare(Side(run("a"), ROWS, {0: 3.0, 10: 2.0}), Side(run("b"), ROWS, {0: 3.0, 20: 1.0}))
    assert found["curve"] == [
        {"step": 0, "baseline": 3.0, "current": 3.0, "delta": 0.0},
        {"step": 10, "baseline": 2.0, "current": None, "delta": None},
        {"step": 20, "baseline": None, "current": 1.0, "delta": None},
    ]


def test_a_run_is_read_from_its_files(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    created = store.create("default", PLAN)
    store.append(created.run_id, "metrics", step=0, metrics={"eval_loss": 2.5})
    store.append(created.run_id, "metrics", step=4, metrics={"train_loss": 1.0, "eval_loss": 1.5})
    side = diff.read(created.run_id, store)
    assert side.curve == {0: 2.5, 4: 1.5}
    assert side.rows["dataset_path"] == PLAN.dataset_path
    found = diff.compare(side, side)
    assert found["data"]["same"] and found["data"]["baseline"]["seed"] == PLAN.seed
