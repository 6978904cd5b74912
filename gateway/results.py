"""A job's metrics as OpenAI's result file: `step_metrics.csv` under an id of its own, a view of the run's events.

Nothing is written: the file is made when it is asked for, from the one truth. `tests/gateway/test_fine_tuning_api.py`.
"""

from __future__ import annotations

import csv
import io
from typing import Any

from catalog import events
from catalog.errors import InvalidRequest, NotFound
from catalog.run_life import Run
from catalog.runs import RunStore
from gateway.jobs import RESULTS_BEGINS, unix

FILENAME = "step_metrics.csv"
COLUMNS = ("step", "train_loss", "valid_loss")


def is_results_id(file_id: str) -> bool:
    """Whether an id has the form of a result file's."""
    return file_id.startswith(RESULTS_BEGINS)


def view(file_id: str, runs: RunStore) -> dict[str, Any]:
    """OpenAI's file object of a result file; raises NotFound."""
    run = _run_of(file_id, runs)
    return {
        "id": file_id,
        "object": "file",
        "bytes": len(content(file_id, runs)),
        "created_at": unix(run.ended_at or run.created_at),
        "expires_at": None,
        "filename": FILENAME,
        "purpose": "fine-tune-results",
        "status": "processed",
        "status_details": None,
    }


def content(file_id: str, runs: RunStore) -> bytes:
    """A row for every step that was measured; raises NotFound."""
    run = _run_of(file_id, runs)
    rows: dict[int, dict[str, float | None]] = {}
    for event in events.read_events(runs.metrics_path(run.run_id)):
        if event.step is None:
            continue
        if event.type == "telemetry":
            rows.setdefault(event.step, {})["train_loss"] = event.loss
        elif event.type == "metrics" and event.metrics:
            rows.setdefault(event.step, {})["valid_loss"] = event.metrics.get("eval_loss")
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({"step": step, **rows[step]} for step in sorted(rows))
    return text.getvalue().encode()


def _run_of(file_id: str, runs: RunStore) -> Run:
    try:
        run = runs.get(file_id.removeprefix(RESULTS_BEGINS))
    except (NotFound, InvalidRequest):
        run = None
    if run is None or run.status != "completed":
        raise NotFound(f"There is no file {file_id!r}.", hint="A job that succeeded names its own.", param="file_id")
    return run
