"""What makes several ranks one trainer: they begin alike, halt together, and those behind rank 0 follow it.

A follower takes the steps of rank 0's run with its share of the rows; it claims, writes, saves and tells nothing.
`tests/trainer/test_ranks.py`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from catalog.base import blas
from catalog.errors import RagweldError, Unavailable
from catalog.plan import Plan
from catalog.run_life import Status
from trainer import checkpoints, course, lesson, memory
from trainer.checkpoints import Checkpoint
from trainer.course import Course
from trainer.evaluate import Measurement
from trainer.exporter import RunSnapshot
from trainer.lesson import Lesson
from trainer.projection import Vector
from trainer.watch import Halted
from trainer.world import World

blas.preload()

import mlx.core as mx  # noqa: E402

log = logging.getLogger("trainer")

STATUSES: tuple[Status, ...] = get_args(Status)
NOTHING, STOP = b"", b"stop"
"""What rank 0 tells the others when there is no run, and when they may go."""


@contextmanager
def ready(world: World) -> Iterator[None]:
    """A block that every rank does for itself; raises on all of them when one could not."""
    fault: RagweldError | None = None
    try:
        yield
    except RagweldError as error:
        fault = error
    said = world.words("" if fault is None else str(fault))
    if fault is not None:
        raise fault
    for rank, words in enumerate(said):
        if words:
            raise Unavailable(f"Rank {rank} cannot take part: {words}")


def check_alike(world: World, rows_sha256: str) -> None:
    """Raise on all ranks when they have not read the same rows."""
    if len(set(world.words(rows_sha256))) > 1:
        raise Unavailable("The ranks have different datasets.", hint="dataset_path must be the same rows on each.")


def halting_together(world: World, look: Callable[[], None]) -> Callable[[], None]:
    """A look that raises Halted on every rank as soon as it does on one."""

    def together() -> None:
        code, reason = 0, ""
        try:
            look()
        except Halted as halt:
            code, reason = 1 + STATUSES.index(halt.status), halt.reason
        agreed = world.highest(code)
        if agreed:
            said = world.words(reason if code == agreed else "")
            raise Halted(STATUSES[agreed - 1], next(filter(None, said), ""))

    return together if world.size > 1 else look


def begin_alike(world: World, prepared: Lesson, begun: Checkpoint | None) -> Course:
    """Put every rank where rank 0 begins (`begun`, which only it knows): weights, optimizer and course."""
    told = checkpoints.unpacked(world.tell(checkpoints.packed(begun) if begun is not None else b""))
    prepared.learner.restore(told.learner)
    return told.course


@dataclass(frozen=True, slots=True)
class Follower:
    """What a rank behind rank 0 works with."""

    home: Path
    world: World
    stop: threading.Event
    cpu_float32: bool
    memory_bytes: int
    clock: Callable[[], float]


def follow(follower: Follower, poll_interval_s: float) -> None:
    """Take part in what rank 0 does until it lets go; raises PeerLost."""
    while not follower.stop.is_set():
        said = follower.world.tell(NOTHING)
        if said == STOP:
            return
        if said == NOTHING:
            follower.stop.wait(poll_interval_s)
        else:
            _take_part(Plan.model_validate_json(said), follower)


def _take_part(plan: Plan, follower: Follower) -> None:
    world = follower.world
    try:
        with ready(world):
            prepared = lesson.prepare(plan, follower.home, cpu_float32=follower.cpu_float32, world=world)
            memory.check(prepared, memory.limit(follower.memory_bytes))
        check_alike(world, prepared.material.rows_sha256)
        with world.in_step():
            begun = begin_alike(world, prepared, None)
            look = halting_together(world, lambda: _heed(follower.stop))
            course.run(prepared, _Mute(plan), _NoPicture(), look, follower.clock, lambda course, wanted: None, begun)
    except RagweldError as error:
        log.warning("rank %d: %s", world.rank, error)


def _heed(stop: threading.Event) -> None:
    if stop.is_set():
        raise Halted("interrupted", "A trainer was stopped during the run; resume it to go on.")


class _Mute:
    """Rank 0 tells."""

    def __init__(self, plan: Plan) -> None:
        self.snapshot = RunSnapshot("", plan.base)

    def say(self, message: str) -> None:
        log.debug("%s", message)

    def observed(self, reading: RunSnapshot, rows_seen: int, displacement: Vector, now_s: float) -> None:
        pass

    def evaluated(
        self, step: int, epoch: float, train_loss: float | None, measured: Measurement, best: float | None
    ) -> None:
        pass

    def release(self) -> None:
        pass


class _NoPicture:
    """Rank 0 draws."""

    def open(self, through_step: int) -> None:
        pass

    def observed(self, reading: RunSnapshot, displacement: mx.array, sketch: Vector) -> None:
        pass

    def between_steps(self) -> None:
        pass

    def end(self) -> None:
        pass
