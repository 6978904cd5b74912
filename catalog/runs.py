"""The run store: `data/agent_train_runs/<run_id>/` with `run.json`, `metrics.jsonl`, `checkpoints/` and `model/`.

The gateway queues and asks; the trainer claims and reports; every change of state is `next_run`, a plain function,
applied under one lock. A running run is owned through a kernel lock on `owner.lock`: when its trainer dies, even by
`kill -9`, the next reader sees the lock free and the run becomes `interrupted`; while it lives it beats in `heartbeat`,
and the next reader of a silent one marks the run `stalled`. `tests/catalog/test_runs.py`.
"""

from __future__ import annotations

import builtins
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from catalog import events, files, heartbeat
from catalog.errors import NotFound
from catalog.events import Event
from catalog.ids import checked_name, new_run_id
from catalog.plan import Plan
from catalog.run_life import (
    NO_LABELS,
    Labels,
    Lost,
    Progress,
    Progressed,
    Revived,
    Run,
    RunEvent,
    Sign,
    Stalled,
    Started,
    next_run,
    stamp,
)

log = logging.getLogger(__name__)

RUNS_FOLDER = Path("data/agent_train_runs")

STALLED_AFTER_S = 30.0
"""A living trainer beats every two seconds."""
CANCEL_UNHEARD_AFTER_S = 10.0
"""A cancel waits this long for a trainer that does not beat."""
STALLED = "Its trainer gives no sign of life. Cancel the run, or restart the trainer to go on from the last checkpoint."


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that this process owns until `claim.release()` or its death."""

    run: Run
    claim: files.Claim


class RunStore:
    """Runs under `<home>/data/agent_train_runs`. Safe between processes; blocking, so keep it off an event loop."""

    def __init__(
        self,
        home: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        stalled_after_s: float = STALLED_AFTER_S,
        cancel_unheard_after_s: float = CANCEL_UNHEARD_AFTER_S,
    ) -> None:
        self.root = home / RUNS_FOLDER
        self._now = now
        self._clock = clock
        self._stalled_after_s = stalled_after_s
        self._cancel_unheard_after_s = cancel_unheard_after_s
        self._spoiled: set[str] = set()

    def folder(self, run_id: str) -> Path:
        """The run's folder; raises NotFound when there is none."""
        folder = self.root / checked_name(run_id, "run_id")
        if not (folder / "run.json").is_file():
            raise NotFound(f"There is no run {run_id!r}.", hint="GET /api/agent/train/runs lists them.", param="run_id")
        return folder

    def create(self, scope: str, plan: Plan, labels: Labels = NO_LABELS) -> Run:
        """Queue a run."""
        with self._lock():
            taken = {path.name for path in self.root.iterdir()} if self.root.exists() else set()
            run_id = new_run_id(scope, self._now(), taken)
            run = Run(
                run_id=run_id, scope=scope, status="queued", plan=plan, labels=labels, created_at=stamp(self._now())
            )
            self._write(run)
        self.log_state(run)
        return run

    def get(self, run_id: str) -> Run:
        """The run as it is now; of a running one, its trainer is looked after: see `Lost` and `Stalled`."""
        run = self.read(run_id)
        sign = self._sign_of(run)
        if sign is None:
            return run
        try:
            return self._mark(run_id)
        except OSError:  # a disk that takes nothing; it is so all the same, and a later reader writes it down
            return next_run(run, sign, self._now())

    def read(self, run_id: str) -> Run:
        """The run as it was last written."""
        return self._read(self.folder(run_id))

    def readable(self, run_ids: Iterable[str]) -> Iterator[Run]:
        """Those runs as they were last written; one whose file is spoiled hides no other, and is told once."""
        for run_id in run_ids:
            try:
                yield self._read(self.root / run_id)
            except FileNotFoundError:
                continue
            except ValueError as error:
                if run_id not in self._spoiled:
                    self._spoiled.add(run_id)
                    log.warning("%s: its run.json cannot be read: %s", run_id, error)

    def list(self, scope: str | None = None, limit: int | None = None) -> builtins.list[Run]:
        """Newest first."""
        wanted = [run for run in self._read_all() if scope is None or run.scope == scope]
        newest = sorted(wanted, key=lambda run: (run.created_at, run.run_id), reverse=True)[:limit]
        return [self.get(run.run_id) if run.status == "running" else run for run in newest]

    def versions(self) -> dict[str, int]:
        """A number for each run that changes whenever the run does; a look at each folder, and no file is read."""
        return {path.parent.name: path.stat().st_mtime_ns for path in self.root.glob("*/run.json")}

    def has_queued(self) -> bool:
        """Whether a run waits for a trainer."""
        return any(run.status == "queued" for run in self._read_all())

    def claim_next(self) -> ClaimedRun | None:
        """Take the oldest queued run and mark it running; None when nothing is queued.

        One that cannot be written is let go: it is queued still, or interrupted to its next reader.
        """
        with ExitStack() as undo:
            with self._lock():
                for run in sorted(self._read_all(), key=lambda run: (run.created_at, run.run_id)):
                    claim = files.Claim.take(self._owner_path(run.run_id)) if run.status == "queued" else None
                    if claim is not None:
                        undo.callback(claim.release)
                        started = next_run(run, Started(), self._now())
                        self.beat(run.run_id)
                        self._write(started)
                        break
                else:
                    return None
            self.log_state(started)
            undo.pop_all()
        return ClaimedRun(started, claim)

    def apply(self, run_id: str, event: RunEvent) -> Run:
        """Move the run by `event`; raises Conflict when it cannot."""
        with self._lock():
            before = self._read(self.folder(run_id))
            after = next_run(before, event, self._now())
            self._write(after)
        if after.status != before.status:
            self.log_state(after)
        return after

    def progress(self, run_id: str, **facts: Any) -> None:
        """Say how far the run is; raises Conflict when it is not running any more."""
        self.apply(run_id, Progressed(Progress(ts=stamp(self._now()), **facts)))

    def beat(self, run_id: str) -> None:
        """Say that the run's trainer is alive."""
        heartbeat.beat(self._heartbeat_path(run_id), self._clock())

    def append(self, run_id: str, kind: events.EventType, **fields: Any) -> None:
        """Add one event to `metrics.jsonl`, stamped now."""
        events.append(self.metrics_path(run_id), self.event(run_id, kind, **fields))

    def event(self, run_id: str, kind: events.EventType, **fields: Any) -> Event:
        """One event, stamped now."""
        return Event(type=kind, ts=stamp(self._now()), run_id=run_id, **fields)

    def metrics_path(self, run_id: str) -> Path:
        return self.root / run_id / "metrics.jsonl"

    def model_folder(self, run_id: str) -> Path:
        return self.root / run_id / "model"

    def checkpoints_folder(self, run_id: str) -> Path:
        return self.root / run_id / "checkpoints"

    def log_state(self, run: Run) -> None:
        if run.stalled:
            self.append(run.run_id, "state", status="stalled", message=STALLED)
        else:
            self.append(run.run_id, "state", status=run.status, message=run.reason)

    def _sign_of(self, run: Run) -> Sign | None:
        """What there is to say about the run's trainer."""
        if run.status != "running":
            return None
        if not files.is_claimed(self._owner_path(run.run_id)):
            return Lost()
        silent_s = heartbeat.age_s(self._heartbeat_path(run.run_id), self._clock()) or 0.0
        is_silent = silent_s > (self._cancel_unheard_after_s if run.cancel_requested else self._stalled_after_s)
        if is_silent == run.stalled:
            return None
        return Stalled() if is_silent else Revived()

    def _mark(self, run_id: str) -> Run:
        """Write down what is to be said about the run's trainer, once among all readers."""
        with self._lock():
            run = self.read(run_id)
            sign = self._sign_of(run)
            if sign is None:
                return run
            after = next_run(run, sign, self._now())
            self._write(after)
        self.log_state(after)
        return after

    def _heartbeat_path(self, run_id: str) -> Path:
        return self.root / run_id / "heartbeat"

    def _owner_path(self, run_id: str) -> Path:
        return self.root / run_id / "owner.lock"

    def _read_all(self) -> builtins.list[Run]:
        return builtins.list(self.readable(path.parent.name for path in self.root.glob("*/run.json")))

    def _read(self, folder: Path) -> Run:
        return Run.model_validate_json((folder / "run.json").read_bytes())

    def _write(self, run: Run) -> None:
        files.write_bytes(self.root / run.run_id / "run.json", run.model_dump_json(indent=2).encode() + b"\n")

    def _lock(self) -> AbstractContextManager[None]:
        return files.exclusive_lock(self.root / ".lock")
