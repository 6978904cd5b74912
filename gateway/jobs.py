"""Runs as OpenAI's fine-tuning jobs, events and checkpoints. Views only: the run store is the one truth.

Every run is a job, whoever began it; a job's id is `ftjob-` and the run's. Plain functions of what was read.
`tests/gateway/test_fine_tuning_api.py`. Source: OpenAI API reference, "The fine-tuning job object" and its events.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from catalog import events
from catalog.adapters import MANIFEST_FILE
from catalog.errors import NotFound
from catalog.events import Event
from catalog.ids import RAGWELD, fine_tuned_id
from catalog.run_life import LOSSES_RESUMED, Run, Status
from catalog.runs import RunStore
from catalog.uploads import file_id_of
from gateway import paging

JOB_BEGINS = "ftjob-"
RESULTS_BEGINS = "file-results-"
"""Of the id of a job's result file, see `gateway.results`."""

JobStatus = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
"""A file is validated before there is a job, so none is ever `validating_files`."""

_STATUSES: Mapping[Status, JobStatus] = {
    "queued": "queued",
    "running": "running",
    "paused": "paused",
    "completed": "succeeded",
    "failed": "failed",
    "diverged": "failed",
    "cancelled": "cancelled",
}


def id_of(run: Run) -> str:
    return JOB_BEGINS + run.run_id


def run_of(job: str, runs: RunStore) -> Run:
    """The run that a job is; raises NotFound."""
    begins, run_id = job[: len(JOB_BEGINS)], job[len(JOB_BEGINS) :]
    if begins == JOB_BEGINS:
        try:
            return runs.get(run_id)
        except NotFound:
            pass
    raise NotFound(
        f"There is no fine-tuning job {job!r}.",
        hint="GET /v1/fine_tuning/jobs lists them.",
        param="fine_tuning_job_id",
    )


def status_of(run: Run) -> JobStatus:
    """An interrupted run goes on by itself while its trainer may be restarted; else it waits for a person."""
    if run.status != "interrupted":
        return _STATUSES[run.status]
    return "queued" if run.lost and run.losses < LOSSES_RESUMED else "paused"


def model_of(run: Run) -> str | None:
    """The name under which a completed run's adapter answers."""
    is_there = run.status == "completed" and run.adapter_id is not None
    return fine_tuned_id(run.plan.base, run.labels.suffix, run.run_id) if is_there else None


def models_among(names: Iterable[str], runs: RunStore) -> list[str]:
    """The models of those names that are runs. Blocking."""
    found = (_model_named(name, runs) for name in names)
    return [model for model in found if model is not None]


def _model_named(name: str, runs: RunStore) -> str | None:
    try:
        return model_of(runs.read(name))
    except (NotFound, OSError, ValueError):  # no run, or one whose file is spoiled: a list of models goes on without
        return None


def view(run: Run, runs: RunStore) -> dict[str, Any]:
    """A run as a job. Blocking: reads the manifest of one that succeeded."""
    status, asked = status_of(run), _hyperparameters(run)
    ended_at = run.ended_at if status in ("succeeded", "failed", "cancelled") else None
    return {
        "object": "fine_tuning.job",
        "id": id_of(run),
        "model": run.plan.base,
        "created_at": unix(run.created_at),
        "finished_at": unix(ended_at) if ended_at else None,
        "fine_tuned_model": model_of(run),
        "organization_id": RAGWELD,
        "result_files": [RESULTS_BEGINS + run.run_id] if status == "succeeded" else [],
        "status": status,
        "validation_file": _file(run.plan.validation_path) if run.plan.validation_path else None,
        "training_file": _file(run.plan.dataset_path),
        "hyperparameters": asked,
        "trained_tokens": trained_tokens(run, runs.model_folder(run.run_id)) if status == "succeeded" else None,
        "error": _error(run) if status == "failed" else None,
        "seed": run.plan.seed,
        "estimated_finish": estimated_finish(run) if status == "running" else None,
        "integrations": [],
        "method": _method(run, asked),
        "metadata": run.labels.metadata,
    }


def _hyperparameters(run: Run) -> dict[str, Any]:
    return {
        "n_epochs": run.plan.epochs,
        "batch_size": run.plan.batch_size * run.plan.grad_accum_steps,
        "learning_rate_multiplier": run.labels.learning_rate_multiplier,
    }


def _method(run: Run, asked: dict[str, Any]) -> dict[str, Any] | None:
    """OpenAI's name of the objective; None for one that OpenAI does not have."""
    match run.plan.objective:
        case "sft":
            return {"type": "supervised", "supervised": {"hyperparameters": asked}}
        case "dpo":
            return {"type": "dpo", "dpo": {"hyperparameters": asked | {"beta": run.plan.dpo_beta}}}
        case "orpo":
            return None


def _file(path: str) -> str:
    """An uploaded file's id; of a run that was given a path, the path."""
    return file_id_of(path) or path


def _error(run: Run) -> dict[str, Any]:
    return {"code": f"run_{run.status}", "message": run.reason or f"The run {run.status}.", "param": None}


def trained_tokens(run: Run, folder: Path) -> int | None:
    """Tokens of all rows that were learned from, each as often as it was."""
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
        tokens, rows, steps = (
            int(manifest["dataset"]["train_tokens"]),
            int(manifest["dataset"]["train_rows"]),
            int(manifest["steps_done"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    plan = run.plan
    steps_per_epoch = math.ceil(math.ceil(rows / plan.batch_size) / plan.grad_accum_steps)
    return round(tokens * steps / max(1, steps_per_epoch))


def estimated_finish(run: Run) -> int | None:
    """Unix time at which a running run ends if it goes on as it went; None before its first steps."""
    if run.progress is None or run.progress.eta_s is None:
        return None
    return int(unix(run.progress.ts) + run.progress.eta_s)


def events_page(run_id: str, metrics: Path, after: str | None, limit: int) -> dict[str, Any]:
    """What happened, newest first, read from the end of the file as far as the page goes; raises InvalidRequest."""
    told = _told_before(run_id, metrics, None if after is None else _place_of(after, run_id))
    if after is not None and next(told, {}).get("id") != after:
        raise paging.not_in_list(after)
    found = list(itertools.islice(told, limit + 1))
    return paging.shown(found[:limit], has_more=len(found) > limit)


def _told_before(run_id: str, metrics: Path, place: int | None) -> Iterator[dict[str, Any]]:
    for stored in events.read_lines_back(metrics, place):
        told = _event(run_id, stored.end_offset, Event.model_validate_json(stored.line))
        if told is not None:
            yield told


def _place_of(event_id: str, run_id: str) -> int:
    """An event's id holds its place in `metrics.jsonl`; raises InvalidRequest."""
    place = event_id.removeprefix(_event_id(run_id, ""))
    if not re.fullmatch(r"\d{1,15}", place, re.ASCII):
        raise paging.not_in_list(event_id)
    return int(place)


def _event_id(run_id: str, place: int | str) -> str:
    return f"ftevent-{run_id}-{place}"


def _event(run_id: str, offset: int, event: Event) -> dict[str, Any] | None:
    numbers = _numbers(event)
    message = event.message or _in_words(event, numbers)
    if message is None:
        return None
    return {
        "object": "fine_tuning.job.event",
        "id": _event_id(run_id, offset),
        "created_at": unix(event.ts),
        "level": "error" if event.type == "error" else "info",
        "message": message,
        "data": numbers,
        "type": "metrics" if numbers else "message",
    }


def _numbers(event: Event) -> dict[str, Any]:
    """OpenAI's names for what was measured."""
    match event.type:
        case "telemetry":
            return {"step": event.step, "train_loss": event.loss, "learning_rate": event.lr}
        case "metrics":
            measured = event.metrics or {}
            named = {"train_loss": measured.get("train_loss"), "full_valid_loss": measured.get("eval_loss")}
            return {"step": event.step} | {name: value for name, value in named.items() if value is not None}
    return {}


def _in_words(event: Event, numbers: Mapping[str, Any]) -> str | None:
    match event.type:
        case "telemetry" | "metrics":
            said = ", ".join(
                f"{name.replace('train_', 'training ').replace('full_valid_', 'validation ')}={value:.4g}"
                for name, value in numbers.items()
                if name.endswith("loss") and value is not None
            )
            return f"Step {event.step}: {said}" if said else None
        case "state":
            return f"The job is {event.status}."
    return None


def checkpoints(run: Run, metrics: Path) -> Iterator[dict[str, Any]]:
    """Steps whose adapter can answer: the best one, which is the one that a run keeps."""
    step = run.summary.best_step if run.summary is not None else None
    if step is None or model_of(run) is None:
        return
    told = [one for one in _measurements(metrics) if one.step == step]
    yield {
        "object": "fine_tuning.job.checkpoint",
        "id": f"ftckpt_{run.run_id}-{step}",
        "created_at": unix(told[-1].ts if told else run.created_at),
        "fine_tuned_model_checkpoint": fine_tuned_id(run.plan.base, run.labels.suffix, run.run_id, step),
        "metrics": _numbers(told[-1]) if told else {"step": step},
        "fine_tuning_job_id": id_of(run),
        "step_number": step,
    }


def _measurements(metrics: Path) -> Iterator[Event]:
    """Its evaluations: a few lines of many, found by their text, so that the others need not be read."""
    for stored in events.read_lines(metrics):
        if b'"type":"metrics"' in stored.line:
            yield Event.model_validate_json(stored.line)


def unix(stamp: str) -> int:
    """Seconds of a catalog's stamp."""
    return int(datetime.fromisoformat(stamp).timestamp())
