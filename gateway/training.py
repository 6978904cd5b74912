"""What the gateway does for runs: recommend, check and queue, compare, promote, roll back. Blocking throughout.

The trainer is never called: a queued run lies in the catalog until it takes it, and the engine sees an alias move.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from catalog import datasets, events
from catalog.adapters import AdapterStore, AliasMove
from catalog.base import locate
from catalog.errors import Conflict, NotFound
from catalog.ids import AdapterId, BaseId
from catalog.plan import Profile, RunRequest, check_fits, resolve
from catalog.run_life import NO_LABELS, Decided, Labels, Promotion, Run, stamp
from catalog.runs import RunStore
from catalog.settings import Settings
from catalog.uploads import FileStore, is_file_id
from gateway import diff

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
    with FileStore(home).settled():
        for file in (path, measured_on):
            if file is not None and not file.exists():
                raise NotFound(f"The dataset {file.name} was removed meanwhile.", param="dataset_path")
        return runs.create(request.scope, plan, labels)


def _verify_gate(request: RunRequest, settings: Settings, home: Path) -> None:
    """Read what the run would be judged by; raises InvalidDataset with every defect."""
    training = settings.training
    asked = training.ragweld_agent_gate_checks_path if request.gate_checks_path is None else request.gate_checks_path
    if asked:
        from catalog import checks  # its judges take 15 MB, and few gateways need them

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
    mirror: Path | None,
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


def roll_back(base: BaseId, adapters: AdapterStore, mirror: Path | None) -> AliasMove:
    """Make active what was before the last move; raises Conflict when there was nothing."""
    move = adapters.rollback(base)
    if move.adapter_id is not None:
        copy(adapters, AdapterId(move.adapter_id), mirror)
    return move


def copy(adapters: AdapterStore, adapter_id: AdapterId, mirror: Path | None) -> None:
    """Copy the active adapter to the folder that users know, which is the default base's. The alias has moved, so a
    failure is only told."""
    if mirror is None:
        return
    try:
        adapters.mirror(adapter_id, mirror)
    except OSError as error:
        log.error("training: the copy of the active adapter in %s was not made: %s", mirror, error)


def stored_events(run_id: str, runs: RunStore) -> bytes:
    """The run's whole lines, as they are on disk; raises NotFound."""
    runs.folder(run_id)
    lines = events.read_lines(runs.metrics_path(run_id))
    return b"".join(stored.line + b"\n" for stored in lines)


def compare(request: DiffRequest, runs: RunStore) -> dict[str, Any]:
    """Two runs side by side; raises NotFound."""
    return diff.compare(diff.read(request.baseline_run_id, runs), diff.read(request.current_run_id, runs))
