"""A finished run as OpenMetrics: every step that the run store holds, at its own time, under the trainer's names.

Prometheus keeps what it scraped, a point a second; the run store keeps every told step. Labels are those that a scrape
of the trainer gives, so that both are one series. Pure; `tests/grafana/test_openmetrics.py` holds the names against the
metric table, and a real Prometheus answers with each step's exact value in `tests/deploy/test_backfill.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from catalog.events import Event
from catalog.pictures import Surface, SurfacePoint, marked
from catalog.run_life import Run
from trainer.metrics import TRAINER_METRICS, decimal

JOB = "ragweld-trainer"
"""As `deploy/prometheus/prometheus.yml` calls the trainer."""

Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, float, float]
"""Metric, labels beside those of the target, unix seconds, value."""

OF_A_STEP: Mapping[str, Callable[[Event], float | None]] = {
    "ragweld_train_step": lambda event: event.step,
    "ragweld_train_epoch": lambda event: event.epoch,
    "ragweld_train_loss": lambda event: event.loss,
    "ragweld_train_probe_loss": lambda event: event.probe_loss,
    "ragweld_train_learning_rate": lambda event: event.lr,
    "ragweld_train_grad_norm": lambda event: event.grad_norm,
    "ragweld_train_param_norm": lambda event: event.param_norm,
    "ragweld_train_update_norm": lambda event: event.update_norm,
    "ragweld_train_tokens_per_second": lambda event: event.tokens_per_s,
    "ragweld_train_step_seconds": lambda event: None if event.step_time_ms is None else event.step_time_ms / 1000,
    "ragweld_train_eta_seconds": lambda event: event.eta_s,
    "ragweld_train_memory_bytes": lambda event: event.memory_peak_bytes,
    "ragweld_train_memory_active_bytes": lambda event: event.memory_active_bytes,
    "ragweld_train_resident_bytes": lambda event: event.resident_bytes,
    "ragweld_train_projection_x": lambda event: event.proj_x,
    "ragweld_train_projection_y": lambda event: event.proj_y,
    "ragweld_train_projection_off_plane": lambda event: event.proj_off_plane,
    "ragweld_train_projection_share": lambda event: event.proj_share,
}
TELL_A_STEP = ("progress", "telemetry")
"""Types of events with numbers of a step: before the plane is known it is the former that carries them."""
MEASURED = ("eval_loss", "eval_accuracy", "eval_margin")
"""What an evaluation tells, as events name it; the latter two of preference runs only."""
OF_EVALUATIONS = (
    *(f"ragweld_train_{name}" for name in MEASURED),
    "ragweld_train_best_eval_loss",
    "ragweld_train_best_step",
)
OF_SURFACE = (
    "ragweld_train_surface_loss",
    "ragweld_train_surface_share",
    "ragweld_train_surface_off_plane",
    "ragweld_train_path_loss",
    "ragweld_train_path_mark",
)
OF_RUN = ("ragweld_train_run_info", "ragweld_train_steps_planned")
NOT_STORED: Mapping[str, str] = {
    "ragweld_train_busy": "of the trainer, not of a run",
    "ragweld_train_runs_total": "of the trainer, not of a run",
    "ragweld_train_promotions_total": "of the trainer, not of a run",
    "ragweld_train_skipped_steps": "the run store tells skipped steps in words",
}
"""Metrics that a finished run says nothing of."""


def openmetrics(run: Run, told: Sequence[Event], surface: Surface | None, instance: str) -> str:
    """The whole text; `instance` is the host:port under which the trainer is scraped."""
    target: Labels = (("instance", instance), ("job", JOB))
    found: dict[str, dict[Labels, dict[int, float]]] = {}
    for name, labels, at_s, value in samples(run, told, surface):
        found.setdefault(name, {}).setdefault(labels, {})[round(at_s * 1000)] = value
    lines: list[str] = []
    for spec in TRAINER_METRICS:
        if spec.name in found:
            lines += [f"# HELP {spec.name} {spec.help}", f"# TYPE {spec.name} gauge"]
            for labels, points in found[spec.name].items():
                head = f"{spec.name}{{{_written((*labels, *target))}}}"
                lines += [f"{head} {value!r} {at_ms / 1000:.3f}" for at_ms, value in sorted(points.items())]
    return "\n".join([*lines, "# EOF", ""])


def samples(run: Run, told: Sequence[Event], surface: Surface | None) -> Iterator[Sample]:
    """Every sample of the run, in no order."""
    labels: Labels = (("run_id", run.run_id),)
    times = step_times(told)
    for event in told:
        if event.type in TELL_A_STEP and event.step is not None:
            at_s = times.get(event.step, _seconds(event.ts))
            known = ((name, value_of(event)) for name, value_of in OF_A_STEP.items())
            yield from ((name, labels, at_s, float(value)) for name, value in known if value is not None)
    evaluated = list(_evaluations(labels, told))
    yield from evaluated
    yield from _of_run(run, labels, told, times)
    if surface is not None:
        best_steps = [int(value) for name, _, _, value in evaluated if name == "ragweld_train_best_step"]
        yield from _of_surface(labels, surface, _end_s(run, times), best_steps[-1] if best_steps else None)


def step_times(told: Iterable[Event]) -> dict[int, float]:
    """Step -> when it was done. A path's first points are told only once their plane is known, progress at once."""
    return {event.step: _seconds(event.ts) for event in told if event.type == "progress" and event.step is not None}


def _evaluations(labels: Labels, told: Sequence[Event]) -> Iterator[Sample]:
    best: tuple[float, int] | None = None
    for event in told:
        measured = (event.metrics or {}) if event.type == "metrics" else {}
        loss = measured.get("eval_loss")
        if loss is None or event.step is None:
            continue
        at_s = _seconds(event.ts)
        for name in MEASURED:
            value = measured.get(name)
            if value is not None:
                yield f"ragweld_train_{name}", labels, at_s, value
        # Before the first step the base is measured, which is nothing that the run could keep.
        if event.step > 0:
            best = min(filter(None, (best, (loss, event.step))))
            yield "ragweld_train_best_eval_loss", labels, at_s, best[0]
            yield "ragweld_train_best_step", labels, at_s, float(best[1])


def _of_run(run: Run, labels: Labels, told: Sequence[Event], times: Mapping[int, float]) -> Iterator[Sample]:
    info: Labels = (*labels, ("base", run.plan.base))
    for event in told:
        if event.type == "progress" and event.step and event.percent:
            planned = float(round(100 * event.step / event.percent))
            yield "ragweld_train_steps_planned", labels, times[event.step], planned
            yield "ragweld_train_run_info", (*info, ("status", "running")), times[event.step], 1.0
    yield "ragweld_train_run_info", (*info, ("status", run.status)), _end_s(run, times), 1.0


def _of_surface(labels: Labels, surface: Surface, at_s: float, best_step: int | None) -> Iterator[Sample]:
    """The surface as the trainer shows it, at the end of the run."""
    for y, row in zip(surface.ys, surface.loss, strict=True):
        for x, loss in zip(surface.xs, row, strict=True):
            if loss is not None:
                yield "ragweld_train_surface_loss", (*labels, *_place(x, y)), at_s, loss
    yield "ragweld_train_surface_share", labels, at_s, surface.share
    if surface.points:
        yield "ragweld_train_surface_off_plane", labels, at_s, surface.points[-1].off_plane
    path = [(point, point.loss) for point in surface.points if point.loss is not None]
    for point, loss in path:
        yield "ragweld_train_path_loss", (*labels, *_on_path(point)), at_s, loss
    for mark, place in marked([point.step for point, _ in path], best_step).items():
        point, loss = path[place]
        yield "ragweld_train_path_mark", (*labels, ("mark", mark), *_on_path(point)), at_s, loss


def _on_path(point: SurfacePoint) -> Labels:
    return ("step", str(point.step)), *_place(point.x, point.y)


def _place(x: float, y: float) -> Labels:
    return ("x", decimal(x)), ("y", decimal(y))


def _end_s(run: Run, times: Mapping[int, float]) -> float:
    """When the run ended; after its last step, so that nothing is after it."""
    ended = _seconds(run.ended_at) if run.ended_at is not None else 0.0
    return max(ended, *times.values()) if times else ended


def _seconds(ts: str) -> float:
    return datetime.fromisoformat(ts).timestamp()


def _written(labels: Labels) -> str:
    return ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
