"""What a run will need is measured before it starts, and one that needs more than there is is refused in time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from catalog.errors import OutOfMemory
from tests.trainer.conftest import MakePlan
from trainer import lesson, memory
from trainer.batches import Batch
from trainer.learner import Learner
from trainer.lesson import Lesson

LARGE = 1 << 40
Prepare = Callable[..., Lesson]


def nothing() -> None:
    pass


@pytest.fixture
def prepare(make_plan: MakePlan, tmp_path: Path) -> Prepare:
    def make(**changes: object) -> Lesson:
        return lesson.prepare(make_plan(**changes), tmp_path)

    return make


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch_size": 16, "lora_target_modules": ["q_proj", "v_proj", "up_proj", "down_proj"]},
        {"batch_size": 16, "grad_checkpoint": True, "optimizer": "adafactor"},
    ],
)
def test_the_peak_of_a_run_is_what_was_foretold(prepare: Prepare, changes: dict[str, object]) -> None:
    made: Lesson = prepare(**changes)
    need = memory.check(made, LARGE)
    mx.reset_peak_memory()
    for step in made.course():
        made.learner.step(step.step, made.parts(step), 0.01, nothing)
        made.learner.flat()
    assert 0.6 * need.peak_bytes < mx.get_peak_memory() <= need.peak_bytes


def test_trying_leaves_no_trace(prepare: Prepare) -> None:
    tried, clean = prepare(), prepare()
    memory.check(tried, LARGE)
    for made in (tried, clean):
        step = next(iter(made.course()))
        made.learner.step(step.step, made.parts(step), 0.01, nothing)
    assert mx.array_equal(tried.learner.flat(), clean.learner.flat()).item()


def test_what_does_not_fit_is_refused_with_numbers_and_what_to_change(prepare: Prepare) -> None:
    made: Lesson = prepare(batch_size=16)
    need = memory.check(made, LARGE)
    limit_bytes = need.held_bytes + 4 * need.row_bytes
    with pytest.raises(OutOfMemory) as refused:
        memory.check(made, limit_bytes)
    words = str(refused.value)
    for part in ("The run needs 0.0", "GB at the peak, for 16 row(s)", "grad_checkpoint", "lower max_length, now 256"):
        assert part in words
    fitting = int(words.split("lower batch_size from 16 to ")[1].split()[0])
    assert 3 <= fitting <= 4


class Watched:
    """A learner that remembers how many rows it was tried on at once."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.tried: list[int] = []

    def tensors(self) -> dict[str, mx.array]:
        return self.learner.tensors()

    def try_on(self, batch: Batch) -> None:
        self.tried.append(batch.rows)
        self.learner.try_on(batch)


def test_where_one_row_is_too_much_the_whole_batch_is_not_tried(prepare: Prepare) -> None:
    made: Lesson = prepare(batch_size=8)
    made.learner = watched = Watched(made.learner)
    with pytest.raises(OutOfMemory) as refused:
        memory.check(made, 1000)
    assert watched.tried == [1]
    assert "batch_size" not in str(refused.value)
    memory.check(made, LARGE)
    assert watched.tried == [1, 1, 8]


def test_the_limit_is_what_was_set_or_what_is_free() -> None:
    assert memory.limit(12345) == 12345
    assert memory.limit(0) > mx.get_active_memory()
