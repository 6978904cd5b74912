"""What a scrape shows of the home folder: free disk, and when each base's active adapter last changed and why.

The moves are the catalog's own history, so their times are exact, whenever the scrape was. Their file is read again
only when it changed. `tests/gateway/test_home_state.py`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from catalog.adapters import AdapterStore, Aliases, AliasMove, short
from catalog.ids import AdapterId

log = logging.getLogger(__name__)

MOVES_SHOWN = 8
"""The last moves of each base: as many series as a person can tell apart on a graph."""


LOW_BYTES = 2_000_000_000
"""Free disk below which a run's checkpoints may not fit; the alert's number, see `deploy/prometheus/rules.yml`."""


class HomeState:
    """Reads the home folder at each scrape; cheap enough for the event loop: two `stat`s where nothing changed."""

    def __init__(self, home: Path, adapters: AdapterStore) -> None:
        self._home = home
        self._adapters = adapters
        self._aliases = Aliases()
        self._seen: tuple[int, int, int] | None = None

    def samples(self) -> Iterable[tuple[str, list[str], float]]:
        """Rows of the metric table."""
        free = free_bytes(self._home)
        if free is not None:
            yield "ragweld_home_free_bytes", [], free
        for base, moves in self._now().bases.items():
            for move in moves[-MOVES_SHOWN:]:
                # What stands behind a colon may quote a model's words, which are no label.
                labels = [base, str(move.version), _short(move), move.reason.partition(":")[0]]
                yield "ragweld_alias_moved_timestamp_seconds", labels, datetime.fromisoformat(move.ts).timestamp()

    def _now(self) -> Aliases:
        try:
            stat = self._adapters.aliases_path.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen != self._seen:
                self._aliases, self._seen = self._adapters.aliases(), seen
        except FileNotFoundError:
            return self._aliases
        except (OSError, ValueError) as error:
            log.error("metrics: the aliases cannot be read: %s", error)
        return self._aliases


def free_bytes(folder: Path) -> int | None:
    """What this user may still write on the folder's disk; None where it cannot be asked."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize


def _short(move: AliasMove) -> str:
    return short(AdapterId(move.adapter_id) if move.adapter_id else None)
