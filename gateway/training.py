"""What the gateway does for runs: recommend, check and queue, compare, promote, roll back. Blocking throughout.

The trainer is never called: a queued run lies in the catalog until it takes it, and the engine sees an alias move.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from catalog import checks, datasets, events
from catalog.adapters import MANIFEST_FILE, AdapterStore, AliasMove
from catalog.base import locate
from catalog.errors import Conflict
from catalog.ids import AdapterId, BaseId
from catalog.plan import Profile, RunRequest, check_fits, resolve
from catalog.runs import NO_LABELS, Decided, Labels, Promotion, Run, RunStore, Summary, stamp
from catalog.settings import Settings
from catalog.uploads import FileStore, is_file_id

log = logging.getLogger(__name__)


class DiffRequest(BaseModel):
    """Two runs to compare."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    baseline_run_id: str
    current_run_id: str


class RollbackRequest(BaseModel):
    """Whose alias goes back; the default is the base that answers now."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str | None = None


def dataset_path(named: str | None, settings: Settings, home: Path) -> Path:
    """The dataset of a run: as named, else the settings', else the shipped sample. Relative ones lie in the home.

    The id of an uploaded file is as good as a path; raises NotFound when there is none.
    """
    chosen = named or settings.training.ragweld_agent_train_dataset_path or settings.evaluation.eval_dataset_path
    if is_file_id(chosen):
        return FileStore(home).content_path(chosen)
    return home / Path(chosen).expanduser() if chosen else datasets.sample_path()


def recommend(path: Path, base: str | None, settings: Settings) -> Profile:
    """Recommended settings for a dataset, a base and this machine; raises InvalidDataset, Unavailable."""
    choice = locate.choose(base or settings.training.ragweld_agent_base_model)
    size = locate.size_of(choice.folder)
    return Profile.recommend(
        base=choice.base,
        base_parameters=size.parameters,
        context=size.context,
        dataset_path=str(path),
        rows=datasets.count_rows(path),
        training=settings.training,
    )


def start(request: RunRequest, settings: Settings, home: Path, runs: RunStore, labels: Labels = NO_LABELS) -> Run:
    """Queue a run, after its datasets were read whole.

    Raises InvalidDataset with every defect, InvalidRequest when the objective learns from rows of another kind.
    """
    path = dataset_path(request.dataset_path, settings, home)
    measured_on = dataset_path(request.validation_path, settings, home) if request.validation_path else None
    forms = [datasets.verify(file) for file in (path, measured_on) if file is not None]
    _verify_gate(request, settings, home)
    profile = recommend(path, request.base, settings)
    validation_path = str(measured_on) if measured_on is not None else None
    plan = resolve(request, settings.training, profile, validation_path)
    for form in forms:
        check_fits(plan.objective, form.name, is_preference=form.is_preference)
    return runs.create(request.scope, plan, labels)


def _verify_gate(request: RunRequest, settings: Settings, home: Path) -> None:
    """Read what the run would be judged by; raises InvalidDataset with every defect."""
    training = settings.training
    asked = training.ragweld_agent_gate_checks_path if request.gate_checks_path is None else request.gate_checks_path
    if asked:
        checks.read(home / Path(asked).expanduser())
    kept = request.gate_regression_path
    kept = training.ragweld_agent_gate_regression_path if kept is None else kept
    if kept:
        datasets.verify(home / Path(kept).expanduser())


@dataclass(frozen=True, slots=True)
class Candidate:
    """A completed run on its way to be promoted, and what was active when that began."""

    run: Run
    folder: Path
    expected: AdapterId | None


def candidate(run_id: str, runs: RunStore, adapters: AdapterStore) -> Candidate:
    """The run's adapter to be checked; raises NotFound, or Conflict when the run is not completed."""
    run = runs.get(run_id)
    if run.status != "completed":
        raise Conflict(f"Run {run_id} is {run.status}; only a completed run can be promoted.", code=f"run_{run.status}")
    return Candidate(run, runs.model_folder(run_id), adapters.active(BaseId(run.plan.base)))


def promote(
    wanted: Candidate,
    checked: AdapterId,
    runs: RunStore,
    adapters: AdapterStore,
    mirror: Path,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, Any]:
    """Make a checked adapter active, if nobody else was faster; raises Conflict. Again is no second move."""
    run = wanted.run
    adapter_id = adapters.put(wanted.folder, name=run.run_id)
    if adapter_id != checked:
        raise Conflict(f"The adapter of {run.run_id} changed while it was checked.", code="adapter_changed")
    if adapter_id == wanted.expected:
        return {"ok": True, "run_id": run.run_id, "adapter_id": adapter_id, "previous": adapter_id, "version": None}
    move = adapters.move(
        BaseId(run.plan.base), adapter_id, expected=wanted.expected, reason=f"promotion of {run.run_id}"
    )
    copy(adapters, adapter_id, mirror)
    promotion = Promotion(promoted=True, adapter_id=adapter_id, reason="Asked for by a person.", ts=stamp(now()))
    runs.apply(run.run_id, Decided(promotion))
    return {
        "ok": True,
        "run_id": run.run_id,
        "adapter_id": adapter_id,
        "previous": move.previous,
        "version": move.version,
    }


def roll_back(base: BaseId, adapters: AdapterStore, mirror: Path) -> AliasMove:
    """Make active what was before the last move; raises Conflict when there was nothing."""
    move = adapters.rollback(base)
    if move.adapter_id is not None:
        copy(adapters, AdapterId(move.adapter_id), mirror)
    return move


def copy(adapters: AdapterStore, adapter_id: AdapterId, mirror: Path) -> None:
    """Copy the active adapter to the folder that users know. The alias has moved, so a failure is only told."""
    try:
        adapters.mirror(adapter_id, mirror)
    except OSError as error:
        log.error("training: the copy of the active adapter in %s was not made: %s", mirror, error)


def stored_events(run_id: str, runs: RunStore) -> bytes:
    """The run's whole lines, as they are on disk; raises NotFound."""
    runs.folder(run_id)
    lines = events.read_lines(runs.metrics_path(run_id))
    return b"".join(stored.line + b"\n" for stored in lines)


def diff(request: DiffRequest, runs: RunStore) -> dict[str, Any]:
    """Two runs side by side: what differs in their setting, and by how much their results do."""
    baseline, current = runs.get(request.baseline_run_id), runs.get(request.current_run_id)
    return compare(baseline, current, *(_rows_seen(run, runs.model_folder(run.run_id)) for run in (baseline, current)))


def compare(baseline: Run, current: Run, rows_before: object, rows_after: object) -> dict[str, Any]:
    """Deltas are current minus baseline; null where a side is missing. `rows_*` say what was learned from. Pure."""
    obstacles = []
    if baseline.plan.base != current.plan.base:
        obstacles.append("they adapt different bases")
    if baseline.plan.loss_kind != current.plan.loss_kind:
        obstacles.append("their objectives, and so their losses, differ")
    if rows_before != rows_after:
        obstacles.append("their rows, or which of them were held out, differ")
    before, after = baseline.summary or Summary(), current.summary or Summary()
    if (before.primary_metric, before.primary_goal) != (after.primary_metric, after.primary_goal):
        obstacles.append("their metrics differ")
    best = _delta(before.primary_best, after.primary_best)
    return {
        "baseline_run_id": baseline.run_id,
        "current_run_id": current.run_id,
        "compatible": not obstacles,
        "reason": "; ".join(obstacles) or None,
        "primary_metric": after.primary_metric,
        "primary_goal": after.primary_goal,
        "baseline": before.model_dump(mode="json"),
        "current": after.model_dump(mode="json"),
        "delta_best": best,
        "delta_final": _delta(before.primary_final, after.primary_final),
        "delta_time_to_best_secs": _delta(before.time_to_best_secs, after.time_to_best_secs),
        "delta_stability_stddev": _delta(before.stability_stddev, after.stability_stddev),
        "improved": None if best is None or obstacles else best < 0,
    }


def _delta(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _rows_seen(run: Run, folder: Path) -> object:
    """What tells whether two runs saw the same rows on the same sides: the manifest's digests, else the plan."""
    try:
        dataset = json.loads((folder / MANIFEST_FILE).read_bytes())["dataset"]
        return dataset["rows_sha256"], dataset["held_out_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return run.plan.dataset_path, run.plan.validation_path, run.plan.seed
