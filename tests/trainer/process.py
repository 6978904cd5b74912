"""The trainer as a process of a test: heard line by line, killed at will, and gone when the test takes too long."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from catalog import events
from catalog.runs import RunStore

DEADLINE_S = 300.0
PROGRAM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]), resource.RLIM_INFINITY))
from pathlib import Path
from catalog.settings import Settings, TrainerSettings
from trainer.main import run
settings = TrainerSettings(metrics_port=0, poll_interval_s=0.05, memory_bytes=int(sys.argv[2]))
sys.exit(run(Settings(trainer=settings), Path(sys.argv[1])))
"""


class Trainer:
    """A trainer process, heard line by line. It is killed when a test takes too long."""

    def __init__(self, home: Path, memory_bytes: int = 0, address_space_bytes: int = resource.RLIM_INFINITY) -> None:
        command = [sys.executable, "-c", PROGRAM, str(home), str(memory_bytes), str(address_space_bytes)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self._deadline = threading.Timer(DEADLINE_S, self.process.kill)
        self._deadline.start()

    def until(self, words: str) -> str:
        """The first line that holds `words`."""
        assert self.process.stderr is not None
        heard = []
        for line in self.process.stderr:
            heard.append(line)
            if words in line:
                return line
        pytest.fail(f"{words!r} was never said in:\n{''.join(heard)}")

    def end(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        assert self.process.stderr is not None
        self.process.stderr.read()
        return self.process.wait()

    def dies(self) -> int:
        """Its exit code when it ends by itself."""
        assert self.process.stderr is not None
        self.process.stderr.read()
        return self.process.wait()

    def close(self) -> None:
        self._deadline.cancel()
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
        assert self.process.stderr is not None
        self.process.stderr.close()


def wait_for_steps(store: RunStore, run_id: str, steps: int) -> None:
    """Until the run has told that many steps."""
    deadline_s = time.monotonic() + DEADLINE_S
    while sum(event.type == "progress" for event in events.read_events(store.metrics_path(run_id))) < steps:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
