"""`ragweld metrics backfill` of a run that was really trained; a real Prometheus then answers with its every step."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from catalog import events
from catalog.adapters import AdapterStore
from catalog.events import Event
from catalog.plan import Plan
from catalog.runs import RunStore
from catalog.settings import Settings, load
from deploy import backfill, cli
from grafana.openmetrics import OF_A_STEP, TELL_A_STEP, step_times
from tests.prometheus_server import PrometheusServer, prometheus
from tests.requirements_of_machine import need_promtool
from tests.tiny_base import write_base
from tests.trainer.conftest import fact
from trainer.main import train_next
from trainer.run import Workplace

INSTANCE = f"{Settings().trainer.metrics_host}:{Settings().trainer.metrics_port}"


@dataclass(frozen=True)
class Trained:
    """A home with one run that ended."""

    home: Path
    run_id: str

    @property
    def told(self) -> list[Event]:
        return events.read_events(RunStore(self.home).metrics_path(self.run_id))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Twelve quick steps of a tiny base, every one told."""
    root = tmp_path_factory.mktemp("backfill")
    rows = root / "facts.jsonl"
    rows.write_text("".join(json.dumps(fact(number)) + "\n" for number in range(20)), "utf-8")
    plan = Plan(
        base=str(write_base(root / "tiny")), dataset_path=str(rows), seed=3, epochs=4, batch_size=2, lr=0.02,
        warmup_ratio=0.2, max_length=256, lora_rank=4, lora_alpha=8, lora_dropout=0, lora_target_modules=["q_proj"],
        grad_accum_steps=4, telemetry_interval_steps=1, promote_if_improves=False, promote_epsilon=0,
    )  # fmt: skip
    home = root / "home"
    store = RunStore(home)
    run = store.create("default", plan)
    place = Workplace(
        home=home, mirror=lambda scope, base: home / "models" / scope, store=store, adapters=AdapterStore(home)
    )
    assert train_next(place)
    assert store.get(run.run_id).status == "completed"
    return Trained(home, run.run_id)


@pytest.fixture(scope="module")
def server(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """A Prometheus over a data folder that holds the run's blocks and scrapes nothing."""
    need_promtool()
    folder = tmp_path_factory.mktemp("prometheus")
    asked = ["metrics", "backfill", trained.run_id, "--out", str(folder / "tsdb"), "--home", str(trained.home)]
    assert cli.main(asked, {}) == os.EX_OK
    with prometheus({}, folder) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("metric", OF_A_STEP)
def test_prometheus_answers_with_each_steps_exact_value_at_its_exact_time(
    metric: str, trained: Trained, server: PrometheusServer
) -> None:
    times = step_times(trained.told)
    stored = {
        round(times[event.step], 3): float(value)
        for event in trained.told
        if event.type in TELL_A_STEP and event.step and (value := OF_A_STEP[metric](event)) is not None
    }
    (series,) = server.stored(metric, "1h")
    assert dict(series.points) == stored
    assert len(stored) == 12
    assert series.labels == {
        "__name__": metric,
        "run_id": trained.run_id,
        "instance": INSTANCE,
        "job": "ragweld-trainer",
    }


@pytest.mark.slow
def test_evaluations_and_the_end_are_there_too(trained: Trained, server: PrometheusServer) -> None:
    losses = [event.metrics["eval_loss"] for event in trained.told if event.type == "metrics" and event.metrics]
    (series,) = server.stored("ragweld_train_eval_loss", "1h")
    assert [value for _, value in series.points] == losses
    (best,) = server.query("last_over_time(ragweld_train_best_eval_loss[1h])")
    assert best.points[0][1] == min(losses[1:])
    assert server.query('last_over_time(ragweld_train_run_info{status="completed"}[1h])')


def test_without_promtool_the_text_is_written_and_the_command_said(trained: Trained, tmp_path: Path) -> None:
    said: list[str] = []
    words = cli.parser().parse_args(["metrics", "backfill", trained.run_id, "--out", str(tmp_path)])
    backfill.run(words, trained.home, load(trained.home, {}), said.append, which=lambda name: None)
    file = tmp_path / f"{trained.run_id}.openmetrics"
    assert file.read_text().endswith("# EOF\n")
    assert f"promtool tsdb create-blocks-from openmetrics {file} {tmp_path}" in said[1]
    assert list(tmp_path.iterdir()) == [file]


def test_a_run_that_is_not_over_or_not_there_is_refused_in_one_line(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = RunStore(tmp_path)
    queued = store.create("default", RunStore(trained.home).get(trained.run_id).plan)
    for run_id, reason in ((queued.run_id, "is queued"), ("default__20200101_000000", "There is no run")):
        asked = ["metrics", "backfill", run_id, "--out", str(tmp_path / "out"), "--home", str(tmp_path)]
        assert cli.main(asked, {}) != os.EX_OK
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
