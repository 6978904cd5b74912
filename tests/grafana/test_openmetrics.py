"""A run's events become samples under the trainer's names, each at the time of its step."""

from __future__ import annotations

from catalog.events import Event
from catalog.plan import Plan
from catalog.run_life import Run
from grafana.openmetrics import (
    NOT_STORED,
    OF_A_STEP,
    OF_EVALUATIONS,
    OF_RUN,
    OF_SURFACE,
    openmetrics,
    samples,
    step_times,
)
from tests.catalog.test_pictures import surface
from tests.gateway.test_run_stream import PLAN
from trainer.metrics import TRAINER_METRICS

PLANNED: Plan = PLAN
RUN = Run(
    run_id="default__20260102_030405",
    scope="default",
    status="completed",
    plan=PLANNED,
    created_at="2026-01-02T03:04:05.000Z",
    ended_at="2026-01-02T03:04:20.000Z",
)
START_S = 1767323045.0


def at(second: float) -> str:
    return f"2026-01-02T03:04:{5 + second:06.3f}Z"


def event(kind: str, second: float, **fields: object) -> Event:
    return Event.model_validate({"type": kind, "ts": at(second), "run_id": RUN.run_id, **fields})


TOLD = [
    event("metrics", 0.0, step=0, metrics={"eval_loss": 3.0}),
    event("progress", 1.0, step=1, percent=25.0),
    event("progress", 2.5, step=2, percent=50.0),
    event("metrics", 2.6, step=2, metrics={"eval_loss": 1.0}),
    # Held back until the plane was known, and told together.
    event("telemetry", 2.7, step=1, loss=2.0, lr=0.1, step_time_ms=400.0, proj_x=0.5),
    event("telemetry", 2.7, step=2, loss=1.5, lr=0.05, step_time_ms=500.0, proj_x=0.75),
    event("progress", 4.0, step=4, percent=100.0),
    event("metrics", 4.1, step=4, metrics={"eval_loss": 1.25}),
]


def series(name: str) -> list[tuple[float, float]]:
    return sorted(
        (round(at_s - START_S, 3), value) for metric, _, at_s, value in samples(RUN, TOLD, None) if metric == name
    )


def test_every_metric_of_the_table_is_taken_from_the_run_or_on_the_written_list() -> None:
    taken = {*OF_A_STEP, *OF_EVALUATIONS, *OF_SURFACE, *OF_RUN}
    assert taken.isdisjoint(NOT_STORED)
    assert taken | set(NOT_STORED) == {spec.name for spec in TRAINER_METRICS}


def test_points_that_were_held_back_stand_at_the_time_of_their_step() -> None:
    assert step_times(TOLD) == {1: START_S + 1.0, 2: START_S + 2.5, 4: START_S + 4.0}
    assert series("ragweld_train_loss") == [(1.0, 2.0), (2.5, 1.5)]
    assert series("ragweld_train_step_seconds") == [(1.0, 0.4), (2.5, 0.5)]


def test_the_best_is_the_lowest_so_far_and_the_bare_base_is_none_of_the_runs() -> None:
    assert series("ragweld_train_eval_loss") == [(0.0, 3.0), (2.6, 1.0), (4.1, 1.25)]
    assert series("ragweld_train_best_eval_loss") == [(2.6, 1.0), (4.1, 1.0)]
    assert series("ragweld_train_best_step") == [(2.6, 2.0), (4.1, 2.0)]


def test_the_run_says_what_it_was_and_how_it_ended() -> None:
    said = {
        dict(labels)["status"]: at_s for name, labels, at_s, _ in samples(RUN, TOLD, None) if name.endswith("_info")
    }
    assert said == {"running": START_S + 4.0, "completed": START_S + 15.0}
    assert {value for _, value in series("ragweld_train_steps_planned")} == {4.0}


def test_the_surface_stands_at_the_end_of_the_run_with_the_exporters_labels() -> None:
    drawn = [one for one in samples(RUN, TOLD, surface(RUN.run_id)) if one[0] in OF_SURFACE]
    assert {at_s for _, _, at_s, _ in drawn} == {START_S + 15.0}
    named = {(name, *(text for label, text in labels if label != "run_id")): value for name, labels, _, value in drawn}
    assert named == {
        ("ragweld_train_surface_loss", "0", "0"): 1.0,
        ("ragweld_train_surface_loss", "1", "0"): 2.0,
        ("ragweld_train_surface_share",): 0.95,
        ("ragweld_train_surface_off_plane",): 0.1,
        ("ragweld_train_path_loss", "2", "0.5", "0.5"): 1.2,
        ("ragweld_train_path_mark", "start", "2", "0.5", "0.5"): 1.2,
        ("ragweld_train_path_mark", "best", "2", "0.5", "0.5"): 1.2,
        ("ragweld_train_path_mark", "now", "2", "0.5", "0.5"): 1.2,
    }


def test_the_text_is_openmetrics_with_the_labels_of_a_scrape() -> None:
    lines = openmetrics(RUN, TOLD, None, "127.0.0.1:8001").splitlines()
    loss = '{run_id="default__20260102_030405",instance="127.0.0.1:8001",job="ragweld-trainer"}'
    assert f"ragweld_train_loss{loss} 2.0 1767323046.000" in lines
    assert lines[-1] == "# EOF"
    assert lines.count("# TYPE ragweld_train_loss gauge") == 1
