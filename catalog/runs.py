"""The run store: `data/agent_train_runs/<run_id>/` with `run.json`, `metrics.jsonl` and `model/`.

The gateway queues and asks; the trainer claims and reports; every change of state is `next_run`, a plain function,
applied under one lock. A running run is owned through a kernel lock on `owner.lock`: when its trainer dies, even by
`kill -9`, the next reader sees the lock free and the run becomes `interrupted`. `tests/catalog/test_runs.py`.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from catalog import events, files
from catalog.errors import Conflict, NotFound
from catalog.events import Event
from catalog.ids import checked_name, new_run_id
from catalog.plan import Plan

RUNS_FOLDER = Path("data/agent_train_runs")

Status = Literal["queued", "running", "completed", "failed", "cancelled", "interrupted", "diverged"]
ENDED: frozenset[Status] = frozenset({"completed", "failed", "cancelled", "interrupted", "diverged"})


class Summary(BaseModel):
    """The run in numbers; primary metric eval_loss, lower is better."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    primary_metric: Literal["eval_loss"] = "eval_loss"
    primary_goal: Literal["minimize"] = "minimize"
    primary_best: float | None = None
    primary_final: float | None = None
    best_step: int | None = None
    time_to_best_secs: float | None = None
    stability_stddev: float | None = None
    """Population standard deviation of the last five primary values."""


class Promotion(BaseModel):
    """What the gate or a person decided about the run's adapter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    promoted: bool
    adapter_id: str
    reason: str
    ts: str
    candidate_loss: float | None = None
    active_loss: float | None = None
    base_loss: float | None = None


class Run(BaseModel):
    """A run's life, as `run.json` holds it; its course is in `metrics.jsonl`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    scope: str
    status: Status
    plan: Plan
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None
    cancel_requested: bool = False
    reason: str | None = None
    """Why it ended, when it did not complete: one line, with what to change."""
    summary: Summary | None = None
    adapter_id: str | None = None
    """Content id of the adapter in `model/`, once it is whole."""
    promotion: Promotion | None = None


@dataclass(frozen=True, slots=True)
class Started:
    pass


@dataclass(frozen=True, slots=True)
class CancelRequested:
    pass


@dataclass(frozen=True, slots=True)
class Ended:
    status: Status
    reason: str | None = None
    summary: Summary | None = None
    adapter_id: str | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    promotion: Promotion


RunEvent = Started | CancelRequested | Ended | Decided


def next_run(run: Run, event: RunEvent, now: datetime) -> Run:
    """The run after `event`; raises Conflict when it cannot happen in this state. Pure."""
    match event:
        case Started():
            _require(run, run.status == "queued", "started")
            return run.model_copy(update={"status": "running", "started_at": stamp(now)})
        case CancelRequested():
            if run.status == "queued":
                ended = {"status": "cancelled", "ended_at": stamp(now), "reason": "Cancelled before it started."}
                return run.model_copy(update={"cancel_requested": True, **ended})
            if run.status == "cancelled":
                return run
            _require(run, run.status == "running", "cancelled")
            return run.model_copy(update={"cancel_requested": True})
        case Ended(status, reason, summary, adapter_id):
            _require(run, run.status == "running" and status in ENDED, f"ended as {status}")
            result: dict[str, Any] = {"status": status, "reason": reason, "ended_at": stamp(now)}
            return run.model_copy(update=result | {"summary": summary, "adapter_id": adapter_id})
        case Decided(promotion):
            _require(run, run.status == "completed", "promoted")
            return run.model_copy(update={"promotion": promotion})


def _require(run: Run, possible: bool, what: str) -> None:
    if not possible:
        raise Conflict(f"Run {run.run_id} is {run.status} and cannot be {what}.", code=f"run_{run.status}")


def stamp(moment: datetime) -> str:
    """UTC in ISO 8601 with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that this process owns until `claim.release()` or its death."""

    run: Run
    claim: files.Claim


class RunStore:
    """Runs under `<home>/data/agent_train_runs`. Safe between processes; blocking, so keep it off an event loop."""

    def __init__(self, home: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.root = home / RUNS_FOLDER
        self._now = now

    def folder(self, run_id: str) -> Path:
        """The run's folder; raises NotFound when there is none."""
        folder = self.root / checked_name(run_id, "run_id")
        if not (folder / "run.json").is_file():
            raise NotFound(f"There is no run {run_id!r}.", hint="GET /api/agent/train/runs lists them.", param="run_id")
        return folder

    def create(self, scope: str, plan: Plan) -> Run:
        """Queue a run."""
        with self._lock():
            taken = {path.name for path in self.root.iterdir()} if self.root.exists() else set()
            run_id = new_run_id(scope, self._now(), taken)
            run = Run(run_id=run_id, scope=scope, status="queued", plan=plan, created_at=stamp(self._now()))
            self._write(run)
        self.log_state(run)
        return run

    def get(self, run_id: str) -> Run:
        """The run as it is now; a running one whose owner is gone becomes interrupted."""
        run = self._read(self.folder(run_id))
        if run.status == "running" and not files.is_claimed(self._owner_path(run.run_id)):
            return self._interrupt(run_id)
        return run

    def list(self, scope: str | None = None, limit: int | None = None) -> builtins.list[Run]:
        """Newest first."""
        wanted = [run for run in self._read_all() if scope is None or run.scope == scope]
        newest = sorted(wanted, key=lambda run: (run.created_at, run.run_id), reverse=True)[:limit]
        return [self.get(run.run_id) if run.status == "running" else run for run in newest]

    def claim_next(self) -> ClaimedRun | None:
        """Take the oldest queued run and mark it running; None when nothing is queued."""
        with self._lock():
            for run in sorted(self._read_all(), key=lambda run: (run.created_at, run.run_id)):
                claim = files.Claim.take(self._owner_path(run.run_id)) if run.status == "queued" else None
                if claim is not None:
                    started = next_run(run, Started(), self._now())
                    self._write(started)
                    break
            else:
                return None
        self.log_state(started)
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

    def append(self, run_id: str, kind: events.EventType, **fields: Any) -> None:
        """Add one event to `metrics.jsonl`, stamped now."""
        event = Event(type=kind, ts=stamp(self._now()), run_id=run_id, **fields)
        events.append(self.metrics_path(run_id), event)

    def metrics_path(self, run_id: str) -> Path:
        return self.root / run_id / "metrics.jsonl"

    def model_folder(self, run_id: str) -> Path:
        return self.root / run_id / "model"

    def log_state(self, run: Run) -> None:
        self.append(run.run_id, "state", status=run.status, message=run.reason)

    def _interrupt(self, run_id: str) -> Run:
        with self._lock():
            run = self._read(self.folder(run_id))
            if run.status != "running" or files.is_claimed(self._owner_path(run_id)):
                return run
            lost = Ended("interrupted", reason="The trainer process died during the run; start it again.")
            after = next_run(run, lost, self._now())
            self._write(after)
        self.log_state(after)
        return after

    def _owner_path(self, run_id: str) -> Path:
        return self.root / run_id / "owner.lock"

    def _read_all(self) -> builtins.list[Run]:
        return [self._read(path.parent) for path in self.root.glob("*/run.json")]

    def _read(self, folder: Path) -> Run:
        return Run.model_validate_json((folder / "run.json").read_bytes())

    def _write(self, run: Run) -> None:
        files.write_bytes(self.root / run.run_id / "run.json", run.model_dump_json(indent=2).encode() + b"\n")

    def _lock(self) -> AbstractContextManager[None]:
        return files.exclusive_lock(self.root / ".lock")
