"""A run's whole state after a step, on disk, from which it goes on as if it had never stopped.

`checkpoints/step_<n>/` is there whole or not at all: staged, flushed, renamed, with the sha256 of each file in its
`manifest.json`. The newest two are kept; one that is not what its manifest says is passed over for the one before.
`tests/trainer/test_checkpoints.py` kills a writer at every operation, `tests/trainer/test_resume.py` proves equality.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import TypeAdapter
from safetensors.numpy import load, save

from catalog import files
from catalog.base import blas
from trainer.course import Course, Evaluation, Kept
from trainer.evaluate import Measurement
from trainer.exporter import RunSnapshot
from trainer.learner import LearnerState, StepResult
from trainer.projection import SKETCH_SIZE, Plane
from trainer.telemetry import Reporter, TelemetryPoint, Telling

blas.preload()

import mlx.core as mx  # noqa: E402

FORMAT = 3
KEPT = 2
MANIFEST = "manifest.json"
STATE, TRAINABLE, OPTIMIZER, BEST, PATH = (
    "state.json",
    "trainable.safetensors",
    "optimizer.safetensors",
    "best.safetensors",
    "path.safetensors",
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that the next step depends on and that the plan does not say."""

    rows_sha256: str
    """Of the dataset, as the manifest of the adapter has it."""
    learner: LearnerState
    course: Course
    telling: Telling


@dataclass(frozen=True, slots=True)
class _State:
    """`state.json`: what is not an array."""

    rows_sha256: str
    steps_done: int
    rows_seen: int
    skipped: int
    learned_s: float
    base: Measurement | None
    evaluations: list[Evaluation]
    since_exam: list[StepResult]
    kept_step: int | None
    snapshot: RunSnapshot
    held: list[TelemetryPoint]
    plane_digest: str | None
    norms: list[float] = field(default_factory=list)


def write(folder: Path, checkpoint: Checkpoint, fsync: Callable[[Path], None] = files.fsync_path) -> Path:
    """Add `step_<n>` to `folder`, then remove what is older than the newest two. Raises OSError and adds nothing."""
    target = folder / f"step_{checkpoint.course.steps_done}"
    with files.staged_folder(target, fsync=fsync) as staging:
        digests = {}
        for name, content in _contents(checkpoint):
            (staging / name).write_bytes(content)
            digests[name] = hashlib.sha256(content).hexdigest()
        (staging / MANIFEST).write_text(json.dumps({"format": FORMAT, "sha256": digests}, indent=2) + "\n", "utf-8")
    for older in _newest_first(folder)[KEPT:]:
        shutil.rmtree(older, ignore_errors=True)
    return target


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, and in words each newer one that had to be passed over."""
    passed_over: list[str] = []
    for path in _newest_first(folder):
        try:
            return read(path), passed_over
        except (OSError, ValueError, KeyError) as error:
            passed_over.append(f"{path.name} cannot be used: {error}")
    return None, passed_over


def read(folder: Path) -> Checkpoint:
    """A checkpoint that is what its manifest says; raises OSError, ValueError or KeyError when it is not."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    if manifest["format"] != FORMAT:
        raise ValueError(f"it is of format {manifest['format']}, not {FORMAT}")
    content = {name: (folder / name).read_bytes() for name in manifest["sha256"]}
    for name, expected in manifest["sha256"].items():
        if hashlib.sha256(content[name]).hexdigest() != expected:
            raise ValueError(f"{name} is not what was written")
    return _checkpoint(content)


def packed(checkpoint: Checkpoint) -> bytes:
    """The checkpoint as one piece, for another rank."""
    return save({name: np.frombuffer(content, np.uint8) for name, content in _contents(checkpoint)})


def unpacked(content: bytes) -> Checkpoint:
    """What `packed` made."""
    return _checkpoint({name: piece.tobytes() for name, piece in load(content).items()})


def _newest_first(folder: Path) -> list[Path]:
    steps = [path for path in folder.glob("step_*") if path.name.removeprefix("step_").isdecimal()]
    return sorted(steps, key=lambda path: int(path.name.removeprefix("step_")), reverse=True)


def _contents(checkpoint: Checkpoint) -> Iterator[tuple[str, bytes]]:
    course, telling = checkpoint.course, checkpoint.telling
    state = _State(
        rows_sha256=checkpoint.rows_sha256,
        steps_done=course.steps_done,
        rows_seen=course.rows_seen,
        skipped=course.skipped,
        learned_s=course.learned_s,
        base=course.base,
        evaluations=course.evaluations,
        since_exam=course.since_exam,
        kept_step=course.kept.step if course.kept else None,
        snapshot=telling.snapshot,
        held=[reading for reading, _ in telling.held],
        plane_digest=telling.plane.digest if telling.plane else None,
        norms=course.norms,
    )
    yield STATE, json.dumps(asdict(state)).encode()
    yield TRAINABLE, _tensors_to_bytes(checkpoint.learner.parameters)
    yield OPTIMIZER, _tensors_to_bytes(checkpoint.learner.optimizer)
    if course.kept is not None:
        yield BEST, _tensors_to_bytes(course.kept.tensors)
    held = np.array([place for _, place in telling.held], np.float64).reshape(-1, SKETCH_SIZE)
    yield PATH, save({"held": held} | ({"plane": telling.plane.directions} if telling.plane else {}))


def _checkpoint(content: dict[str, bytes]) -> Checkpoint:
    # json keeps every float as it was, NaN too, which pydantic's own JSON does not.
    state = TypeAdapter(_State).validate_python(json.loads(content[STATE]))
    path = load(content[PATH])
    plane = None if state.plane_digest is None else Plane(path["plane"], state.plane_digest)
    kept = None if state.kept_step is None else Kept(state.kept_step, _tensors_of(content[BEST]))
    return Checkpoint(
        rows_sha256=state.rows_sha256,
        learner=LearnerState(_tensors_of(content[TRAINABLE]), _tensors_of(content[OPTIMIZER])),
        course=Course(
            base=state.base,
            evaluations=state.evaluations,
            kept=kept,
            steps_done=state.steps_done,
            rows_seen=state.rows_seen,
            skipped=state.skipped,
            since_exam=state.since_exam,
            learned_s=state.learned_s,
            norms=state.norms,
        ),
        telling=Telling(state.snapshot, plane, list(zip(state.held, path["held"], strict=True))),
    )


def _tensors_to_bytes(tensors: dict[str, mx.array]) -> bytes:
    into = io.BytesIO()
    mx.save_safetensors(into, dict(sorted(tensors.items())))
    return into.getvalue()


def _tensors_of(content: bytes) -> dict[str, mx.array]:
    tensors = cast(dict[str, mx.array], mx.load(cast(Any, io.BytesIO(content)), format="safetensors"))
    return dict(sorted(tensors.items()))


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a run is saved between its evaluations, whichever comes first."""

    steps: int = 20
    seconds: float = 30.0


class Saver:
    """Saves one run as it goes; a save that fails is told, leaves the one before, and does not stop the run."""

    def __init__(
        self,
        folder: Path,
        take: Callable[[Course], Checkpoint],
        reporter: Reporter,
        pace: Pace,
        clock: Callable[[], float],
        fsync: Callable[[Path], None],
    ) -> None:
        self._folder = folder
        self._take = take
        self._reporter = reporter
        self._pace = pace
        self._clock = clock
        self._fsync = fsync
        self._last_step = 0
        self._last_s = clock()

    def resumed_at(self, step: int) -> None:
        """The state after `step` is saved already."""
        self._last_step = step

    def __call__(self, course: Course, is_wanted: bool) -> None:
        """Save the state after the course's last step, if that is wanted or due and not done yet."""
        steps, waited_s = course.steps_done - self._last_step, self._clock() - self._last_s
        if steps == 0 or not (is_wanted or steps >= self._pace.steps or waited_s >= self._pace.seconds):
            return
        self._last_step, self._last_s = course.steps_done, self._clock()
        try:
            self._reporter.flush()
            write(self._folder, self._take(course), self._fsync)
        except OSError as error:
            self._reporter.warn(
                f"The checkpoint of step {course.steps_done} was not saved: {error.strerror}. "
                "The one before is kept and the run goes on."
            )
