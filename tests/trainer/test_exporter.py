"""One scrape is one snapshot, and it shows the table: all of it, and nothing else."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from catalog.errors import Unavailable
from tests.promtool import complaints
from trainer.exporter import RUN_VALUES, RUNS_SHOWN, Board, Picture, RunSnapshot, Server, serve
from trainer.metrics import TRAINER_METRICS
from trainer.projection import Point

WHOLE = RunSnapshot(
    run_id="default__20260102_030405",
    base="ragweld-nano",
    step=12,
    steps_planned=104,
    epoch=1.5,
    loss=1.25,
    probe_loss=1.5,
    eval_loss=1.75,
    best_eval_loss=1.7,
    best_step=8,
    skipped=1,
    eval_accuracy=0.75,
    eval_margin=-0.5,
    lr=0.004,
    grad_norm=0.9,
    param_norm=7.5,
    update_norm=0.2,
    tokens_per_s=2500.0,
    step_s=0.4,
    memory_bytes=1 << 28,
    memory_active_bytes=1 << 27,
    resident_bytes=1 << 29,
    eta_s=41.5,
    point=Point(1.0, -2.0, 0.5, 0.95, "d" * 64),
)

PICTURE = Picture(WHOLE.run_id, grid=((0.5, -1.25e-7, 3.5), (1 / 3, 0.0, 3.25)), path=((12, 0.25, 0.125, 3.4),))


def scrape(board: Board) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What Prometheus would store, by series."""
    registry = CollectorRegistry()
    registry.register(board)
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    board = Board()
    board.show(WHOLE)
    server = serve(board, "127.0.0.1", 0)
    yield server
    server.close()


def test_a_whole_snapshot_shows_every_row_of_the_table_and_nothing_else() -> None:
    board = Board()
    board.show(WHOLE)
    board.draw(PICTURE)
    found = scrape(board)
    assert set(found) == {spec.name for spec in TRAINER_METRICS}
    for spec in TRAINER_METRICS:
        assert all(set(labels) == set(spec.labels) for labels, _ in found[spec.name]), spec.name


def test_every_row_about_a_run_has_a_value_and_every_value_a_row() -> None:
    about_runs = {spec.name for spec in TRAINER_METRICS if spec.labels == ("run_id",)}
    of_the_picture = {name for name in about_runs if name.startswith("ragweld_train_surface_")}
    assert about_runs - of_the_picture == set(RUN_VALUES)


def test_values_are_those_of_the_snapshot() -> None:
    board = Board()
    board.show(WHOLE)
    found = scrape(board)
    assert found["ragweld_train_busy"] == [({}, 1.0)]
    assert found["ragweld_train_step"] == [({"run_id": WHOLE.run_id}, 12.0)]
    assert found["ragweld_train_projection_y"] == [({"run_id": WHOLE.run_id}, -2.0)]
    assert found["ragweld_train_run_info"] == [
        ({"run_id": WHOLE.run_id, "base": "ragweld-nano", "status": "running"}, 1.0)
    ]


def test_what_is_not_known_yet_has_no_sample() -> None:
    board = Board()
    board.show(RunSnapshot("default__1", "ragweld-nano"))
    found = scrape(board)
    assert "ragweld_train_projection_x" not in found
    assert "ragweld_train_loss" not in found
    assert found["ragweld_train_step"] == [({"run_id": "default__1"}, 0.0)]


def test_only_the_last_few_runs_are_shown() -> None:
    board = Board()
    for number in range(7):
        board.show(RunSnapshot(f"run{number}", "ragweld-nano"))
        board.end(f"run{number}", "completed")
    assert [run.run_id for run in board.snapshot.runs] == ["run6", "run5", "run4", "run3"]
    assert len(scrape(board)["ragweld_train_step"]) == RUNS_SHOWN


def test_the_surface_is_that_of_the_newest_run_alone() -> None:
    board = Board()
    board.show(WHOLE)
    board.draw(PICTURE)
    run = {"run_id": WHOLE.run_id}
    found = scrape(board)
    assert found["ragweld_train_surface_loss"] == [
        (run | {"x": "0.5", "y": "-1.25e-07"}, 3.5),
        (run | {"x": "0.333333", "y": "0"}, 3.25),
    ]
    assert found["ragweld_train_path_loss"] == [(run | {"step": "12", "x": "0.25", "y": "0.125"}, 3.4)]
    board.show(RunSnapshot("default__1", "ragweld-nano"))
    assert "ragweld_train_surface_loss" not in scrape(board)


def test_ends_and_decisions_are_counted() -> None:
    board = Board()
    board.show(WHOLE)
    board.decide(promoted=True)
    board.decide(promoted=False)
    board.end(WHOLE.run_id, "completed")
    found = scrape(board)
    assert found["ragweld_train_busy"] == [({}, 0.0)]
    assert ({"status": "completed"}, 1.0) in found["ragweld_train_runs_total"]
    assert ({"status": "failed"}, 0.0) in found["ragweld_train_runs_total"]
    assert found["ragweld_train_promotions_total"] == [({"verdict": "promoted"}, 1.0), ({"verdict": "refused"}, 1.0)]


def test_a_scrape_over_http_shows_it(server: Server) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=60) as response:
        assert b'ragweld_train_step{run_id="default__20260102_030405"} 12.0' in response.read()


def test_a_taken_port_is_one_clear_line(server: Server) -> None:
    with pytest.raises(Unavailable, match=f"cannot listen on 127.0.0.1:{server.port}.*another port"):
        serve(Board(), "127.0.0.1", server.port)


def test_promtool_finds_no_fault_in_what_is_exported(server: Server) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=60) as answer:
        assert complaints(answer.read()) == []
