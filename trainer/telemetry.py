"""Tells everybody how a run goes: `metrics.jsonl` line by line, /metrics snapshot by snapshot, the log in words.

Everything told was measured. Points of the path are held back by `trainer.projection` until their plane is frozen, and
then written in order; progress, with the numbers of such a point, and /metrics do not wait. A run that goes on from a
checkpoint tells no step twice: what its earlier life has stored is not stored again. Events that the disk refuses wait
here, in order, for the next one.
`tests/trainer/test_run.py`, `tests/trainer/test_resume.py`.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from catalog import events
from catalog.errors import Conflict
from catalog.events import Event, EventType
from catalog.runs import RunStore
from trainer.evaluate import Measurement
from trainer.exporter import Board, RunSnapshot
from trainer.projection import Path, Plane, Point, Vector, held_points

log = logging.getLogger("trainer")

PROGRESS_EVERY_S = 5.0
"""Between two words about the progress in `run.json`."""

PICTURE_STATES = frozenset({"plane_frozen", "plane_refit", "surface_measured"})
"""What a `state` event says of the run's picture; the others say how the run itself is, and may come again."""

TelemetryPoint = tuple[RunSnapshot, int]
"""What was measured at a step, and the rows seen until then."""


@dataclass(frozen=True, slots=True)
class Telling:
    """Where a reporter is in its story: the latest snapshot, the plane once it is frozen, the points held for it."""

    snapshot: RunSnapshot
    plane: Plane | None
    held: list[tuple[TelemetryPoint, Vector]]


class Reporter:
    """The one voice of a run, over all of its lives."""

    def __init__(
        self, store: RunStore, board: Board, run_id: str, base: str, *, steps_planned: int, points_planned: int
    ) -> None:
        self._store = store
        self._board = board
        self.run_id = run_id
        self._path: Path[TelemetryPoint] = Path(held_points(points_planned))
        stored = events.read_events(store.metrics_path(run_id))
        self._told = {_what(event) for event in stored if event.type != "state" or event.status in PICTURE_STATES}
        self._waiting: deque[Event] = deque()
        self._progressed_s: float | None = None
        self.snapshot = RunSnapshot(run_id, base, steps_planned=steps_planned)
        board.show(self.snapshot)

    @property
    def has_told(self) -> bool:
        """Whether the run had a life before this one."""
        return bool(self._told)

    def telling(self) -> Telling:
        """What `go_on` needs."""
        return Telling(self.snapshot, self._path.plane, list(self._path.held))

    def go_on(self, telling: Telling | None, words: str) -> None:
        """Take up the story of an earlier life where a checkpoint left it, or from its beginning."""
        if telling is not None:
            self._path.plane, self._path.held = telling.plane, list(telling.held)
            self._show(replace(telling.snapshot, status="running"))
        log.info("%s: %s", self.run_id, words)
        self.tell("state", status="resumed", step=self.snapshot.step, message=words)

    def say(self, message: str) -> None:
        """One sentence for people."""
        log.info("%s: %s", self.run_id, message)
        self.tell("log", step=self.snapshot.step, message=message)

    def warn(self, message: str) -> None:
        """One sentence about what went wrong and does not end the run."""
        log.warning("%s: %s", self.run_id, message)
        self.tell("error", step=self.snapshot.step, message=message)

    def tell(self, kind: EventType, **fields: Any) -> None:
        """Store one event, unless an earlier life has told it; when the disk refuses it, it waits."""
        event = self._store.event(self.run_id, kind, **fields)
        if _what(event) in self._told:
            return
        self._waiting.append(event)
        try:
            self.flush()
        except OSError as error:
            log.error("%s: %d event(s) wait for the disk: %s", self.run_id, len(self._waiting), error)

    def flush(self) -> None:
        """Store what waits; raises OSError when it cannot be."""
        while self._waiting:
            events.append(self._store.metrics_path(self.run_id), self._waiting[0])
            self._waiting.popleft()

    def observed(self, reading: RunSnapshot, rows_seen: int, displacement: Vector, now_s: float) -> None:
        """A telemetry point: written when it has a place, shown in /metrics at once, in `run.json` now and then."""
        was_frozen = self._path.plane is not None
        placed = self._path.add((reading, rows_seen), displacement)
        probe_loss = self.snapshot.probe_loss if reading.probe_loss is None else reading.probe_loss
        self._show(replace(reading, probe_loss=probe_loss, point=placed[-1][1] if placed else None))
        if placed and not was_frozen:
            self._announce_plane(placed[-1][1])
        self._write(placed)
        percent = 100 * reading.step / reading.steps_planned
        measured = {} if placed else _measured(reading)
        self.tell("progress", step=reading.step, epoch=reading.epoch, percent=percent, eta_s=reading.eta_s, **measured)
        self._progressed(reading, now_s)

    def _progressed(self, reading: RunSnapshot, now_s: float) -> None:
        """Say in `run.json` how far the run is; when that cannot be, the next time will do."""
        if self._progressed_s is not None and now_s - self._progressed_s < PROGRESS_EVERY_S:
            return
        self._progressed_s = now_s
        with contextlib.suppress(OSError, Conflict):  # a run that somebody ended is told so by its watch
            self._store.progress(
                self.run_id,
                step=reading.step,
                steps=reading.steps_planned,
                eta_s=reading.eta_s,
                tokens_per_s=reading.tokens_per_s,
                memory_bytes=reading.memory_bytes,
            )

    def evaluated(
        self, step: int, epoch: float, train_loss: float | None, measured: Measurement, best: float | None
    ) -> None:
        """All held-out rows were measured after `step`."""
        values = {
            "train_loss": train_loss,
            "eval_loss": measured.loss,
            "eval_accuracy": measured.accuracy,
            "eval_margin": measured.margin,
        }
        known = {name: value for name, value in values.items() if value is not None}
        self.tell("metrics", step=step, epoch=epoch, metrics=known)
        best_step = step if best is not None and measured.loss == best else self.snapshot.best_step
        self._show(
            replace(
                self.snapshot,
                eval_loss=measured.loss,
                best_eval_loss=best,
                best_step=best_step,
                eval_accuracy=measured.accuracy,
                eval_margin=measured.margin,
            )
        )

    def release(self) -> None:
        """Write the points that are still held back; the run has no more."""
        self._write(self._path.release())

    def _show(self, snapshot: RunSnapshot) -> None:
        self.snapshot = snapshot
        self._board.show(snapshot)

    def _announce_plane(self, last: Point) -> None:
        words = (
            f"The path is drawn on the plane of its first {self._path.hold} points ({last.digest[:12]}), frozen now; "
            f"it holds {last.share:.0%} of the squared displacement so far, measured in a sketch of 1,024 numbers."
        )
        log.info("%s: %s", self.run_id, words)
        self.tell("state", status="plane_frozen", step=self.snapshot.step, message=words)

    def _write(self, placed: list[tuple[TelemetryPoint, Point]]) -> None:
        for (reading, rows_seen), point in placed:
            self.tell(
                "telemetry",
                step=reading.step,
                epoch=reading.epoch,
                proj_x=point.x,
                proj_y=point.y,
                proj_off_plane=point.off_plane,
                proj_share=point.share,
                proj_digest=point.digest,
                sample_count=rows_seen,
                **_measured(reading),
            )


def _measured(reading: RunSnapshot) -> dict[str, float | None]:
    """The numbers of a step that need no place on a plane."""
    return {
        "loss": reading.loss,
        "probe_loss": reading.probe_loss,
        "lr": reading.lr,
        "grad_norm": reading.grad_norm,
        "param_norm": reading.param_norm,
        "update_norm": reading.update_norm,
        "step_time_ms": None if reading.step_s is None else 1000 * reading.step_s,
        "tokens_per_s": reading.tokens_per_s,
        "memory_active_bytes": reading.memory_active_bytes,
        "memory_peak_bytes": reading.memory_bytes,
        "resident_bytes": reading.resident_bytes,
    }


def _what(event: Event) -> tuple[str, int | None, str | None]:
    """What an event tells; two with one answer tell the same."""
    return event.type, event.step, event.message
