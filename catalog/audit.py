"""What administrators did, one line each, only ever added to: `data/admin_log.jsonl`.

A line is written in one call and flushed to the disk before the caller is answered. Holds no secret: whoever writes
gives names of keys and of settings, never a key. `tests/catalog/test_audit.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from catalog import files
from catalog.run_life import stamp

LOG_FILE = Path("data/admin_log.jsonl")
MOST_TAIL_BYTES = 8 << 20


class AdminLog:
    """The log of one home. Blocking."""

    def __init__(self, home: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = home / LOG_FILE
        self._now = now

    def append(self, who: str, what: str, facts: Mapping[str, Any] | None = None) -> None:
        """Add what `who` did; raises OSError when it cannot be kept."""
        line = json.dumps({"ts": stamp(self._now()), "who": who, "what": what, **(facts or {})})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line.encode() + b"\n")
        finally:
            os.close(descriptor)
        files.fsync_path(self.path)

    def tail(self, limit: int) -> list[dict[str, Any]]:
        """The latest entries, oldest first; a line that a crash cut is left out."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - MOST_TAIL_BYTES))
                lines = file.read().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        return [entry for line in lines[-limit:] if (entry := _read(line)) is not None]


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
