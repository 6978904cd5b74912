"""The surface of a real run: true losses on the true plane, within its share of the time, finished after the run."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from catalog import pictures
from catalog.adapters import AdapterStore
from catalog.events import read_events
from catalog.pictures import Surface
from catalog.plan import Plan
from catalog.run_life import CancelRequested, Run
from catalog.runs import RunStore
from tests.trainer.conftest import MakePlan, fact
from trainer import lesson
from trainer.evaluate import measure
from trainer.exporter import Picture
from trainer.main import paint_some, train_next
from trainer.picture import later, painter
from trainer.picture.live import SNAPSHOTS_FOLDER, Easel
from trainer.picture.snapshots import Gallery
from trainer.run import Workplace

GRID = 6


class Home:
    """A home folder with a trainer whose picture's clock ticks by itself."""

    def __init__(self, folder: Path) -> None:
        self.store = RunStore(folder)
        ticks = itertools.count()
        self.place = Workplace(
            home=folder,
            mirror=lambda scope, base: folder / "models" / scope,
            store=self.store,
            adapters=AdapterStore(folder),
            picture_clock=lambda: next(ticks) * 1.0,
        )

    def train(self, plan: Plan, **seams: object) -> Run:
        run = self.store.create("default", plan)
        assert train_next(replace(self.place, **seams))
        return self.store.get(run.run_id)

    def folder(self, run: Run) -> Path:
        return pictures.folder(self.store, run.run_id)

    def surface(self, run: Run) -> Surface:
        return pictures.surface_of(self.store, run.run_id)

    def told(self, run: Run, status: str) -> list[str | None]:
        return [event.message for event in read_events(self.store.metrics_path(run.run_id)) if event.status == status]

    def paint(self, run: Run, is_wanted: Callable[[], bool] = lambda: False, clock: float = 0.0) -> list[Picture]:
        """What /metrics was given meanwhile."""
        drawn: list[Picture] = []
        times = itertools.count()
        easel = Easel(self.folder(run), drawn.append, lambda: next(times) * clock, lambda: "now")
        later.finish(run, self.place.home, self.store, easel, is_wanted)
        return drawn


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def plan(make_plan: MakePlan) -> Plan:
    return make_plan(promote_if_improves=False, surface_grid=GRID, surface_share=0.5)


def test_every_value_is_a_plain_evaluation_at_that_point(home: Home, plan: Plan) -> None:
    run = home.train(plan)
    assert home.paint(run)
    surface = home.surface(run)
    assert surface.measured == surface.total == GRID**2 + len(surface.points)
    prepared = lesson.prepare(plan, home.place.home)
    gallery = Gallery(home.folder(run) / SNAPSHOTS_FOLDER)
    directions = np.array(surface.frame.weights) @ np.stack(
        [np.array(numbers) for numbers in gallery.combine(np.eye(len(gallery.marks)))]
    )
    assert directions @ directions.T == pytest.approx(np.eye(2), abs=1e-3)

    def plain(x: float, y: float) -> float:
        """The loss of a model that was never trained nor painted, put at the point by hand."""
        learner = prepared.learner
        numbers = np.array(learner.start) + x * directions[0] + y * directions[1]
        learner.model.load_weights(list(learner.shaped(mx.array(numbers.astype(np.float32))).items()), strict=False)
        return measure(learner.model, prepared.objective, prepared.probe).loss

    for row, column in ((0, 0), (2, 5), (5, 1)):
        assert surface.loss[row][column] == pytest.approx(plain(surface.xs[column], surface.ys[row]), rel=1e-4)
    last = surface.points[-1]
    assert last.plane_loss == pytest.approx(plain(last.x, last.y), rel=1e-4)


def test_the_path_carries_its_own_true_loss_beside_that_of_the_plane(home: Home, plan: Plan) -> None:
    run = home.train(plan)
    home.paint(run)
    told = {event.step: event.probe_loss for event in read_events(home.store.metrics_path(run.run_id))
            if event.type == "telemetry"}  # fmt: skip
    surface = home.surface(run)
    assert [point.step for point in surface.points] == list(range(13))
    start = surface.points[0]
    assert (start.x, start.y, start.off_plane) == (0.0, 0.0, 0.0)
    assert start.plane_loss == pytest.approx(start.loss, rel=1e-5)
    for point in surface.points:
        assert point.step == 0 or point.loss == told[point.step]
        assert point.plane_loss is not None
        if point.off_plane < 0.05:
            assert point.plane_loss == pytest.approx(point.loss, rel=0.05)
    whole = sum(point.x**2 + point.y**2 + point.off_plane**2 for point in surface.points)
    assert surface.share == pytest.approx(sum(point.x**2 + point.y**2 for point in surface.points) / whole)
    kinds = [plane.kind for plane in pictures.path_of(home.store, run.run_id).planes]
    assert kinds == ["frozen", "sketch_pca", "snapshot_pca"]


def test_a_run_with_a_surface_is_bit_equal_to_one_without(home: Home, plan: Plan) -> None:
    without = home.train(plan.model_copy(update={"surface_grid": 0, "snapshot_bytes": 0}))
    painted = home.train(plan.model_copy(update={"surface_share": 1.0}))
    assert home.surface(painted).measured > 0
    assert painted.adapter_id == without.adapter_id
    with pytest.raises(Exception, match="No surface"):
        home.surface(without)


def test_during_the_run_the_surface_takes_no_more_than_its_share(
    home: Home, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    painted: list[float] = []
    plain_plan, plain_measure, plain_put = painter.plan, painter.Painter.measure_next, Easel.show

    def costs(seconds: float, act: Callable[..., object]) -> Callable[..., object]:
        def costly(*arguments: object) -> object:
            now[0] += seconds
            painted.append(seconds)
            return act(*arguments)

        return costly

    class Steps(RunStore):
        """Time passes where the run is looked at."""

        def event(self, run_id: str, kind: object, **fields: object) -> object:
            now[0] += 5.0
            return super().event(run_id, kind, **fields)

    monkeypatch.setattr(painter, "plan", costs(0.5, plain_plan))
    monkeypatch.setattr(painter.Painter, "measure_next", costs(0.25, plain_measure))
    monkeypatch.setattr(Easel, "show", costs(0.125, plain_put))
    share = 0.05
    home.train(
        plan.model_copy(update={"surface_share": share}),
        picture_clock=lambda: now[0],
        store=Steps(home.place.home),
    )
    assert len(painted) > 10
    assert sum(painted[:-1]) <= share * now[0] + 0.5


def test_a_run_whose_file_is_spoiled_keeps_no_other_from_being_finished(tmp_path: Path, plan: Plan) -> None:
    store = RunStore(tmp_path)
    spoiled, sound = (store.create("default", plan).run_id for _ in range(2))
    store.apply(sound, CancelRequested())
    for run_id in (spoiled, sound):
        marker = pictures.folder(store, run_id) / pictures.UNFINISHED
        marker.parent.mkdir(parents=True)
        marker.touch()
    (store.root / spoiled / "run.json").write_bytes(b"{}")
    found = later.newest_unfinished(store)
    assert found is not None and found.run_id == sound


def test_after_the_run_it_yields_to_a_queued_run_and_goes_on_later(home: Home, plan: Plan) -> None:
    run = home.train(plan.model_copy(update={"surface_share": 0.0}))
    marker = home.folder(run) / pictures.UNFINISHED
    assert later.newest_unfinished(home.store) == run
    looks = itertools.count(1)
    home.paint(run, is_wanted=lambda: next(looks) == 30, clock=0.3)
    first = home.surface(run)
    assert 25 <= first.measured < first.total
    assert marker.exists()
    home.store.create("default", plan)
    assert home.store.has_queued()
    assert train_next(home.place)
    drawn = home.paint(run)
    second = home.surface(run)
    assert second.measured == second.total
    assert second.digest == first.digest
    assert not marker.exists()
    for before, after in zip(first.loss, second.loss, strict=True):
        for was, now in zip(before, after, strict=True):
            assert was in (None, now)
    assert len(drawn[-1].grid) == GRID**2
    told = home.told(run, "surface_measured")
    assert len(told) == 2
    assert "5 x 5" in str(told[0]) and f"{GRID} x {GRID}" in str(told[1])


def test_one_process_finishes_the_surface_of_a_run_that_several_were_meant_for(home: Home, plan: Plan) -> None:
    """Most of the time for the surface: enough for a probe of several rows, whoever else computes gradients."""
    run = home.train(plan.model_copy(update={"surface_share": 0.9}), processes=2)
    while paint_some(home.place):
        pass
    assert [event for event in read_events(home.store.metrics_path(run.run_id)) if event.type == "error"] == []
    assert home.told(run, "surface_measured")


def test_a_surface_on_other_rows_is_not_finished(home: Home, plan: Plan) -> None:
    run = home.train(plan.model_copy(update={"surface_share": 0.0}))
    rows = Path(plan.dataset_path)
    rows.write_text(rows.read_text().replace("berth", "quay").replace("Berth", "Quay"))
    assert paint_some(home.place)
    errors = [event.message for event in read_events(home.store.metrics_path(run.run_id)) if event.type == "error"]
    assert errors == ["The surface is left as it is: The dataset is not the one that the run began with."]
    assert not paint_some(home.place)
    with pytest.raises(Exception, match="No surface"):
        home.surface(run)


def test_a_disk_that_refuses_the_picture_does_not_stop_the_run(home: Home, plan: Plan) -> None:
    class Blocked(RunStore):
        """The picture's folder cannot be made: a file lies in its place."""

        def claim_next(self) -> object:
            claimed = super().claim_next()
            if claimed is not None:
                (self.folder(claimed.run.run_id) / "picture").write_text("in the way")
            return claimed

    run = home.train(plan, store=Blocked(home.place.home))
    assert run.status == "completed"
    errors = {event.message for event in read_events(home.store.metrics_path(run.run_id)) if event.type == "error"}
    assert errors
    assert all("picture is not complete" in str(error) for error in errors)


def test_one_row_has_a_path_and_no_surface(home: Home, make_plan: MakePlan, write_rows: Callable[..., Path]) -> None:
    dataset = write_rows([fact(1)], "one.jsonl")
    run = home.train(make_plan(dataset_path=str(dataset), epochs=8, surface_grid=GRID))
    assert run.status == "completed"
    assert not paint_some(home.place)
