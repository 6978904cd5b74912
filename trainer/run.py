"""One run from its plan to its end, read top to bottom: prepare, learn, keep, compare, promote.

Raises what went wrong; `trainer.main` turns that into the run's reason. `tests/trainer/test_run.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mlx_lm.tuner.utils import remove_lora_layers

from catalog.adapters import AdapterStore, short
from catalog.base import device
from catalog.errors import RagweldError
from catalog.ids import AdapterId
from catalog.runs import Ended, Promotion, Run, RunStore, stamp
from trainer import artifacts, course, lesson, promote
from trainer.artifacts import DatasetRecord, Manifest
from trainer.course import Course
from trainer.exporter import Board
from trainer.gate import Verdict
from trainer.lesson import Lesson
from trainer.telemetry import Reporter
from trainer.watch import Watch


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a trainer works with. `mirror` names, for a scope, the folder where users find the promoted adapter."""

    home: Path
    mirror: Callable[[str], Path]
    store: RunStore
    adapters: AdapterStore
    board: Board = field(default_factory=Board)
    stop: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Finish:
    """How a run ended, and what the gate decided if it was asked."""

    ended: Ended
    promotion: Promotion | None = None


def train(run: Run, place: Workplace) -> Finish:
    """Do what the plan says. The run's folder holds a whole `model/` if any step was worth keeping."""
    watch = Watch(place.store, run.run_id, place.stop)
    prepared = lesson.prepare(run.plan, place.home)
    reporter = Reporter(
        place.store,
        place.board,
        run.run_id,
        prepared.base.base,
        steps_planned=prepared.steps,
        points_planned=prepared.steps // run.plan.telemetry_interval_steps,
    )
    for sentence in lesson.in_words(prepared):
        reporter.say(sentence)

    done = course.run(prepared, reporter, watch.look, place.clock)
    adapter_id = _keep(run, place, prepared, done, reporter)
    if done.halted is not None:
        if done.halted.status == "diverged":
            place.store.append(run.run_id, "error", step=done.steps_done, message=done.halted.reason)
        return Finish(Ended(done.halted.status, done.halted.reason, done.summary(), adapter_id))

    promotion = None
    if adapter_id is not None and run.plan.promote_if_improves:
        remove_lora_layers(prepared.learner.model)
        verdict = promote.consider(prepared, place.adapters, adapter_id, done.base, run.run_id)
        promotion = _announce(run, place, verdict, adapter_id, reporter)
    place.store.append(run.run_id, "complete", step=done.steps_done, percent=100.0, message="The run is complete.")
    return Finish(Ended("completed", summary=done.summary(), adapter_id=adapter_id), promotion)


def _keep(run: Run, place: Workplace, prepared: Lesson, done: Course, reporter: Reporter) -> AdapterId | None:
    """Save the best step as the run's `model/` and in the adapter store under the run's id."""
    if done.kept is None:
        return None
    folder = place.store.model_folder(run.run_id)
    artifacts.write(folder, done.kept.tensors, prepared.config, _manifest(run, prepared, done, done.kept.step))
    adapter_id = place.adapters.put(folder, name=run.run_id)
    reporter.say(f"Kept step {done.kept.step} as adapter {short(adapter_id)}.")
    return adapter_id


def _manifest(run: Run, prepared: Lesson, done: Course, step: int) -> Manifest:
    train_side, held_out = prepared.material.train, prepared.material.held_out
    dataset = prepared.material.dataset
    return Manifest(
        run_id=run.run_id,
        base=prepared.base.base,
        precision=prepared.base.precision,
        device=device.current().name,
        plan=run.plan,
        dataset=DatasetRecord(
            path=run.plan.dataset_path,
            bytes_sha256=dataset.bytes_sha256,
            rows_sha256=dataset.rows_sha256,
            split_seed=run.plan.seed,
            held_out_sha256=list(held_out.digests),
            train_rows=len(train_side.rows),
            held_out_rows=len(held_out.rows),
            dropped_rows=train_side.dropped + held_out.dropped,
            train_tokens=train_side.tokens,
            supervised_tokens=train_side.supervised_tokens,
        ),
        best_step=step,
        steps_done=done.steps_done,
        summary=done.summary(),
        versions=artifacts.package_versions(),
    )


def _announce(run: Run, place: Workplace, verdict: Verdict, adapter_id: AdapterId, reporter: Reporter) -> Promotion:
    """Say and count the decision; after a promotion, refresh the copy that users know."""
    reporter.say(verdict.reason)
    place.board.decide(verdict.promote)
    if verdict.promote:
        try:
            place.adapters.mirror(adapter_id, place.mirror(run.scope))
        except (OSError, RagweldError) as error:
            reporter.say(f"The adapter is active, but the copy for its users was not made: {error}")
    return Promotion(
        promoted=verdict.promote,
        adapter_id=adapter_id,
        reason=verdict.reason,
        ts=stamp(place.now()),
        candidate_loss=verdict.candidate_loss,
        active_loss=verdict.active_loss,
        base_loss=verdict.base_loss,
    )
