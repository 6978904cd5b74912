"""Other processes of this machine that compute parts of a run's gradients, where it learns on a CPU.

MLX computes on a CPU with one thread, matrix products apart, so a second core is used best by a second process. The
trainer deals the parts of a step out as they are done, and computes parts itself, the longest first; what a worker has
not begun when nothing else is left is taken back. A part's gradient is the same to the bit whoever computes it
(`trainer.learner`), so a worker that is not ready yet, slow, hung or dead costs time and changes nothing.
`tests/trainer/test_workers.py`.
"""

from __future__ import annotations

import logging
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

from catalog.base import blas, device
from catalog.plan import Plan
from trainer.batches import Part
from trainer.learner import Gradient, Learner, in_turn
from trainer.lesson import Lesson
from trainer.memory import Need
from trainer.worker import Answer, Begin, Post, TakenBack

log = logging.getLogger("trainer")

PROGRAM = "from trainer.worker import main; main()"
MOST = 8
"""Processes of one run, unless more are asked for: each holds the base."""
AHEAD = 2
"""Parts that a worker has at most: one that it computes, and the next one."""
WORTH_S = 10.0
"""Steps that take less altogether are done before a worker has loaded its base."""
PATIENCE = 3.0
"""In longest parts of this process: how long the last part may take a worker, until it is computed here."""
LEAST_PATIENCE_S, LOOK_EVERY_S = 1.0, 0.5
SEND_S = 20.0
"""How long a worker may hear nothing of what is said to it before it is given up."""


def wanted(configured: int, plan: Plan) -> int:
    """Processes that compute a run's gradients, this one among them: as configured, or one for each processor, and no
    more than there are rows in a step."""
    if device.current().kind != "cpu":
        return 1
    return min(configured or min(device.processors(), MOST), plan.batch_size * plan.grad_accum_steps)


def fitting(processes: int, need: Need, limit_bytes: int) -> int:
    """For how many of them there is memory."""
    return max(1, min(processes, limit_bytes // max(1, need.peak_bytes)))


@contextmanager
def beside(lesson: Lesson, cpu_float32: bool, say: Callable[[str], None]) -> Iterator[None]:
    """A block in which the lesson's gradients are computed by as many processes as it says."""
    if lesson.processes == 1:
        yield
        return
    threads = max(1, min(blas.threads(), device.processors() // lesson.processes))
    workers = Workers(Post(lesson.plan, cpu_float32, threads), lesson.processes - 1, lesson.steps, say)
    blas.limit_threads(threads)
    lesson.learner.compute = workers.compute
    try:
        yield
    finally:
        lesson.learner.compute = in_turn
        workers.close()
        blas.suit(lesson.base.parameters)


class Gone:
    """Said of a worker when its process has ended."""


class _Worker:
    """A process at the other end of a socket, and which parts of the step it owes."""

    def __init__(self, post: Post, inbox: queue.SimpleQueue[tuple[_Worker, object]]) -> None:
        here, there = socket.socketpair()
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(SEND_S), 0))
        with there:
            command = [sys.executable, "-c", PROGRAM, str(there.fileno())]
            self.process = subprocess.Popen(command, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL)
        self._line = Connection(here.detach())
        self._inbox = inbox
        self._begun = 0
        self.owes: dict[int, Part] = {}
        self.answers = False
        """Whether it has loaded its base, and has answered since it was last waited for in vain."""
        self._listener = threading.Thread(target=self._listen, name="worker", daemon=True)
        self._listener.start()
        self.say(post)

    def _listen(self) -> None:
        try:
            while True:
                self._inbox.put((self, self._line.recv()))
        except (EOFError, OSError):
            self._inbox.put((self, Gone()))

    def say(self, said: object) -> None:
        """Tell the process; one that does not hear is ended."""
        try:
            self._line.send(said)
        except OSError:
            self.process.kill()

    def ask(self, begin: Begin, part: Part) -> None:
        """Let it compute a part of the step."""
        if self._begun != begin.step:
            self._begun = begin.step
            self.say(begin)
        self.owes[part.number] = part
        self.say(part)

    def taken_back(self) -> Part:
        """Keep it from the part that it was asked for last."""
        number, part = self.owes.popitem()
        self.say(TakenBack(number))
        return part

    def close(self) -> int:
        """End the process, which has nothing to lose; its exit status."""
        self.process.kill()
        status = self.process.wait()
        self._listener.join()
        self._line.close()
        return status


class Workers:
    """The processes beside this one, started once the steps that are left are worth it."""

    def __init__(
        self, post: Post, count: int, steps: int, say: Callable[[str], None], worth_s: float = WORTH_S
    ) -> None:
        self._post = post
        self._count = count
        self._steps = steps
        self._worth_s = worth_s
        self._tell = say
        self._inbox: queue.SimpleQueue[tuple[_Worker, object]] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._were_called = False
        self._longest_part_s = 0.0

    def compute(
        self, learner: Learner, step: int, parts: Sequence[Part | None], between: Callable[[], None]
    ) -> Iterator[Gradient]:
        """The gradients of a step's parts in their order, by whoever comes to them first."""
        began_s = time.monotonic()
        there = [part for part in parts if part is not None]
        table = _Table(Begin(step, learner.tensors()), there)
        for part in there:
            while part.number in table.missing:
                between()
                self._hear(table, 0.0)
                self._deal(table)
                self._do_some(table, learner, between)
            yield table.found.pop(part.number)
        self._call_if_worth((time.monotonic() - began_s) * (self._steps - step))

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.close()

    def _call_if_worth(self, left_s: float) -> None:
        if self._were_called or left_s <= self._worth_s:
            return
        self._were_called = True
        try:
            for _ in range(self._count):
                self._workers.append(_Worker(self._post, self._inbox))
        except OSError as error:
            self._tell(f"No more processes can be started ({error.strerror}): {len(self._workers)} beside this one.")

    def _deal(self, table: _Table) -> None:
        """Give those that are free a part, the shortest, for it has a way to go, and then the next one; one is left to
        this process."""
        for most in range(1, AHEAD + 1):
            for worker in self._workers:
                if worker.answers and len(worker.owes) < most and len(table.waiting) > 1:
                    worker.ask(table.begin, table.waiting.pop())

    def _do_some(self, table: _Table, learner: Learner, between: Callable[[], None]) -> None:
        """Compute a part here, one that a worker has not begun if no other is left, or wait for one."""
        if table.waiting:
            part = table.waiting.popleft()
        elif (behind := self._furthest_behind()) is not None and len(behind.owes) > 1:
            part = behind.taken_back()
        elif behind is None or self._wait(table, between):
            return
        else:
            part = behind.taken_back()
            behind.answers = False
        began_s = time.monotonic()
        table.put(part.number, learner.gradient(table.begin.step, part))
        self._longest_part_s = max(self._longest_part_s, time.monotonic() - began_s)

    def _furthest_behind(self) -> _Worker | None:
        """Who owes most, if anybody owes anything."""
        return max((worker for worker in self._workers if worker.owes), key=lambda one: len(one.owes), default=None)

    def _wait(self, table: _Table, between: Callable[[], None]) -> bool:
        """Whether a worker said something while there was patience."""
        end_s = time.monotonic() + max(LEAST_PATIENCE_S, PATIENCE * self._longest_part_s)
        while not self._hear(table, LOOK_EVERY_S):
            between()
            if time.monotonic() > end_s:
                return False
        return True

    def _hear(self, table: _Table, wait_s: float) -> bool:
        """Take in what workers say, waiting at most so long for the first of it; whether any of them did."""
        heard = False
        try:
            while True:
                worker, said = self._inbox.get(timeout=0.0 if heard else wait_s)
                self._heard(table, worker, said)
                heard = True
        except queue.Empty:
            return heard

    def _heard(self, table: _Table, worker: _Worker, said: object) -> None:
        worker.answers = True
        match said:
            case Answer(step, part, gradient) if step == table.begin.step:
                worker.owes.pop(part, None)
                table.put(part, gradient)
            case Gone():
                table.waiting.extend(worker.owes.values())
                self._workers.remove(worker)
                self._tell(f"A process that computed gradients ended with {worker.close()}; the run goes on without.")


class _Table:
    """The parts of a step: who will compute them is open, or they are `found`, or taken from here."""

    def __init__(self, begin: Begin, parts: Sequence[Part]) -> None:
        self.begin = begin
        self.waiting = deque(sorted(parts, key=lambda part: -part.batch.inputs_BL.size))
        self.missing = {part.number for part in parts}
        self.found: dict[int, Gradient] = {}

    def put(self, part: int, gradient: Gradient) -> None:
        """A part was computed, perhaps for the second time."""
        if part in self.missing:
            self.missing.remove(part)
            self.found[part] = gradient
