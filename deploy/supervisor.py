"""Keeps the gateway and the trainer running until somebody says stop, then stops both and leaves nothing behind.

A child that ends is started again after a growing delay; when that is hopeless, serving goes on without the trainer,
and ends without the gateway. The first SIGINT or SIGTERM stops both in order, the second at once. Decides through
`deploy.restarts`; knows nothing of what the children do. `tests/deploy/test_supervisor.py` proves it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field

from deploy.child import Child, ChildSpec
from deploy.restarts import GiveUp, Life, Restart, next_restart


@dataclass(slots=True)
class Stop:
    """Set once: `asked` begins the orderly end, `forced` cuts it short, `failed` makes the exit code an error."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    forced: asyncio.Event = field(default_factory=asyncio.Event)
    failed: bool = False

    def ask(self) -> None:
        """What a signal does: the first asks, the second forces."""
        (self.forced if self.asked.is_set() else self.asked).set()

    def fail(self) -> None:
        self.failed = True
        self.asked.set()

    async def sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until the end is asked for."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.asked.wait(), seconds)


async def supervise(
    specs: Sequence[ChildSpec],
    say: Callable[[str], None],
    announce: Callable[[Stop], Coroutine[None, None, None]],
    *,
    grace_s: float,
    decide: Callable[[Sequence[Life]], Restart | GiveUp] = next_restart,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Run `specs` until a signal, `announce` beside them; returns the exit code of the whole.

    At the end each child has `grace_s` to finish what it does.
    """
    stop = Stop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.ask)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(announce(stop))
            for spec in specs:
                group.create_task(_keep_running(spec, stop, say, decide, grace_s, clock))
            await stop.asked.wait()
            say("stopping (again to force) ...")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    say("stopped.")
    return os.EX_UNAVAILABLE if stop.failed else os.EX_OK


async def _keep_running(
    spec: ChildSpec,
    stop: Stop,
    say: Callable[[str], None],
    decide: Callable[[Sequence[Life]], Restart | GiveUp],
    grace_s: float,
    clock: Callable[[], float],
) -> None:
    lives: list[Life] = []
    while not stop.asked.is_set():
        started_s = clock()
        child = await Child.start(spec, say)
        exit_code = await _live(child, stop, grace_s)
        if stop.asked.is_set():
            return
        lives.append(Life(started_s, clock(), exit_code))
        match decide(lives):
            case Restart(delay_s):
                say(f"{spec.name} ended ({_cause(exit_code)}); starting it again in {delay_s:g} s.")
                await stop.sleep(delay_s)
            case GiveUp(reason):
                say(f"{spec.name} is given up: {reason} ({_cause(exit_code)}). Its last line: {child.last_line!r}")
                if spec.essential:
                    stop.fail()
                return


async def _live(child: Child, stop: Stop, grace_s: float) -> int:
    """The child's exit code, after its own end or after the stop that was asked for."""
    ended = asyncio.create_task(child.ended())
    asked = asyncio.create_task(stop.asked.wait())
    try:
        await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await child.stop(stop.forced, grace_s)
        return await ended
    finally:
        asked.cancel()
        child.kill()


def _cause(exit_code: int) -> str:
    return f"exit code {exit_code}" if exit_code >= 0 else signal.Signals(-exit_code).name
