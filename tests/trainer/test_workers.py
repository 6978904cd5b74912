"""Gradients computed by several processes are those of one, to the bit, whatever becomes of the others."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import pytest

from catalog.base import blas, device
from tests.house import REPOSITORY
from tests.trainer.conftest import MakePlan
from trainer import lesson
from trainer.batches import Part, StepRows
from trainer.learner import Gradient
from trainer.lesson import Lesson
from trainer.memory import Need
from trainer.watch import Halted
from trainer.worker import Answer, Begin, Post, TakenBack, Worker
from trainer.workers import MOST, Workers, _Table, fitting, wanted

DEADLINE_S = 300.0
Prepare = Callable[..., Lesson]


def nothing() -> None:
    pass


@pytest.fixture
def prepare(make_plan: MakePlan, tmp_path: Path) -> Prepare:
    def make(**changes: object) -> Lesson:
        return lesson.prepare(make_plan(epochs=100_000, **changes), tmp_path)

    return make


class Helped:
    """A lesson whose gradients others compute too; tells who computed how many parts."""

    def __init__(self, prepared: Lesson, count: int = 1) -> None:
        prepared.processes = 1 + count
        self.lesson = prepared
        self.said: list[str] = []
        post = Post(prepared.plan, cpu_float32=True, blas_threads=blas.threads())
        self.workers = Workers(post, count, prepared.steps, self.said.append, worth_s=-1.0)
        self.parts = self.own_parts = 0
        self._own_gradient = prepared.learner.gradient
        prepared.learner.gradient = self._counted  # type: ignore[method-assign]
        prepared.learner.compute = self.workers.compute

    def _counted(self, step: int, part: Part) -> Gradient:
        self.own_parts += 1
        return self._own_gradient(step, part)

    def take(self, step: StepRows, between: Callable[[], None] = nothing) -> int:
        """Take a step; how many of its parts others computed."""
        parts, before = list(self.lesson.parts(step)), self.own_parts
        self.lesson.learner.step(step.step, parts, 0.01, between)
        return len(parts) - (self.own_parts - before)

    def until_helped(self, course: Iterator[StepRows]) -> int:
        """Take steps until somebody else computes; the last one."""
        end_s = time.monotonic() + DEADLINE_S
        for step in course:
            if self.take(step):
                return step.step
            assert time.monotonic() < end_s
        raise AssertionError("nobody helped")

    @property
    def process(self) -> int:
        (worker,) = self.workers._workers
        return worker.process.pid


@pytest.fixture
def helped(prepare: Prepare) -> Iterator[Callable[..., Helped]]:
    made: list[Helped] = []

    def make(count: int = 1, **changes: object) -> Helped:
        made.append(Helped(prepare(**changes), count))
        return made[-1]

    yield make
    for one in made:
        one.workers.close()


def alone(prepare: Prepare, last_step: int, processes: int = 1, **changes: object) -> mx.array:
    """Where one process comes to in so many steps."""
    made = prepare(**changes)
    made.processes = processes
    for step in made.course():
        if step.step > last_step:
            break
        made.learner.step(step.step, made.parts(step), 0.01, nothing)
    return made.learner.flat()


@pytest.mark.parametrize(
    ("count", "changes"),
    [
        (1, {}),  # four micro-batches of two rows, with dropout
        (2, {"batch_size": 6, "grad_accum_steps": 1, "optimizer": "adafactor", "lora_kind": "dora"}),
    ],
)
def test_whoever_computes_a_part_the_steps_are_the_same_to_the_bit(
    helped: Callable[..., Helped], prepare: Prepare, count: int, changes: dict[str, object]
) -> None:
    several = helped(count, **changes)
    course = several.lesson.course()
    last = max(several.until_helped(course) for _ in range(6))
    expected = alone(prepare, last, 1 + count, **changes)
    assert mx.array_equal(several.lesson.learner.flat(), expected).item()
    assert several.said == []


def test_one_that_dies_costs_nothing_but_time_and_is_told(helped: Callable[..., Helped], prepare: Prepare) -> None:
    several = helped()
    course = several.lesson.course()
    several.until_helped(course)

    def kill() -> None:
        os.kill(several.process, signal.SIGKILL) if not several.said and several.workers._workers else None

    several.take(next(course), kill)
    last = next(course)
    assert several.take(last) == 0
    assert several.said == ["A process that computed gradients ended with -9; the run goes on without."]
    assert mx.array_equal(several.lesson.learner.flat(), alone(prepare, last.step)).item()


def test_one_that_hangs_is_not_waited_for_twice_and_helps_again_when_it_wakes(
    helped: Callable[..., Helped], prepare: Prepare
) -> None:
    several = helped()
    course = several.lesson.course()
    several.until_helped(course)
    os.kill(several.process, signal.SIGSTOP)
    assert several.take(next(course)) == 0
    (worker,) = several.workers._workers
    assert not worker.answers
    for _ in range(3):
        assert several.take(next(course)) == 0
        assert not worker.owes
    os.kill(several.process, signal.SIGCONT)
    last = several.until_helped(course)
    assert mx.array_equal(several.lesson.learner.flat(), alone(prepare, last)).item()


def test_who_waits_for_a_part_still_heeds_a_cancel(helped: Callable[..., Helped]) -> None:
    several = helped()
    course = several.lesson.course()
    several.until_helped(course)
    os.kill(several.process, signal.SIGSTOP)
    looks = iter(range(8))

    def cancel() -> None:
        if next(looks, None) is None:
            raise Halted("cancelled", "for the test")

    before = several.lesson.learner.flat()
    with pytest.raises(Halted):
        for step in course:
            before = several.lesson.learner.flat()
            several.take(step, cancel)
    assert mx.array_equal(several.lesson.learner.flat(), before).item()


TRAINER = """
import sys, time
from pathlib import Path
from catalog.plan import Plan
from trainer import lesson
from trainer.worker import Post
from trainer.workers import Workers

plan = Plan.model_validate_json(sys.argv[1])
made = lesson.prepare(plan, Path("/"))
made.learner.compute = (workers := Workers(Post(plan, True, 1), 1, made.steps, print, worth_s=-1.0)).compute
for step in made.course():
    made.learner.step(step.step, made.parts(step), 0.01, lambda: None)
    print(*[worker.process.pid for worker in workers._workers if worker.answers], flush=True)
"""


def test_a_worker_lets_signals_be_the_trainers_and_ends_when_that_is_killed(make_plan: MakePlan) -> None:
    plan = make_plan(epochs=100_000)
    command = [sys.executable, "-c", TRAINER, plan.model_dump_json()]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as trainer:
        try:
            told = (line.strip() for line in trainer.stdout)
            worker = int(next(filter(None, told)))
            for number in (signal.SIGINT, signal.SIGTERM):  # as a terminal or an init system sends to a group
                os.kill(worker, number)
            assert list(itertools.islice(told, 50))[-1] == str(worker)
        finally:
            trainer.kill()
    end_s = time.monotonic() + DEADLINE_S
    while is_running(worker):
        assert time.monotonic() < end_s
        time.sleep(0.1)


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_nobody_is_called_for_a_few_quick_steps(make_plan: MakePlan, tmp_path: Path) -> None:
    made = lesson.prepare(make_plan(), tmp_path)
    called = Workers(Post(made.plan, cpu_float32=True, blas_threads=1), 3, made.steps, print)
    made.learner.compute = called.compute
    for step in made.course():
        made.learner.step(step.step, made.parts(step), 0.01, nothing)
    assert called._workers == []


def test_a_worker_forgets_what_is_not_wanted_any_more(prepare: Prepare) -> None:
    made = prepare()
    parts = list(made.parts(next(iter(made.course()))))
    worker = Worker(made.learner)
    for said in (Begin(1, made.learner.tensors()), parts[0], parts[1], parts[2], TakenBack(1)):
        worker.hear(said)
    answers = [worker.next(), worker.next()]
    assert [(answer.step, answer.part) for answer in answers] == [(1, 0), (1, 2)] and worker.is_idle
    assert mx.array_equal(answers[0].gradient.numbers, made.learner.gradient(1, parts[0]).numbers).item()
    worker.hear(parts[1])
    worker.hear(Begin(2, made.learner.tensors()))
    assert worker.is_idle


def test_an_answer_to_an_earlier_step_settles_nothing(prepare: Prepare) -> None:
    """A part that was taken back may have been begun already; its number comes again in the next step."""
    made = prepare()
    parts = list(made.parts(next(iter(made.course()))))
    asked = Workers(Post(made.plan, cpu_float32=True, blas_threads=1), 1, made.steps, print)
    worker, table = SimpleNamespace(owes={0: parts[0]}, answers=False), _Table(Begin(2, {}), parts)
    late = made.learner.gradient(1, parts[0])
    asked._heard(table, worker, Answer(1, 0, late))  # type: ignore[arg-type]
    assert worker.owes and 0 in table.missing and worker.answers
    asked._heard(table, worker, Answer(2, 0, late))  # type: ignore[arg-type]
    assert not worker.owes and table.found[0] is late


@pytest.mark.skipif(device.current().kind != "cpu", reason="only a CPU is shared by processes")
def test_there_are_no_more_processes_than_processors_rows_or_memory_for_them(make_plan: MakePlan) -> None:
    need = Need(held_bytes=100, row_bytes=10, rows=2, tokens=9)
    plan = make_plan()
    assert wanted(0, plan) == min(device.processors(), MOST)
    assert (wanted(5, plan), wanted(64, plan)) == (5, plan.batch_size * plan.grad_accum_steps)
    assert fitting(5, need, 1 << 40) == 5
    assert fitting(5, need, 3 * need.peak_bytes) == 3
    assert fitting(5, need, need.peak_bytes - 1) == 1


def test_a_micro_batch_is_cut_only_where_there_are_too_few(prepare: Prepare, make_plan: MakePlan) -> None:
    made = prepare(batch_size=5, grad_accum_steps=2)
    step = next(iter(made.course()))
    whole = [part.batch.rows for part in made.parts(step)]
    made.processes = 2
    assert [part.batch.rows for part in made.parts(step)] == whole
    made.processes = 3
    cut = list(made.parts(step))
    assert [part.batch.rows for part in cut] == [piece for rows in whole for piece in (-(-rows // 2), rows // 2)]
    assert [part.number for part in cut] == [0, 1, 2, 3]
