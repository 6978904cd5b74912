"""A child never outlives its supervisor, whatever ends the supervisor: standard input is a pipe that only the
supervisor holds, and the kernel closes it even after `kill -9`.

`watch` starts the thread that waits for that end. It asks the process to stop as Ctrl-C would, and ends it when it
has not by then. Knows nothing of what the process does. `tests/deploy/test_supervisor.py` kills a real supervisor.
"""

from __future__ import annotations

import os
import signal
import threading
import time

SPARE_S = 5.0
"""What a process has to close its files, beyond the grace that it gives to open streams."""


def watch(grace_s: float, descriptor: int = 0) -> None:
    """Stop this process when the other end of `descriptor` is closed, within `grace_s`. Returns at once."""
    threading.Thread(target=_stop_at_end, args=(grace_s, descriptor), name="lifeline", daemon=True).start()


def _stop_at_end(grace_s: float, descriptor: int) -> None:
    while os.read(descriptor, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    os.kill(os.getpid(), signal.SIGKILL)
