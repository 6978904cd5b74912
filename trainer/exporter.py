"""/metrics of the trainer: every series of one scrape comes from one immutable snapshot, so no step is ever torn.

The trainer replaces the snapshot, the scrape reads it once. A value that is not known yet has no sample. Knows nothing
of training. `tests/trainer/test_exporter.py` checks the output against `trainer.metrics` in both directions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http.server import HTTPServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from catalog.errors import Unavailable
from catalog.metrics import MetricSpec
from catalog.pictures import marked
from trainer.metrics import TRAINER_METRICS, decimal
from trainer.projection import Point

RUNS_SHOWN = 4
"""The current run and the last three."""


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """One run at one step. All values are of that step, but the evaluations' and the probe's, which are the latest."""

    run_id: str
    base: str
    status: str = "running"
    step: int = 0
    steps_planned: int = 0
    epoch: float = 0.0
    loss: float | None = None
    probe_loss: float | None = None
    eval_loss: float | None = None
    best_eval_loss: float | None = None
    best_step: int | None = None
    skipped: int = 0
    eval_accuracy: float | None = None
    eval_margin: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    param_norm: float | None = None
    update_norm: float | None = None
    tokens_per_s: float | None = None
    step_s: float | None = None
    memory_bytes: int | None = None
    memory_active_bytes: int | None = None
    resident_bytes: int | None = None
    eta_s: float | None = None
    point: Point | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """What is measured of one run's surface: grid points (x, y, loss), and the path (step, x, y, loss) on its plane."""

    run_id: str
    grid: tuple[tuple[float, float, float], ...]
    path: tuple[tuple[int, float, float, float], ...]
    share: float = 1.0
    """Of the squared distances from the start, what the plane holds."""
    off_plane: float = 0.0
    """Distance of the latest point from the plane."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one scrape shows; `runs` newest first."""

    busy: bool = False
    runs: tuple[RunSnapshot, ...] = ()
    picture: Picture | None = None
    """Of the newest run alone, since a surface is hundreds of series."""
    ended: Mapping[str, int] = field(default_factory=dict)
    """Runs ended since this process started, by status."""
    decisions: Mapping[str, int] = field(default_factory=dict)
    """Gate decisions since this process started, by verdict."""


RUN_VALUES: Mapping[str, Callable[[RunSnapshot], float | None]] = {
    "ragweld_train_step": lambda run: run.step,
    "ragweld_train_steps_planned": lambda run: run.steps_planned,
    "ragweld_train_epoch": lambda run: run.epoch,
    "ragweld_train_loss": lambda run: run.loss,
    "ragweld_train_probe_loss": lambda run: run.probe_loss,
    "ragweld_train_eval_loss": lambda run: run.eval_loss,
    "ragweld_train_best_eval_loss": lambda run: run.best_eval_loss,
    "ragweld_train_best_step": lambda run: run.best_step,
    "ragweld_train_eval_accuracy": lambda run: run.eval_accuracy,
    "ragweld_train_eval_margin": lambda run: run.eval_margin,
    "ragweld_train_learning_rate": lambda run: run.lr,
    "ragweld_train_grad_norm": lambda run: run.grad_norm,
    "ragweld_train_param_norm": lambda run: run.param_norm,
    "ragweld_train_update_norm": lambda run: run.update_norm,
    "ragweld_train_tokens_per_second": lambda run: run.tokens_per_s,
    "ragweld_train_step_seconds": lambda run: run.step_s,
    "ragweld_train_memory_bytes": lambda run: run.memory_bytes,
    "ragweld_train_memory_active_bytes": lambda run: run.memory_active_bytes,
    "ragweld_train_resident_bytes": lambda run: run.resident_bytes,
    "ragweld_train_eta_seconds": lambda run: run.eta_s,
    "ragweld_train_skipped_steps": lambda run: run.skipped,
    "ragweld_train_projection_x": lambda run: run.point.x if run.point else None,
    "ragweld_train_projection_y": lambda run: run.point.y if run.point else None,
    "ragweld_train_projection_off_plane": lambda run: run.point.off_plane if run.point else None,
    "ragweld_train_projection_share": lambda run: run.point.share if run.point else None,
}


def families(snapshot: Snapshot) -> list[Metric]:
    """Every row of the table with the snapshot's samples. Pure."""
    return [_family(spec, snapshot) for spec in TRAINER_METRICS]


def _family(spec: MetricSpec, snapshot: Snapshot) -> Metric:
    kind = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
    family = kind(spec.name, spec.help, labels=spec.labels)
    for labels, value in _samples(spec.name, snapshot):
        family.add_metric(labels, value)
    return family


def _samples(name: str, snapshot: Snapshot) -> Iterable[tuple[tuple[str, ...], float]]:
    picture = snapshot.picture
    match name:
        case "ragweld_train_busy":
            return [((), float(snapshot.busy))]
        case "ragweld_train_runs_total":
            return [((status,), float(count)) for status, count in snapshot.ended.items()]
        case "ragweld_train_promotions_total":
            return [((verdict,), float(count)) for verdict, count in snapshot.decisions.items()]
        case "ragweld_train_run_info":
            return [((run.run_id, run.base, run.status), 1.0) for run in snapshot.runs]
        case "ragweld_train_surface_loss" | "ragweld_train_path_loss":
            return _picture_samples(name, picture) if picture else ()
        case "ragweld_train_path_mark":
            return _mark_samples(snapshot)
        case "ragweld_train_surface_share":
            return [((picture.run_id,), picture.share)] if picture else ()
        case "ragweld_train_surface_off_plane":
            return [((picture.run_id,), picture.off_plane)] if picture else ()
    values = [(run.run_id, RUN_VALUES[name](run)) for run in snapshot.runs]
    return [((run_id,), float(value)) for run_id, value in values if value is not None]


def _picture_samples(name: str, picture: Picture) -> Iterable[tuple[tuple[str, ...], float]]:
    if name == "ragweld_train_surface_loss":
        return [((picture.run_id, decimal(x), decimal(y)), loss) for x, y, loss in picture.grid]
    return [((picture.run_id, str(step), decimal(x), decimal(y)), loss) for step, x, y, loss in picture.path]


def _mark_samples(snapshot: Snapshot) -> Iterable[tuple[tuple[str, ...], float]]:
    picture = snapshot.picture
    if picture is None:
        return
    best = next((run.best_step for run in snapshot.runs if run.run_id == picture.run_id), None)
    for mark, place in marked([step for step, *_ in picture.path], best).items():
        step, x, y, loss = picture.path[place]
        yield (picture.run_id, mark, str(step), decimal(x), decimal(y)), loss


class Board(Collector):
    """Holds the snapshot that scrapes see. Written by the training thread alone, by replacing one reference."""

    def __init__(self) -> None:
        self.snapshot = Snapshot(
            ended=dict.fromkeys(("completed", "failed", "cancelled", "interrupted", "diverged"), 0),
            decisions={"promoted": 0, "refused": 0},
        )

    def show(self, run: RunSnapshot) -> None:
        """Put `run` first; the oldest beyond the last few leaves."""
        others = [other for other in self.snapshot.runs if other.run_id != run.run_id]
        picture = self.snapshot.picture
        self.snapshot = replace(
            self.snapshot,
            busy=run.status == "running",
            runs=(run, *others)[:RUNS_SHOWN],
            picture=picture if picture is not None and picture.run_id == run.run_id else None,
        )

    def draw(self, picture: Picture) -> None:
        """Show what is measured of a run's surface so far."""
        self.snapshot = replace(self.snapshot, picture=picture)

    def end(self, run_id: str, status: str) -> None:
        """Count the run's end and show its status."""
        runs = tuple(replace(run, status=status) if run.run_id == run_id else run for run in self.snapshot.runs)
        ended = {**self.snapshot.ended, status: self.snapshot.ended.get(status, 0) + 1}
        self.snapshot = replace(self.snapshot, busy=False, runs=runs, ended=ended)

    def pause(self, run_id: str) -> None:
        """Show that the run waits; it has not ended."""
        runs = tuple(replace(run, status="paused") if run.run_id == run_id else run for run in self.snapshot.runs)
        self.snapshot = replace(self.snapshot, busy=False, runs=runs)

    def decide(self, promoted: bool) -> None:
        """Count a decision of the gate."""
        verdict = "promoted" if promoted else "refused"
        counted = {**self.snapshot.decisions, verdict: self.snapshot.decisions[verdict] + 1}
        self.snapshot = replace(self.snapshot, decisions=counted)

    def collect(self) -> Iterable[Metric]:
        return families(self.snapshot)


@dataclass(slots=True)
class Server:
    """The listening /metrics; `port` is the real one when 0 was asked for."""

    http: HTTPServer
    thread: threading.Thread
    port: int

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def serve(board: Board, host: str, port: int) -> Server:
    """Answer /metrics on its own thread; raises Unavailable when the port is taken."""
    registry = CollectorRegistry()
    registry.register(board)
    try:
        http, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise Unavailable(
            f"The trainer's /metrics cannot listen on {host}:{port}: {error.strerror}.",
            hint="Choose another port with --trainer-port.",
        ) from error
    return Server(http, thread, int(http.server_address[1]))
