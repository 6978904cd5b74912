"""What telling a run costs beside its steps: everything but the steps themselves, in seconds of the processor.

The default run on nano without a surface, evaluations and saves. What is neither step nor start is the cost of telling:
the probe batch's loss, norms, the sketch, the events, the path. Shown beside without the probe, and where a process for
each processor takes its part of the steps, which makes them shorter and the telling not.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from catalog.plan import Plan
from catalog.runs import RunStore
from catalog.settings import TrainingSettings
from tests.bench.trainers import NANO
from tests.sample_run import default_plan
from trainer import course, lesson, workers
from trainer.batches import Part
from trainer.evaluate import exam
from trainer.exporter import Board
from trainer.learner import ANYTHING, Learner, StepResult
from trainer.lesson import Lesson
from trainer.picture.live import Easel, LivePicture
from trainer.steadiness import Bounds
from trainer.telemetry import Reporter


class TimedLearner(Learner):
    """A learner that adds up what its steps take."""

    step_cpu_s = 0.0

    def step(
        self,
        step: int,
        parts: Iterable[Part | None],
        lr: float,
        between: Callable[[], None],
        expected: Bounds = ANYTHING,
    ) -> StepResult:
        began_s = time.process_time()
        result = super().step(step, parts, lr, between, expected)
        self.step_cpu_s += time.process_time() - began_s
        return result


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--interval", type=int, default=TrainingSettings().ragweld_agent_telemetry_interval_steps)
    arguments = parser.parse_args()
    wanted = {"epochs": arguments.epochs, "telemetry_interval_steps": arguments.interval}
    plan = default_plan(surface_grid=0, **wanted)
    ratios = {}
    for name in ("whole", "without_probe", "with_workers"):
        processes = workers.wanted(0, plan) if name == "with_workers" else 1
        with tempfile.TemporaryDirectory() as scratch:
            ratios[name] = round(cost(plan, Path(scratch), processes, has_probe=name != "without_probe"), 4)
        print(f"{name}: {ratios[name]:.2%} of the steps' time", flush=True)
    print(json.dumps({"bench": "telemetry", "model": NANO, "interval": arguments.interval, "ratios": ratios}))


def cost(plan: Plan, home: Path, processes: int, *, has_probe: bool) -> float:
    """This process's seconds of the processor beside the steps, for each of the steps."""
    store, prepared = RunStore(home), lesson.prepare(plan, home, processes=processes)
    learner = prepared.learner = timed(prepared)
    prepared.held_out = exam([])
    if not has_probe:
        prepared.probe = exam([])
    reporter = Reporter(
        store,
        Board(),
        store.create("default", plan).run_id,
        NANO,
        steps_planned=prepared.steps,
        points_planned=prepared.steps // plan.telemetry_interval_steps,
    )
    easel = Easel(home, lambda _picture: None, time.monotonic, lambda: "")
    picture = LivePicture(prepared, reporter, easel, lambda: None)
    began_s = time.process_time()
    picture.open(0)
    with workers.beside(prepared, cpu_float32=True, say=print):
        course.run(prepared, reporter, picture, lambda: None, time.monotonic, lambda _course, _is_wanted: None)
    return (time.process_time() - began_s - learner.step_cpu_s) / learner.step_cpu_s


def timed(prepared: Lesson) -> TimedLearner:
    """The lesson's learner, timed."""
    return TimedLearner(prepared.learner.model, prepared.objective, prepared.plan.seed)


if __name__ == "__main__":
    main()
