"""A process that computes gradients for a trainer; `trainer.workers` starts it, and says what for.

It hears one thing after the other over an inherited socket, and ends when the trainer's end is closed, as it is when
the trainer dies. Signals that a terminal or an init system sends to all of a group are the trainer's to heed. It gives
way to whoever else wants the processor, so that a chat does not wait for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection

from catalog.base import blas
from catalog.plan import Plan
from trainer.batches import Part
from trainer.learner import Gradient, Learner
from trainer.lesson import equip

blas.preload()

import mlx.core as mx  # noqa: E402

NICE = 5


@dataclass(frozen=True, slots=True)
class Post:
    """What a worker is for, said once."""

    plan: Plan
    cpu_float32: bool
    blas_threads: int


@dataclass(frozen=True, slots=True)
class Begin:
    """A step begins with these trainable tensors; what is left of another one is not wanted any more."""

    step: int
    tensors: Mapping[str, mx.array]


@dataclass(frozen=True, slots=True)
class TakenBack:
    """The trainer computes a part of the step itself."""

    part: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The gradient of a part."""

    step: int
    part: int
    gradient: Gradient


@dataclass(frozen=True, slots=True)
class Ready:
    """The base is loaded, or it was heard that a part is taken back: this process answers."""


class Worker:
    """What is asked of it, in order, and the learner that computes it."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._step = 0
        self._asked: deque[Part] = deque()

    @property
    def is_idle(self) -> bool:
        return not self._asked

    def hear(self, said: Begin | Part | TakenBack) -> None:
        """Take in what the trainer says."""
        match said:
            case Begin(step, tensors):
                self._step = step
                self._asked.clear()
                self._learner.wear(tensors)
            case Part():
                self._asked.append(said)
            case TakenBack(part):
                self._asked = deque(one for one in self._asked if one.number != part)

    def next(self) -> Answer:
        """Compute the part that was asked for first."""
        part = self._asked.popleft()
        return Answer(self._step, part.number, self._learner.gradient(self._step, part))


def serve(trainer: Connection) -> None:
    """Do what the trainer says until it is gone."""
    with contextlib.suppress(EOFError, ConnectionError):
        post = trainer.recv()
        worker = Worker(equip(post.plan, cpu_float32=post.cpu_float32).learner)
        blas.limit_threads(post.blas_threads)
        trainer.send(Ready())
        while True:
            while worker.is_idle or trainer.poll():
                said = trainer.recv()
                worker.hear(said)
                if isinstance(said, TakenBack):
                    trainer.send(Ready())
            if not worker.is_idle:
                trainer.send(worker.next())


def main() -> None:
    """Serve the trainer at the other end of the inherited socket that the command names."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICE)
    serve(Connection(int(sys.argv[1])))
