"""What the trainer draws is what the API answers, and a torn picture is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog import pictures
from catalog.errors import NotFound
from catalog.pictures import Frame, PathPlane, PathPoint, Probe, Surface, SurfacePoint
from catalog.run_life import Run
from catalog.runs import RunStore
from tests.gateway.test_run_stream import PLAN

POINT = PathPoint(step=2, x=3.0, y=0.0, off_plane=4.0, loss=1.5, probe_loss=1.25, lr=1e-3)
PLANE = PathPlane(kind="sketch_pca", digest="d" * 64, share=0.9, note="in words", points=[POINT])


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path)


@pytest.fixture
def run(store: RunStore) -> Run:
    return store.create("default", PLAN)


def surface(run_id: str) -> Surface:
    return Surface(
        run_id=run_id,
        digest="e" * 64,
        kind="snapshot_pca",
        grid=2,
        measured=3,
        total=5,
        xs=[0.0, 1.0],
        ys=[0.0, 1.0],
        loss=[[1.0, 2.0], [None, None]],
        probe=Probe(rows=4, tokens=60, sha256="f" * 64),
        points=[SurfacePoint(step=2, x=0.5, y=0.5, off_plane=0.1, loss=1.2, plane_loss=1.3)],
        share=0.95,
        frame=Frame(steps=[2], weights=[[1.0], [0.0]]),
        updated="2026-01-02T03:04:05.000Z",
    )


def test_what_is_written_is_read(store: RunStore, run: Run) -> None:
    folder = pictures.folder(store, run.run_id)
    pictures.write_plane(folder, PLANE)
    pictures.write_surface(folder, surface(run.run_id))
    assert pictures.path_of(store, run.run_id).planes == [PLANE]
    assert pictures.surface_of(store, run.run_id) == surface(run.run_id)


def test_a_paths_marks_are_its_ends_and_the_point_nearest_to_the_best_step() -> None:
    assert pictures.marked([], 4) == {}
    assert pictures.marked([0, 4, 8, 12], 9) == {"start": 0, "now": 3, "best": 2}
    assert pictures.marked([0, 4, 8, 12], None) == {"start": 0, "now": 3}


def test_the_frozen_plane_is_that_of_the_telemetry(store: RunStore, run: Run) -> None:
    for step, x in ((1, 3.0), (2, 0.0)):
        store.append(run.run_id, "telemetry", step=step, proj_x=x, proj_y=0.0, proj_off_plane=4.0, proj_digest="p")
    (plane,) = pictures.path_of(store, run.run_id).planes
    assert (plane.kind, plane.digest, [point.step for point in plane.points]) == ("frozen", "p", [1, 2])
    assert plane.share == pytest.approx(9 / (9 + 32))


def test_without_a_picture_there_is_no_plane_and_no_surface(store: RunStore, run: Run) -> None:
    assert pictures.path_of(store, run.run_id).planes == []
    with pytest.raises(NotFound) as refused:
        pictures.surface_of(store, run.run_id)
    assert refused.value.code == "no_surface"
    with pytest.raises(NotFound) as unknown:
        pictures.path_of(store, "default__20260101_000000")
    assert unknown.value.code == "not_found"


def test_a_torn_picture_is_none(store: RunStore, run: Run) -> None:
    folder = pictures.folder(store, run.run_id)
    pictures.write_plane(folder, PLANE)
    pictures.write_surface(folder, surface(run.run_id))
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:40])
    assert pictures.path_of(store, run.run_id).planes == []
    assert pictures.read_surface(folder) is None
