"""The life of a run: what it is, what may happen to it, and `next_run`, the plain function from one to the other.

Knows nothing of files, locks or processes: those are `runs.py`'s. `tests/catalog/test_run_life.py` lets the rules and
the system live through ten thousand histories, `tests/catalog/test_runs.py` names the single ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from catalog.decisions import Decision
from catalog.errors import Conflict
from catalog.plan import Plan

Status = Literal["queued", "running", "paused", "completed", "failed", "cancelled", "interrupted", "diverged"]
ENDED: frozenset[Status] = frozenset({"completed", "failed", "cancelled", "interrupted", "diverged"})
"""Nothing more comes, but an interrupted run may be resumed."""

LOSSES_RESUMED = 3
"""A run whose trainer died so often is not resumed by itself: it may be what kills it."""
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
