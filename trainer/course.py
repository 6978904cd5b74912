"""The steps of one run, from the first to the last or to where it is halted: learn, look, measure, keep the best.

Knows nothing of files: it tells the reporter, asks the watch, and returns what the run has come to.
`tests/trainer/test_run.py`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from catalog.base import blas
from catalog.runs import Summary
from trainer import projection
from trainer.batches import StepRows
from trainer.evaluate import Measurement, measure
from trainer.learner import StepResult, length
from trainer.lesson import Lesson
from trainer.telemetry import Reporter
from trainer.watch import Halted

blas.preload()

import mlx.core as mx  # noqa: E402

EVALUATIONS = 10
MAX_SKIPPED_STEPS = 5
STABILITY_VALUES = 5


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Held-out loss after a step, and the seconds since the run began learning."""

    step: int
    loss: float
    after_s: float


@dataclass(frozen=True, slots=True)
class Kept:
    """The adapter as it was after a step."""

    step: int
    tensors: dict[str, mx.array]


@dataclass(slots=True)
class Course:
    """What a run has come to. `base` is the measurement of step 0, where LoRA adds exactly nothing."""

    base: Measurement | None = None
    evaluations: list[Evaluation] = field(default_factory=list)
    """Of trained steps, oldest first."""
    kept: Kept | None = None
    steps_done: int = 0
    rows_seen: int = 0
    skipped: int = 0
    halted: Halted | None = None

    @property
    def best(self) -> Evaluation | None:
        measured = [evaluation for evaluation in self.evaluations if math.isfinite(evaluation.loss)]
        return min(measured, key=lambda evaluation: evaluation.loss, default=None)

    def summary(self) -> Summary:
        """The run in numbers."""
        if self.best is None:
            return Summary()
        values = [evaluation.loss for evaluation in self.evaluations]
        return Summary(
            primary_best=self.best.loss,
            primary_final=values[-1] if math.isfinite(values[-1]) else None,
            best_step=self.best.step,
            time_to_best_secs=self.best.after_s,
            stability_stddev=statistics.pstdev(filter(math.isfinite, values[-STABILITY_VALUES:])),
        )


def run(lesson: Lesson, reporter: Reporter, look: Callable[[], None], clock: Callable[[], float]) -> Course:
    """Take every step of the lesson. Ends early, with `halted` set, when `look` raises Halted or the run diverges."""
    course = Course()
    mx.reset_peak_memory()
    try:
        _run(lesson, course, reporter, look, clock)
    except Halted as halt:
        course.halted = halt
    mx.clear_cache()
    reporter.release()
    return course


def _run(
    lesson: Lesson, course: Course, reporter: Reporter, look: Callable[[], None], clock: Callable[[], float]
) -> None:
    started_s = clock()
    start = lesson.learner.flat()
    exams = _steps_of_evaluations(lesson.steps) if lesson.held_out.tokens else set()
    if exams:
        course.base = _measure_all(lesson, look)
        reporter.evaluated(0, 0.0, None, course.base.loss, None)
    nats, tokens = 0.0, 0
    for step in lesson.course():
        is_told = step.step % lesson.plan.telemetry_interval_steps == 0 or step.step == lesson.steps
        before = lesson.learner.flat() if is_told else None
        began_s = clock()
        result = lesson.learner.step(step.step, lesson.micro_batches(step), lesson.learning_rate(step.step), look)
        took_s = clock() - began_s
        course.steps_done, course.rows_seen = step.step, course.rows_seen + result.rows
        if result.applied:
            nats, tokens = nats + result.loss * result.supervised_tokens, tokens + result.supervised_tokens
        else:
            _skip(course, step, reporter)
        if before is not None:
            _tell(lesson, course, reporter, step, result, took_s, start, before)
        if step.step in exams:
            measured = _measure_all(lesson, look)
            course.evaluations.append(Evaluation(step.step, measured.loss, clock() - started_s))
            if course.best is not None and course.best.step == step.step:
                course.kept = Kept(step.step, lesson.learner.tensors())
            train_loss = nats / tokens if tokens else None
            best_loss = course.best.loss if course.best else None
            reporter.evaluated(step.step, step.step / lesson.steps_per_epoch, train_loss, measured.loss, best_loss)
            nats, tokens = 0.0, 0
    if not exams:
        course.kept = Kept(course.steps_done, lesson.learner.tensors())


def _steps_of_evaluations(steps: int) -> set[int]:
    """About ten steps, evenly spread, the last one among them."""
    count = min(EVALUATIONS, steps)
    return {round(steps * number / count) for number in range(1, count + 1)}


def _measure_all(lesson: Lesson, look: Callable[[], None]) -> Measurement:
    return measure(lesson.learner.model, lesson.scorer, lesson.held_out, look)


def _skip(course: Course, step: StepRows, reporter: Reporter) -> None:
    course.skipped += 1
    if course.skipped > MAX_SKIPPED_STEPS:
        raise Halted(
            "diverged",
            f"{course.skipped} steps, the last one {step.step}, had a loss or gradient that is not finite; "
            "lower the learning rate.",
        )
    reporter.say(
        f"Step {step.step} changed nothing: its loss or gradient is not finite "
        f"({course.skipped} of at most {MAX_SKIPPED_STEPS} such steps)."
    )


def _tell(
    lesson: Lesson,
    course: Course,
    reporter: Reporter,
    step: StepRows,
    result: StepResult,
    took_s: float,
    start: mx.array,
    before: mx.array,
) -> None:
    """Measure the point where the step arrived."""
    after = lesson.learner.flat()
    probe = measure(lesson.learner.model, lesson.scorer, lesson.probe)
    reading = replace(
        reporter.snapshot,
        step=step.step,
        epoch=step.step / lesson.steps_per_epoch,
        loss=result.loss,
        probe_loss=probe.loss if probe.tokens else None,
        lr=result.lr,
        grad_norm=result.grad_norm,
        param_norm=length(after),
        update_norm=length(after - before),
        tokens_per_s=result.tokens / took_s if took_s > 0 else None,
        step_s=took_s,
        memory_bytes=mx.get_peak_memory(),
        point=None,
    )
    reporter.observed(reading, course.rows_seen, projection.sketch(after - start))
