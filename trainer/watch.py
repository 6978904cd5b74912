"""Notices that a run should end early, at the price of one `stat` a look, and lets others notice that it lives.

Looked at between micro-batches, so that a cancelled run ends within seconds even where a step takes minutes. A thread
of its own beats meanwhile, until nobody has looked for so long that the work must hang.
`tests/trainer/test_watch.py`.
"""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType
from typing import Self

from catalog.run_life import Status
from catalog.runs import RunStore

BEAT_EVERY_S = 2.0
UNSEEN_BEATS = 300
"""After ten minutes without a look the beat ends."""


class Halted(Exception):
    """Ends a run between two micro-batches, as `status`."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Watch:
    """Whether the run is to end or pause (`run.json` says so) or its trainer is asked to stop. Beats inside `with`."""

    def __init__(
        self,
        store: RunStore,
        run_id: str,
        stop: threading.Event,
        beat_every_s: float = BEAT_EVERY_S,
        unseen_beats: int = UNSEEN_BEATS,
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._stop = stop
        self._path = store.folder(run_id) / "run.json"
        self._seen: tuple[int, int] | None = None
        self._beat_every_s = beat_every_s
        self._most_unseen = unseen_beats
        self._beats_since_look = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def live(self) -> None:
        """Say that the work goes on; raises nothing."""
        self._beats_since_look = 0

    def look(self) -> None:
        """Return if the run may go on; raises Halted."""
        self.live()
        if self._stop.is_set():
            raise Halted("interrupted", "The trainer was stopped during the run; resume it to go on.")
        stat = self._path.stat()
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp == self._seen:
            return
        self._seen = stamp
        run = self._store.read(self._run_id)
        if run.status != "running":
            raise Halted(run.status, run.reason or "Ended by somebody else.")
        if run.cancel_requested:
            raise Halted("cancelled", "Cancelled on request.")
        if run.pause_requested:
            raise Halted("paused", "Paused on request.")

    def _beat(self) -> None:
        while not self._is_over.wait(self._beat_every_s):
            self._beats_since_look += 1
            if self._beats_since_look <= self._most_unseen:
                with contextlib.suppress(OSError):  # a beat that cannot be written is a beat that is missed
                    self._store.beat(self._run_id)
