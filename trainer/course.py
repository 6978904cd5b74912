"""The steps of one run, from the first to the last or to where it is halted: learn, look, measure, keep the best.

Knows nothing of files: it tells the reporter, asks the watch, offers its state to be saved, and returns what the run
has come to. A course that was saved goes on from there. `tests/trainer/test_run.py`, `tests/trainer/test_resume.py`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from catalog.base import blas, device
from catalog.run_life import Status, Summary
from trainer import projection, steadiness
from trainer.batches import StepRows
from trainer.evaluate import Measurement, measure
from trainer.exporter import RunSnapshot
from trainer.learner import StepResult, length
from trainer.lesson import Lesson
from trainer.remaining import Remaining
from trainer.watch import Halted

blas.preload()

import mlx.core as mx  # noqa: E402

EXAMS = 10
STABILITY_VALUES = 5
RESUMABLE: frozenset[Status] = frozenset({"paused", "interrupted"})


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
    norms: list[float] = field(default_factory=list)
    """Lengths of the latest gradients that were learned from, oldest first."""
    since_exam: list[StepResult] = field(default_factory=list)
    """What was learned after the last evaluation."""
    learned_s: float = 0.0
    """Seconds of work until the last save."""
    halted: Halted | None = None
    stopped_early: str | None = None
    """Why the run is complete before its last planned step."""

    @property
    def best(self) -> Evaluation | None:
        measured = [evaluation for evaluation in self.evaluations if math.isfinite(evaluation.loss)]
        return min(measured, key=lambda evaluation: evaluation.loss, default=None)

    def summary(self) -> Summary:
        """The run in numbers."""
        if self.best is None:
            return Summary()
        values = [evaluation.loss for evaluation in self.evaluations]
        latest = [value for value in values[-STABILITY_VALUES:] if math.isfinite(value)]
        return Summary(
            primary_best=self.best.loss,
            primary_final=values[-1] if math.isfinite(values[-1]) else None,
            best_step=self.best.step,
            time_to_best_secs=self.best.after_s,
            stability_stddev=statistics.pstdev(latest) if latest else None,
        )


class Voice(Protocol):
    """Who tells how the course goes."""

    snapshot: RunSnapshot

    def say(self, message: str) -> None:
        """One sentence for people."""

    def observed(self, reading: RunSnapshot, rows_seen: int, displacement: projection.Vector, now_s: float) -> None:
        """A telemetry point."""

    def evaluated(
        self, step: int, epoch: float, train_loss: float | None, measured: Measurement, best: float | None
    ) -> None:
        """All held-out rows were measured after `step`."""

    def release(self) -> None:
        """The course has no more points."""


class Scene(Protocol):
    """Who draws it."""

    def open(self, through_step: int) -> None:
        """Go on after a step; 0 is the beginning. May raise Halted."""

    def observed(self, reading: RunSnapshot, displacement: mx.array, sketch: projection.Vector) -> None:
        """A telemetry point."""

    def between_steps(self) -> None:
        """A moment to draw in."""

    def end(self) -> None:
        """The course has no more steps."""


Save = Callable[[Course, bool], None]
"""Offered the state after each step; the flag says that it should be saved now."""


def run(
    lesson: Lesson,
    reporter: Voice,
    picture: Scene,
    look: Callable[[], None],
    clock: Callable[[], float],
    save: Save,
    course: Course | None = None,
) -> Course:
    """Take every step of the lesson, or those that `course` has not taken.

    Ends early, with `halted` set, when `look` raises Halted or the run diverges. The points that are still held back
    are told only at the end of a run that will not go on.
    """
    mx.reset_peak_memory()
    walk = _Walk(lesson, reporter, picture, look, clock, save, course or Course())
    try:
        walk.to_the_end()
    except Halted as halt:
        walk.course.halted = halt
        if halt.status != "diverged":
            walk.save(is_wanted=True)
    mx.clear_cache()
    if walk.course.halted is None or walk.course.halted.status not in RESUMABLE:
        reporter.release()
        if walk.course.steps_done:
            picture.end()
    return walk.course


class _Walk:
    """A run on its way; `course` is what it has come to."""

    def __init__(
        self,
        lesson: Lesson,
        reporter: Voice,
        picture: Scene,
        look: Callable[[], None],
        clock: Callable[[], float],
        save: Save,
        course: Course,
    ) -> None:
        self.course = course
        self._lesson = lesson
        self._learner = lesson.learner
        self._reporter = reporter
        self._picture = picture
        self._look = look
        self._clock = clock
        self._save = save
        self._started_s = clock() - course.learned_s
        self._remaining = Remaining()
        interval = lesson.plan.eval_interval_steps
        self._exams = steps_of_exams(lesson.steps, interval) if lesson.held_out.examples else set()

    def to_the_end(self) -> None:
        """Every step until patience is over, with all held-out rows measured before the first and as planned."""
        self._picture.open(self.course.steps_done)
        if self._lesson.measure_reference(self._look):
            self._reporter.say("What the base without its adapter holds of every pair is measured, once.")
        if self._exams and self.course.base is None:
            self.course.base = self._measure()
            self._reporter.evaluated(0, 0.0, None, self.course.base, None)
        self._examine_if_due()
        for step in self._lesson.course(self.course.steps_done):
            if self._is_patience_over():
                break
            self._take(step)
            has_examined = self._examine_if_due()
            self.save(is_wanted=has_examined)
            self._picture.between_steps()
        if not self._exams:
            self.course.kept = Kept(self.course.steps_done, self._learner.tensors())

    def save(self, is_wanted: bool) -> None:
        """Offer the state after the last step."""
        self.course.learned_s = self._clock() - self._started_s
        self._save(self.course, is_wanted)

    def _examine_if_due(self) -> bool:
        """Measure after a step of the plan, once; a run may have been halted between the step and its evaluation."""
        step, measured = self.course.steps_done, self.course.evaluations
        if step not in self._exams or (measured and measured[-1].step == step):
            return False
        self._examine(step)
        return True

    def _is_patience_over(self) -> bool:
        patience, best = self._lesson.plan.early_stopping_patience, self.course.best
        in_vain = sum(best is None or evaluation.step > best.step for evaluation in self.course.evaluations)
        if not patience or in_vain < patience:
            return False
        self.course.stopped_early = (
            f"Stopped after step {self.course.steps_done} of {self._lesson.steps}: {in_vain} measurements in a row "
            "were no better than the best before them."
        )
        return True

    def _take(self, step: StepRows) -> None:
        is_told = step.step % self._lesson.plan.telemetry_interval_steps == 0 or step.step == self._lesson.steps
        before = self._learner.flat() if is_told else None
        began_s = self._clock()
        rate = self._lesson.learning_rate(step.step)
        usual = [self._lesson.guessing_loss, *([self.course.base.loss] if self.course.base else [])]
        expected = steadiness.bounds(self.course.norms, self._lesson.plan.max_grad_norm, usual)
        result = self._learner.step(step.step, self._lesson.parts(step), rate, self._look, expected)
        now_s = self._clock()
        self._remaining.passed(began_s, now_s)
        self.course.steps_done = step.step
        self.course.rows_seen += result.rows
        if result.applied:
            self.course.since_exam.append(result)
            self.course.norms = [*self.course.norms, result.grad_norm][-steadiness.WINDOW :]
        else:
            self._skip(step.step, steadiness.what_is_wrong(result.loss, result.grad_norm, expected))
        if before is not None:
            self._tell(result, began_s, now_s, before)

    def _skip(self, step: int, wrong: str) -> None:
        """Tell a step that changed nothing; raises Halted when there were too many."""
        self.course.skipped += 1
        skipped, most = self.course.skipped, self._lesson.plan.max_skipped_steps
        if skipped > most:
            reason = f"{skipped} steps could not be learned from; of the last one, {step}, {wrong}"
            raise Halted("diverged", f"{reason}. Lower the learning rate, or look for rows that break it.")
        self._reporter.say(f"Step {step} changed nothing: {wrong} ({skipped} of at most {most} such steps).")

    def _tell(self, result: StepResult, began_s: float, now_s: float, before: mx.array) -> None:
        """Measure the point where the step arrived."""
        took_s = now_s - began_s
        after = self._learner.flat()
        reading = replace(
            self._reporter.snapshot,
            step=self.course.steps_done,
            epoch=self.course.steps_done / self._lesson.steps_per_epoch,
            loss=result.loss,
            probe_loss=self._probe_loss(),
            lr=result.lr,
            grad_norm=result.grad_norm,
            param_norm=length(after),
            update_norm=length(after - before),
            tokens_per_s=result.tokens / took_s if took_s > 0 else None,
            step_s=took_s,
            memory_bytes=mx.get_peak_memory(),
            memory_active_bytes=mx.get_active_memory(),
            resident_bytes=device.resident_bytes(),
            eta_s=self._remaining.seconds(self._lesson.steps - self.course.steps_done),
            skipped=self.course.skipped,
            point=None,
        )
        displacement = after - self._learner.start
        sketch = projection.sketch(displacement)
        self._reporter.observed(reading, self.course.rows_seen, sketch, now_s)
        self._picture.observed(reading, displacement, sketch)

    def _probe_loss(self) -> float | None:
        """Of the probe, at the points where it is due and at the last."""
        lesson, step = self._lesson, self.course.steps_done
        if step // lesson.plan.telemetry_interval_steps % lesson.probe_spacing and step != lesson.steps:
            return None
        probe = measure(self._learner.model, lesson.objective, lesson.probe)
        return probe.loss if probe.counts else None

    def _examine(self, step: int) -> None:
        """Measure all held-out rows, and keep the adapter if it is the best so far."""
        measured = self._measure()
        self.course.evaluations.append(Evaluation(step, measured.loss, self._clock() - self._started_s))
        best = self.course.best
        if best is not None and best.step == step:
            self.course.kept = Kept(step, self._learner.tensors())
        nats = sum(result.loss * result.count for result in self.course.since_exam)
        count = sum(result.count for result in self.course.since_exam)
        self.course.since_exam.clear()
        epoch = step / self._lesson.steps_per_epoch
        self._reporter.evaluated(step, epoch, nats / count if count else None, measured, best.loss if best else None)

    def _measure(self) -> Measurement:
        lesson = self._lesson
        return measure(self._learner.model, lesson.objective, lesson.held_out, self._look, lesson.world)


def steps_of_exams(steps: int, interval: int) -> set[int]:
    """Every `interval` steps, or about ten evenly spread when it is 0; the last one among them."""
    if interval:
        return {*range(interval, steps, interval), steps}
    count = min(EXAMS, steps)
    return {round(steps * number / count) for number in range(1, count + 1)}
