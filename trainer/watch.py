"""Notices that a run should end early, at the price of one `stat` a look.

Looked at between micro-batches, so that a cancelled run ends within seconds even where a step takes minutes.
"""

from __future__ import annotations

import threading

from catalog.runs import RunStore, Status


class Halted(Exception):
    """Ends a run between two micro-batches, as `status`."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Watch:
    """Whether the run was cancelled (`run.json` says so) or its trainer is asked to stop."""

    def __init__(self, store: RunStore, run_id: str, stop: threading.Event) -> None:
        self._store = store
        self._run_id = run_id
        self._stop = stop
        self._path = store.folder(run_id) / "run.json"
        self._seen: tuple[int, int] | None = None

    def look(self) -> None:
        """Return if the run may go on; raises Halted."""
        if self._stop.is_set():
            raise Halted("interrupted", "The trainer was stopped during the run; start it again.")
        stat = self._path.stat()
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp != self._seen:
            self._seen = stamp
            if self._store.get(self._run_id).cancel_requested:
                raise Halted("cancelled", "Cancelled on request.")
