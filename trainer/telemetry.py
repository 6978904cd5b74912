"""Tells everybody how a run goes: `metrics.jsonl` line by line, /metrics snapshot by snapshot, the log in words.

Everything told was measured. Points of the path are held back by `trainer.projection` until their plane is frozen, and
then written in order; progress and /metrics do not wait. `tests/trainer/test_run.py`.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from catalog.runs import RunStore
from trainer.exporter import Board, RunSnapshot
from trainer.projection import Path, Point, Vector, held_points

log = logging.getLogger("trainer")

TelemetryPoint = tuple[RunSnapshot, int]
"""What was measured at a step, and the rows seen until then."""


class Reporter:
    """The one voice of a run."""

    def __init__(
        self, store: RunStore, board: Board, run_id: str, base: str, *, steps_planned: int, points_planned: int
    ) -> None:
        self._store = store
        self._board = board
        self._run_id = run_id
        self._path: Path[TelemetryPoint] = Path(held_points(points_planned))
        self.snapshot = RunSnapshot(run_id, base, steps_planned=steps_planned)
        board.show(self.snapshot)

    def say(self, message: str) -> None:
        """One sentence for people."""
        log.info("%s: %s", self._run_id, message)
        self._store.append(self._run_id, "log", step=self.snapshot.step, message=message)

    def observed(self, reading: RunSnapshot, rows_seen: int, displacement: Vector) -> None:
        """A telemetry point: written when it has a place, shown in /metrics at once."""
        was_frozen = self._path.plane is not None
        placed = self._path.add((reading, rows_seen), displacement)
        self._show(replace(reading, point=placed[-1][1] if placed else None))
        if placed and not was_frozen:
            self._announce_plane(placed[-1][1])
        self._write(placed)
        percent = 100 * reading.step / reading.steps_planned
        self._store.append(self._run_id, "progress", step=reading.step, epoch=reading.epoch, percent=percent)

    def evaluated(
        self, step: int, epoch: float, train_loss: float | None, eval_loss: float, best: float | None
    ) -> None:
        """All held-out rows were measured after `step`."""
        losses = {"eval_loss": eval_loss} if train_loss is None else {"train_loss": train_loss, "eval_loss": eval_loss}
        self._store.append(self._run_id, "metrics", step=step, epoch=epoch, metrics=losses)
        self._show(replace(self.snapshot, eval_loss=eval_loss, best_eval_loss=best))

    def release(self) -> None:
        """Write the points that are still held back; the run has no more."""
        self._write(self._path.release())

    def _show(self, snapshot: RunSnapshot) -> None:
        self.snapshot = snapshot
        self._board.show(snapshot)

    def _announce_plane(self, last: Point) -> None:
        self.say(
            f"The path is drawn on the plane of its first {self._path.hold} points ({last.digest[:12]}), frozen now; "
            f"it holds {last.share:.0%} of the squared displacement so far, measured in a sketch of 1,024 numbers."
        )

    def _write(self, placed: list[tuple[TelemetryPoint, Point]]) -> None:
        for (reading, rows_seen), point in placed:
            self._store.append(
                self._run_id,
                "telemetry",
                step=reading.step,
                epoch=reading.epoch,
                proj_x=point.x,
                proj_y=point.y,
                proj_off_plane=point.off_plane,
                proj_share=point.share,
                proj_digest=point.digest,
                loss=reading.loss,
                probe_loss=reading.probe_loss,
                lr=reading.lr,
                grad_norm=reading.grad_norm,
                param_norm=reading.param_norm,
                update_norm=reading.update_norm,
                step_time_ms=None if reading.step_s is None else 1000 * reading.step_s,
                tokens_per_s=reading.tokens_per_s,
                sample_count=rows_seen,
            )
