"""Pictures of a run: its path on up to three planes, and the true loss measured on one of them.

`picture/` in the run's folder holds one JSON file for each plane that is refitted and one for the surface; the plane
that was frozen for Prometheus is in the telemetry events. The trainer writes, the gateway reads, and what is on disk is
what the API answers. All of it can be made again, so nothing is flushed to the disk: a picture is worth no wait of a
step. `tests/catalog/test_pictures.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from catalog import events, files
from catalog.errors import NotFound
from catalog.events import Event
from catalog.runs import RunStore

PICTURE_FOLDER = "picture"
SURFACE_FILE = "surface.json"
UNFINISHED = "unfinished"
"""A file of this name says that the surface is to be finished when no run waits."""

PlaneKind = Literal["frozen", "sketch_pca", "snapshot_pca"]
REFITTED: tuple[PlaneKind, ...] = ("sketch_pca", "snapshot_pca")
NO_SURFACE = "no_surface"

FROZEN_NOTE = (
    "The plane of the first points, frozen so that no point ever moves. Coordinates are measured in a sketch of 1,024 "
    "numbers, which keeps distances within a few percent."
)


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class PathPoint(Shape):
    """Where the run was after a step. Distances are of trainable parameters, (0, 0) is the start."""

    step: int
    x: float
    y: float
    off_plane: float
    """Distance of the true point from the plane."""
    loss: float | None
    """Training loss of the step."""
    probe_loss: float | None
    """True loss on the probe batch, at the point itself and not at its shadow on the plane."""
    lr: float | None


class PathPlane(Shape):
    """A path on one plane."""

    kind: PlaneKind
    digest: str
    """Identifies the directions; only what has equal digests may be drawn together."""
    share: float
    """Share of the squared distance from the start, summed over the points, that the plane holds. A pure random walk
    also has a high one."""
    note: str
    """How the plane was found, in words."""
    points: list[PathPoint]


class RunPath(Shape):
    """Body of `GET /api/agent/train/run/{id}/path`: the latest plane of each kind that there is."""

    run_id: str
    planes: list[PathPlane]


class Probe(Shape):
    """The fixed held-out rows whose loss the surface shows."""

    rows: int
    tokens: int
    """Supervised ones."""
    sha256: str


class SurfacePoint(Shape):
    """A point of the path on the surface's plane."""

    step: int
    x: float
    y: float
    off_plane: float
    loss: float | None
    """True loss on the probe batch where the run was."""
    plane_loss: float | None
    """True loss on the probe batch at the point's shadow on the plane; null until it is measured."""


class Frame(Shape):
    """The plane's directions, as sums of kept snapshots' displacements; orthonormal in parameter space."""

    steps: list[int]
    weights: list[list[float]]
    """Two rows, for x and y, of one weight for each snapshot."""


class Surface(Shape):
    """Body of `GET /api/agent/train/run/{id}/surface`: the true loss at the points of a grid on a plane."""

    run_id: str
    digest: str
    kind: PlaneKind
    grid: int
    """Points along each axis."""
    measured: int
    total: int
    """Grid points and path points together; the surface is whole when as many are measured."""
    xs: list[float]
    ys: list[float]
    loss: list[list[float | None]]
    """A row for each y, in it a value for each x; null is not measured yet, or not finite."""
    probe: Probe
    points: list[SurfacePoint]
    share: float
    frame: Frame
    updated: str
    """UTC, ISO 8601."""


def folder(runs: RunStore, run_id: str) -> Path:
    """Where the run's pictures lie; raises NotFound for an unknown run."""
    return runs.folder(run_id) / PICTURE_FOLDER


def path_of(runs: RunStore, run_id: str) -> RunPath:
    """The run's path on every plane that there is; raises NotFound for an unknown run."""
    picture = folder(runs, run_id)
    frozen = frozen_plane(events.read_events(runs.metrics_path(run_id)))
    refitted = (read_plane(picture, kind) for kind in REFITTED)
    return RunPath(run_id=run_id, planes=[plane for plane in (frozen, *refitted) if plane is not None])


def frozen_plane(told: list[Event]) -> PathPlane | None:
    """The path on the plane that Prometheus shows, from telemetry events. Pure."""
    points = [
        PathPoint(
            step=event.step or 0,
            x=event.proj_x,
            y=event.proj_y,
            off_plane=event.proj_off_plane or 0.0,
            loss=event.loss,
            probe_loss=event.probe_loss,
            lr=event.lr,
        )
        for event in told
        if event.type == "telemetry" and event.proj_x is not None and event.proj_y is not None
    ]
    digests = [event.proj_digest for event in told if event.proj_digest is not None]
    if not points or not digests:
        return None
    return PathPlane(kind="frozen", digest=digests[-1], share=share_of(points), note=FROZEN_NOTE, points=points)


def marked(steps: Sequence[int], best_step: int | None) -> dict[str, int]:
    """Places of the points of a path, oldest first, that are its `start`, `now`, and nearest to the `best` step."""
    if not steps:
        return {}
    marks = {"start": 0, "now": len(steps) - 1}
    if best_step is not None:
        marks["best"] = min(range(len(steps)), key=lambda place: abs(steps[place] - best_step))
    return marks


def share_of(points: list[PathPoint]) -> float:
    """Share of the squared distances from the start that lies in the plane; 1 for a path that never left it."""
    within = sum(point.x**2 + point.y**2 for point in points)
    whole = within + sum(point.off_plane**2 for point in points)
    return within / whole if whole else 1.0


def read_plane(picture: Path, kind: PlaneKind) -> PathPlane | None:
    """A refitted plane; None where there is none, or where a dying machine tore it."""
    with contextlib.suppress(FileNotFoundError, ValidationError):
        return PathPlane.model_validate_json((picture / f"{kind}.json").read_bytes())
    return None


def write_plane(picture: Path, plane: PathPlane) -> None:
    _write(picture / f"{plane.kind}.json", plane)


def surface_of(runs: RunStore, run_id: str) -> Surface:
    """The run's surface; raises NotFound with the code `no_surface` while there is none."""
    surface = read_surface(folder(runs, run_id))
    if surface is None:
        raise NotFound(
            f"No surface of {run_id} is measured yet.",
            hint="It begins once a run has kept a few snapshots, and is finished after the run.",
            code=NO_SURFACE,
        )
    return surface


def read_surface(picture: Path) -> Surface | None:
    """None where there is none, or where a dying machine tore it."""
    with contextlib.suppress(FileNotFoundError, ValidationError):
        return Surface.model_validate_json((picture / SURFACE_FILE).read_bytes())
    return None


def write_surface(picture: Path, surface: Surface) -> None:
    _write(picture / SURFACE_FILE, surface)


def _write(path: Path, shape: Shape) -> None:
    files.write_bytes(path, shape.model_dump_json().encode() + b"\n", fsync=files.no_fsync)
