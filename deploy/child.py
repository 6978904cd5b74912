"""One process under the supervisor: started with a lifeline, heard line by line, stopped within a limit.

It lives in a session of its own, so that Ctrl-C in the terminal reaches the supervisor alone, which stops everybody
in order. Knows nothing of restarts. `tests/deploy/test_supervisor.py` runs real ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

LONGEST_LINE_BYTES = 16 * 1024
DRAIN_DEADLINE_S = 2.0
"""A grandchild may hold the pipe open; its lines are not waited for."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run. Without an `essential` child there is nothing to serve, so its end for good ends all."""

    name: str
    argv: tuple[str, ...]
    essential: bool = True


class Child:
    """A running process. `last_line` is the last thing that it said."""

    def __init__(self, spec: ChildSpec, process: asyncio.subprocess.Process, say: Callable[[str], None]) -> None:
        self._spec = spec
        self._process = process
        self._say = say
        self._listening = asyncio.create_task(self._listen())
        self.last_line = ""

    @classmethod
    async def start(cls, spec: ChildSpec, say: Callable[[str], None]) -> Child:
        """Start `spec`; its lines go to `say`, prefixed with its name."""
        process = await asyncio.create_subprocess_exec(
            *spec.argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        return cls(spec, process, say)

    async def ended(self) -> int:
        """Wait for its end and its last lines; the exit code, negative for a signal."""
        code = await self._process.wait()
        await asyncio.wait({self._listening}, timeout=DRAIN_DEADLINE_S)
        self._listening.cancel()
        return code

    async def stop(self, forced: asyncio.Event, grace_s: float) -> None:
        """Ask it to stop; kill it when it has not after `grace_s`, or as soon as `forced` is set."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        ended = asyncio.create_task(self._process.wait())
        hurry = asyncio.create_task(forced.wait())
        await asyncio.wait({ended, hurry}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not ended.done():
            self._say(f"{self._spec.name} has not stopped in time and is killed.")
            self.kill()
        await ended

    def kill(self) -> None:
        """End it and what it started now. Does nothing when it has ended."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        pending = b""
        while chunk := await self._process.stdout.read(LONGEST_LINE_BYTES):
            *lines, pending = (pending + chunk).split(b"\n")
            if len(pending) > LONGEST_LINE_BYTES:
                lines, pending = [*lines, pending], b""
            for line in lines:
                self._hear(line)
        if pending:
            self._hear(pending)

    def _hear(self, line: bytes) -> None:
        text = printable(line.decode("utf-8", "replace").rstrip())
        if text:
            self.last_line = text
            self._say(f"{self._spec.name:<7} | {text}")


def printable(text: str) -> str:
    """`text` with control characters escaped, so that a log line cannot steer a terminal."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)
