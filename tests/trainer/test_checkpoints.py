"""A checkpoint is whole or absent, and reads back bit for bit."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from trainer import checkpoints
from trainer.checkpoints import Checkpoint
from trainer.course import Course, Evaluation, Kept
from trainer.evaluate import Measurement
from trainer.exporter import RunSnapshot
from trainer.learner import LearnerState, StepResult
from trainer.projection import SKETCH_SIZE, Plane, Point
from trainer.telemetry import Telling

WRITER = """
import os, shutil, signal, sys
from dataclasses import replace
from pathlib import Path
from trainer import checkpoints
root = Path(sys.argv[1])
def write(folder, operation):
    found, _ = checkpoints.newest(folder)
    after = replace(found, course=replace(found.course, steps_done=found.course.steps_done + 1))
    left = operation
    def count(event, arguments):
        nonlocal left
        if event in ("open", "os.rename", "os.chmod", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    checkpoints.write(folder, after)
for operation in range(1, 200):
    folder = root / str(operation)
    shutil.copytree(root / "before", folder)
    child = os.fork()
    if child == 0:
        write(folder, operation)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""
"""Writes step 8 after steps 6 and 7 in one child after the other, killed at its first, second, third operation."""


@pytest.fixture
def checkpoint() -> Checkpoint:
    """A state after step 7 with every field in use, numbers that are none among them."""
    random = np.random.default_rng(0)

    def tensors(seed: int) -> dict[str, mx.array]:
        return {name: mx.random.normal((4, 2), key=mx.random.key(seed)) for name in ("a.lora_a", "a.lora_b")}

    result = StepResult(0.1 + 0.2, math.inf, 1e-3, 2, 30, 7, 7, False)
    snapshot = RunSnapshot("r", "tiny", step=7, loss=math.pi, point=Point(0.1, -0.2, 0.3, 0.4, "d"))
    return Checkpoint(
        rows_sha256="0" * 64,
        learner=LearnerState(tensors(1), {"step": mx.array(7, mx.uint64), **tensors(2)}),
        course=Course(
            base=Measurement((1.5, math.nan), (3, 4)),
            evaluations=[Evaluation(5, 1 / 3, 2.5), Evaluation(7, math.nan, 3.5)],
            kept=Kept(5, tensors(3)),
            steps_done=7,
            rows_seen=14,
            skipped=1,
            since_exam=[result],
            learned_s=3.75,
        ),
        telling=Telling(
            snapshot,
            Plane(random.standard_normal((2, SKETCH_SIZE)), "d"),
            [((replace(snapshot, step=step), step), random.standard_normal(SKETCH_SIZE)) for step in (6, 7)],
        ),
    )


def at_step(checkpoint: Checkpoint, step: int) -> Checkpoint:
    return replace(checkpoint, course=replace(checkpoint.course, steps_done=step))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_read_and_written_again_is_the_same_bytes(tmp_path: Path, checkpoint: Checkpoint) -> None:
    first = checkpoints.write(tmp_path / "first", checkpoint)
    second = checkpoints.write(tmp_path / "second", checkpoints.read(first))
    assert content(first) == content(second)
    assert len(content(first)) == 6
    read = checkpoints.read(first)
    assert repr(read.course.base) == repr(checkpoint.course.base)
    assert repr(read.course.evaluations) == repr(checkpoint.course.evaluations)
    assert (read.course.since_exam, read.telling.snapshot) == (
        checkpoint.course.since_exam,
        checkpoint.telling.snapshot,
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / checkpoints.MANIFEST).unlink(),
        lambda folder: (folder / checkpoints.MANIFEST).write_text("{}"),
        lambda folder: (folder / checkpoints.MANIFEST).write_text('{"format": 0, "sha256": {}}'),
        lambda folder: (folder / checkpoints.STATE).write_text("{}"),
        lambda folder: (folder / checkpoints.BEST).unlink(),
        lambda folder: (folder / checkpoints.TRAINABLE).write_bytes(b""),
    ],
)
def test_what_is_not_whole_is_passed_over(
    tmp_path: Path, checkpoint: Checkpoint, spoil: Callable[[Path], object]
) -> None:
    checkpoints.write(tmp_path, checkpoint)
    spoil(checkpoints.write(tmp_path, at_step(checkpoint, 8)))
    found, passed_over = checkpoints.newest(tmp_path)
    assert found is not None
    assert found.course.steps_done == 7
    assert len(passed_over) == 1
    assert passed_over[0].startswith("step_8 cannot be used: ")


def test_the_newest_two_stay(tmp_path: Path, checkpoint: Checkpoint) -> None:
    for step in (8, 9, 10, 100):
        checkpoints.write(tmp_path, at_step(checkpoint, step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_10", "step_100"]


@pytest.mark.slow
def test_a_save_killed_at_any_operation_leaves_the_one_before_or_the_new_one(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    for step in (6, 7):
        checkpoints.write(tmp_path / "before", at_step(checkpoint, step))
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path)], timeout=300, check=True)
    found_steps = []
    for operation in range(1, len(list(tmp_path.iterdir()))):
        found, passed_over = checkpoints.newest(tmp_path / str(operation))
        assert found is not None
        assert passed_over == []
        assert content(tmp_path / str(operation) / "step_7") == content(tmp_path / "before" / "step_7")
        found_steps.append(found.course.steps_done)
    assert found_steps == sorted(found_steps)
    assert set(found_steps) == {7, 8}
    assert len(found_steps) > 20
