"""One run from its plan to its end, read top to bottom: prepare, go on, learn, keep, compare, promote.

Raises what went wrong; `trainer.main` turns that into the run's reason. `tests/trainer/test_run.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from catalog import files, pictures, verify
from catalog.adapters import MANIFEST_FILE, AdapterStore, short
from catalog.base import device
from catalog.base.lora import remove_adapter
from catalog.errors import Conflict, RagweldError
from catalog.ids import AdapterId, BaseId
from catalog.manifest import DatasetRecord, Manifest
from catalog.run_life import Ended, Paused, Promotion, Run, Summary, stamp
from catalog.runs import RunStore
from trainer import artifacts, checkpoints, course, deaths, golden, lesson, memory, promote, ranks, workers
from trainer.checkpoints import Checkpoint, Pace, Saver
from trainer.course import Course
from trainer.exporter import Board
from trainer.gate import Verdict
from trainer.lesson import Lesson
from trainer.picture.live import Easel, LivePicture
from trainer.telemetry import Reporter
from trainer.watch import Halted, Watch
from trainer.world import ALONE, World


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a trainer works with. `mirror` names, for a scope and a base, the folder where users find the promoted
    adapter; None where there is none."""

    home: Path
    mirror: Callable[[str, BaseId], Path | None]
    store: RunStore
    adapters: AdapterStore
    board: Board = field(default_factory=Board)
    stop: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], float] = time.monotonic
    picture_clock: Callable[[], float] = time.monotonic
    """Against which the surface's share of the time is held."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    pace: Pace = field(default_factory=Pace)
    memory_bytes: int = 0
    """What a run may take; 0 is what is free."""
    world: World = ALONE
    """Who takes the steps together; this place is rank 0's."""
    cpu_float32: bool = True
    """Whether a base is dequantised to float32 on a CPU."""
    processes: int = 1
    """That compute gradients on a CPU; 0 is one for each processor."""
    fsync: Callable[[Path], None] = files.fsync_path


def train(run: Run, place: Workplace) -> Ended | Paused:
    """Do what the plan says, from the newest checkpoint on if there is one.

    The run's folder holds a whole `model/` if any step was worth keeping.
    """
    with Watch(place.store, run.run_id, place.stop) as watch:
        return _train(run, place, watch)


def _train(run: Run, place: Workplace, watch: Watch) -> Ended | Paused:
    world = place.world
    # What only rank 0 does must neither exchange nor halt it alone.
    look = watch.look if world.size == 1 else watch.live
    try:
        with ranks.ready(world):
            prepared, reporter = _prepare(run, place, look)
    except Halted as halt:  # nothing has happened since an earlier life, if there was one
        return _halted(halt, run.summary, run.adapter_id)
    ranks.check_alike(world, _rows_sha256(prepared))
    with world.in_step():
        done = _learn(run, place, watch, prepared, reporter, look)
    adapter_id = _keep(run, place, prepared, done, reporter)
    halted, promotion = done.halted, None
    if halted is None and adapter_id is not None and run.plan.promote_if_improves:
        try:
            promotion = _judge(run, place, watch, prepared, done, adapter_id, reporter)
        except Halted as halt:  # nothing is promoted; a run that goes on is measured again
            halted = halt
    if halted is not None:
        if halted.status == "diverged":
            reporter.tell("error", step=done.steps_done, message=halted.reason)
        return _halted(halted, done.summary(), adapter_id)
    message = done.stopped_early or "The run is complete."
    reporter.tell("complete", step=done.steps_done, percent=100.0, message=message)
    reporter.flush()
    return Ended("completed", done.stopped_early, done.summary(), adapter_id, promotion)


def _halted(halt: Halted, summary: Summary | None, adapter_id: str | None) -> Ended | Paused:
    if halt.status == "paused":
        return Paused(halt.reason, summary, adapter_id)
    return Ended(halt.status, halt.reason, summary, adapter_id)


def _prepare(run: Run, place: Workplace, look: Callable[[], None]) -> tuple[Lesson, Reporter]:
    """The run before its first step, and found to fit into memory; raises Halted."""
    prepared = lesson.prepare(
        run.plan,
        place.home,
        cpu_float32=place.cpu_float32,
        world=place.world,
        processes=workers.wanted(place.processes, run.plan) if place.world.size == 1 else 1,
        between=look,
    )
    reporter = _reporter(run, place, prepared)
    with deaths.trying(place.store.folder(run.run_id)):
        limit_bytes = memory.limit(place.memory_bytes)
        need = memory.check(prepared, limit_bytes, look)
        reporter.say(f"Memory: {need.in_words(limit_bytes)}.")
    prepared.processes = workers.fitting(prepared.processes, need, limit_bytes)
    if prepared.processes > 1:
        reporter.say(f"Up to {prepared.processes} processes compute its gradients, each with {need.in_short()}.")
    return prepared, reporter


def _reporter(run: Run, place: Workplace, prepared: Lesson) -> Reporter:
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
    return reporter


def _learn(
    run: Run, place: Workplace, watch: Watch, prepared: Lesson, reporter: Reporter, look_alone: Callable[[], None]
) -> Course:
    """All steps, or those that an earlier life has left, together with the other ranks."""
    saver = _saver(run, place, prepared, reporter)
    begun = _go_on(run, place, prepared, reporter)
    saver.resumed_at(begun.steps_done)
    if place.world.size > 1:
        ranks.begin_alike(place.world, prepared, _checkpoint(prepared, reporter, begun))
    picture = LivePicture(prepared, reporter, easel_of(run, place), look_alone)
    look = ranks.halting_together(place.world, watch.look)
    with workers.beside(prepared, place.cpu_float32, reporter.say):
        return course.run(prepared, reporter, picture, look, place.clock, saver, begun)


def easel_of(run: Run, place: Workplace) -> Easel:
    """Where the run's picture is put."""
    folder = pictures.folder(place.store, run.run_id)
    return Easel(folder, place.board.draw, place.picture_clock, lambda: stamp(place.now()))


def _saver(run: Run, place: Workplace, prepared: Lesson, reporter: Reporter) -> Saver:
    def take(done: Course) -> Checkpoint:
        return _checkpoint(prepared, reporter, done)

    folder = place.store.checkpoints_folder(run.run_id)
    return Saver(folder, take, reporter, place.pace, place.clock, place.fsync)


def _checkpoint(prepared: Lesson, reporter: Reporter, done: Course) -> Checkpoint:
    return Checkpoint(_rows_sha256(prepared), prepared.learner.state(), done, reporter.telling())


def _go_on(run: Run, place: Workplace, prepared: Lesson, reporter: Reporter) -> Course:
    """Put the lesson where the newest whole checkpoint left it; raises Conflict when the data are others now."""
    found, passed_over = checkpoints.newest(place.store.checkpoints_folder(run.run_id))
    for words in passed_over:
        reporter.warn(words)
    if found is None:
        if reporter.has_told:
            reporter.go_on(None, "Begun again: there is no checkpoint.")
        return Course()
    if found.rows_sha256 != _rows_sha256(prepared):
        raise Conflict("The dataset is not the one that the run began with.", hint="Start a new run.")
    prepared.learner.restore(found.learner)
    reporter.go_on(found.telling, f"Resumed after step {found.course.steps_done}.")
    return found.course


def _rows_sha256(prepared: Lesson) -> str:
    return prepared.material.rows_sha256


def _keep(run: Run, place: Workplace, prepared: Lesson, done: Course, reporter: Reporter) -> AdapterId | None:
    """Save the best step as the run's `model/` and in the adapter store under the run's id."""
    if done.kept is None:
        return None
    folder = place.store.model_folder(run.run_id)
    parent = place.adapters.aliases().active(prepared.base.base)
    manifest = _manifest(run, prepared, done, done.kept.step, parent)
    asked = golden.heard(prepared, done.kept.tensors)
    artifacts.write(folder, done.kept.tensors, prepared.config, manifest, asked)
    adapter_id = place.adapters.put(folder, name=run.run_id)
    reporter.say(f"Kept step {done.kept.step} as adapter {short(adapter_id)}.")
    return adapter_id


def _manifest(run: Run, prepared: Lesson, done: Course, step: int, parent: AdapterId | None) -> Manifest:
    train_side, held_out = prepared.material.train, prepared.material.held_out
    dataset = prepared.material.dataset
    return Manifest(
        run_id=run.run_id,
        base=prepared.base.base,
        base_files=verify.base_files(prepared.base.base),
        precision=prepared.base.precision,
        device=device.current().name,
        processes=prepared.processes,
        parent_adapter=parent,
        plan=run.plan,
        dataset=DatasetRecord(
            path=run.plan.dataset_path,
            bytes_sha256=dataset.bytes_sha256,
            rows_sha256=prepared.material.rows_sha256,
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


def _judge(
    run: Run,
    place: Workplace,
    watch: Watch,
    prepared: Lesson,
    done: Course,
    adapter_id: AdapterId,
    reporter: Reporter,
) -> Promotion:
    """Let the gate measure and decide; raises Halted."""
    remove_adapter(prepared.learner.model)
    verdict = promote.consider(prepared, place.adapters, adapter_id, done.base, run.run_id, place.home, watch.look)
    return _announce(run, place, verdict, adapter_id, reporter)


def _announce(run: Run, place: Workplace, verdict: Verdict, adapter_id: AdapterId, reporter: Reporter) -> Promotion:
    """Say and count the decision; after a promotion, refresh the copy that users know."""
    reporter.say(verdict.reason)
    place.board.decide(verdict.promote)
    if verdict.promote:
        try:
            if (folder := place.mirror(run.scope, BaseId(run.plan.base))) is not None:
                place.adapters.mirror(adapter_id, folder)
        except (OSError, RagweldError) as error:
            reporter.say(f"The adapter is active, but the copy for its users was not made: {error}")
    promotion = Promotion(
        promoted=verdict.promote,
        adapter_id=adapter_id,
        reason=verdict.reason,
        ts=stamp(place.now()),
        candidate_loss=verdict.candidate_loss,
        active_loss=verdict.active_loss,
        base_loss=verdict.base_loss,
        decision=verdict.decision,
    )
    _record(place.store.model_folder(run.run_id), promotion, reporter)
    return promotion


def _record(folder: Path, promotion: Promotion, reporter: Reporter) -> None:
    """Write the decision into the run's own manifest, beside what it was about."""
    path = folder / MANIFEST_FILE
    manifest = Manifest.model_validate_json(path.read_bytes()).model_copy(update={"promotion": promotion})
    try:
        files.write_bytes(path, manifest.model_dump_json(indent=2).encode() + b"\n")
    except OSError as error:
        reporter.warn(f"The decision is in run.json, and not in the manifest: {error.strerror}.")
