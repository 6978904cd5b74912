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
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from catalog import events, files, heartbeat
from catalog.decisions import Decision
from catalog.errors import Conflict, NotFound
from catalog.events import Event
from catalog.ids import checked_name, new_run_id
from catalog.plan import Plan

log = logging.getLogger(__name__)

RUNS_FOLDER = Path("data/agent_train_runs")

Status = Literal["queued", "running", "paused", "completed", "failed", "cancelled", "interrupted", "diverged"]
ENDED: frozenset[Status] = frozenset({"completed", "failed", "cancelled", "interrupted", "diverged"})
"""Nothing more comes, but an interrupted run may be resumed."""

STALLED_AFTER_S = 30.0
"""A living trainer beats every two seconds."""
CANCEL_UNHEARD_AFTER_S = 10.0
"""A cancel waits this long for a trainer that does not beat."""
LOSSES_RESUMED = 3
"""A run whose trainer died so often is not resumed by itself: it may be what kills it."""
STALLED = "Its trainer gives no sign of life. Cancel the run, or restart the trainer to go on from the last checkpoint."
UNHEARD = "Cancelled on request; its trainer gave no sign of life."


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
    decision: Decision | None = None
    """The numbers that the gate decided by."""


class Labels(BaseModel):
    """What whoever asked for a run wants remembered of it; nothing of it changes the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suffix: str = ""
    """Of the model's name under OpenAI's fine-tuning API."""
    metadata: dict[str, str] | None = None
    learning_rate_multiplier: float | None = None
    """By which the recommended rate was multiplied; None where the rate itself was given, or nothing."""


NO_LABELS = Labels()


class Progress(BaseModel):
    """How far a running run has come."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    steps: int
    ts: str
    """When that was so."""
    eta_s: float | None = None
    """Seconds until its last step, at the pace of its latest ones; of a run that waits or has ended, null."""
    tokens_per_s: float | None = None
    memory_bytes: int | None = None
    """MLX memory at its peak."""


class Run(BaseModel):
    """A run's life, as `run.json` holds it; its course is in `metrics.jsonl`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    scope: str
    status: Status
    plan: Plan
    labels: Labels = NO_LABELS
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None
    cancel_requested: bool = False
    pause_requested: bool = False
    stalled: bool = False
    """Running, but its trainer gives no sign of life."""
    lost: bool = False
    """Interrupted by the death of its trainer, not by a request."""
    losses: int = 0
    """How often its trainer died."""
    reason: str | None = None
    """Why it ended before its last step or waits: one line, with what to change."""
    progress: Progress | None = None
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
class PauseRequested:
    pass


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    pass


@dataclass(frozen=True, slots=True)
class Paused:
    """The trainer has put the run aside, as it was asked to."""

    reason: str | None = None
    summary: Summary | None = None
    adapter_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    status: Status
    reason: str | None = None
    summary: Summary | None = None
    adapter_id: str | None = None
    promotion: Promotion | None = None
    """What the gate decided; told in one with the end, so that nobody reads the one without the other."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Its trainer died."""

    reason: str = "The trainer process died during the run; resume it to go on from its last checkpoint."


@dataclass(frozen=True, slots=True)
class Explained:
    """What its trainer died of was found out: to go on would end alike."""

    reason: str


@dataclass(frozen=True, slots=True)
class Progressed:
    progress: Progress


@dataclass(frozen=True, slots=True)
class Stalled:
    """Its trainer lives and gives no sign of it."""


@dataclass(frozen=True, slots=True)
class Revived:
    """Its trainer beats again."""


@dataclass(frozen=True, slots=True)
class Decided:
    promotion: Promotion


Wish = CancelRequested | PauseRequested | ResumeRequested
Sign = Lost | Stalled | Revived
RunEvent = Started | Wish | Progressed | Paused | Ended | Sign | Explained | Decided


def next_run(run: Run, event: RunEvent, now: datetime) -> Run:
    """The run after `event`; raises Conflict when it cannot happen in this state. Pure.

    A request that is already met, or on its way, changes nothing. None is lost when the trainer stops or dies: a run
    that was to be cancelled is cancelled then, and one that was to be paused is paused.
    """
    match event:
        case Started():
            _require(run, run.status == "queued", "started")
            return run.model_copy(update={"status": "running", "started_at": run.started_at or stamp(now)})
        case CancelRequested() | PauseRequested() | ResumeRequested():
            return _asked(run, event, now)
        case Paused(reason, summary, adapter_id):
            _require(run, run.status == "running", "paused")
            return _left(run, "paused", reason, now).model_copy(update={"summary": summary, "adapter_id": adapter_id})
        case Ended(status, reason, summary, adapter_id, promotion):
            _require(run, run.status == "running" and status in ENDED, f"ended as {status}")
            result = {"summary": summary, "adapter_id": adapter_id, "promotion": promotion}
            return _left(run, status, reason, now).model_copy(update=result)
        case Lost() | Stalled() | Revived():
            return _seen(run, event, now)
        case Progressed(progress):
            _require(run, run.status == "running", "going on")
            return run.model_copy(update={"progress": progress})
        case Explained(reason):
            _require(run, run.lost, "explained")
            return _left(run, "failed", reason, now).model_copy(update={"lost": False})
        case Decided(promotion):
            _require(run, run.status == "completed", "promoted")
            return run.model_copy(update={"promotion": promotion})


def _asked(run: Run, wish: Wish, now: datetime) -> Run:
    """After a wish of a person."""
    match wish:
        case CancelRequested():
            if run.status in ("queued", "paused"):
                return _left(run, "cancelled", "Cancelled while it waited.", now)
            if run.status == "cancelled":
                return run
            _require(run, run.status == "running", "cancelled")
            asked = run.model_copy(update={"cancel_requested": True, "pause_requested": False})
            return _left(asked, "cancelled", UNHEARD, now) if run.stalled else asked
        case PauseRequested():
            if run.status == "queued":
                return _left(run, "paused", "Paused while it waited.", now)
            if run.status == "paused":
                return run
            _require(run, run.status == "running" and not run.cancel_requested, "paused")
            return run.model_copy(update={"pause_requested": True})
        case ResumeRequested():
            if run.status == "queued":
                return run
            if run.status == "running" and run.pause_requested:
                return run.model_copy(update={"pause_requested": False})
            _require(run, run.status in ("paused", "interrupted"), "resumed")
            return run.model_copy(update={"status": "queued", "ended_at": None, "reason": None, "lost": False})


def _seen(run: Run, sign: Sign, now: datetime) -> Run:
    """After what a reader saw of the run's trainer."""
    _require(run, run.status == "running", "seen stalled or lost")
    match sign:
        case Lost(reason):
            after = _left(run, "interrupted", reason, now)
            return after.model_copy(update={"losses": run.losses + 1, "lost": after.status == "interrupted"})
        case Stalled():
            stalled = run.model_copy(update={"stalled": True})
            return _left(stalled, "cancelled", UNHEARD, now) if run.cancel_requested else stalled
        case Revived():
            return run.model_copy(update={"stalled": False})


def _left(run: Run, status: Status, reason: str | None, now: datetime) -> Run:
    """The run out of the trainer's hands, with what was asked meanwhile respected."""
    if status in ("paused", "interrupted") and run.cancel_requested:
        status, reason = "cancelled", "Cancelled on request."
    elif status == "interrupted" and run.pause_requested:
        status, reason = "paused", "Paused on request."
    ended_at = stamp(now) if status in ENDED else None
    asked = {"cancel_requested": run.cancel_requested or status == "cancelled", "pause_requested": False}
    progress = run.progress.model_copy(update={"eta_s": None}) if run.progress else None
    left = {"status": status, "reason": reason, "ended_at": ended_at, "stalled": False, "progress": progress}
    return run.model_copy(update=left | asked)


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
        """Take the oldest queued run and mark it running; None when nothing is queued."""
        with self._lock():
            for run in sorted(self._read_all(), key=lambda run: (run.created_at, run.run_id)):
                claim = files.Claim.take(self._owner_path(run.run_id)) if run.status == "queued" else None
                if claim is not None:
                    started = next_run(run, Started(), self._now())
                    self.beat(run.run_id)
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
