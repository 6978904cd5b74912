"""Two runs side by side: settings, data, curves and results. Deltas are current minus baseline; null is a missing side.

Results can be compared only where base, objective, rows, held-out side and metric are the same; everything else is told
in any case. Pure but for `read`. `tests/gateway/test_diff.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catalog import events
from catalog.adapters import MANIFEST_FILE
from catalog.run_life import Run, Summary
from catalog.runs import RunStore


@dataclass(frozen=True, slots=True)
class Side:
    """One run with what its files say of its data and its course."""

    run: Run
    rows: Mapping[str, Any]
    """Digests and counts of what was learned from; before anything was kept, what the plan says."""
    curve: Mapping[int, float] = field(default_factory=dict)
    """Held-out loss by step."""

    @property
    def summary(self) -> Summary:
        return self.run.summary or Summary()


def read(run_id: str, runs: RunStore) -> Side:
    """A run as its files have it; raises NotFound. Blocking."""
    run = runs.get(run_id)
    told = events.read_events(runs.metrics_path(run_id))
    measured = ((event.step, (event.metrics or {}).get("eval_loss")) for event in told if event.type == "metrics")
    curve = {step: loss for step, loss in measured if step is not None and loss is not None}
    return Side(run, _rows_of(run, runs), curve)


def _rows_of(run: Run, runs: RunStore) -> Mapping[str, Any]:
    try:
        dataset = json.loads((runs.model_folder(run.run_id) / MANIFEST_FILE).read_bytes())["dataset"]
        held_out = hashlib.sha256(json.dumps(dataset["held_out_sha256"]).encode()).hexdigest()
        counts = {name: dataset[name] for name in ("rows_sha256", "train_rows", "held_out_rows", "supervised_tokens")}
        return counts | {"held_out_sha256": held_out}
    except (OSError, ValueError, KeyError, TypeError):
        plan = run.plan
        return {"dataset_path": plan.dataset_path, "validation_path": plan.validation_path, "seed": plan.seed}


def compare(baseline: Side, current: Side) -> dict[str, Any]:
    """What differs, and by how much the results do."""
    obstacles = _obstacles(baseline, current)
    before, after = baseline.summary, current.summary
    best = _delta(before.primary_best, after.primary_best)
    return {
        "baseline_run_id": baseline.run.run_id,
        "current_run_id": current.run.run_id,
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
        "settings": _settings(baseline.run, current.run),
        "data": {
            "same": baseline.rows == current.rows,
            "baseline": dict(baseline.rows),
            "current": dict(current.rows),
        },
        "curve": _curves(baseline.curve, current.curve),
    }


def _obstacles(baseline: Side, current: Side) -> list[str]:
    """Why the results mean different things."""
    obstacles = []
    if baseline.run.plan.base != current.run.plan.base:
        obstacles.append("they adapt different bases")
    if baseline.run.plan.loss_kind != current.run.plan.loss_kind:
        obstacles.append("their objectives, and so their losses, differ")
    if baseline.rows != current.rows:
        obstacles.append("their rows, or which of them were held out, differ")
    before, after = baseline.summary, current.summary
    if (before.primary_metric, before.primary_goal) != (after.primary_metric, after.primary_goal):
        obstacles.append("their metrics differ")
    return obstacles


def _settings(baseline: Run, current: Run) -> dict[str, dict[str, Any]]:
    """Every setting that differs."""
    before, after = baseline.plan.model_dump(mode="json"), current.plan.model_dump(mode="json")
    return {name: {"baseline": before[name], "current": after[name]} for name in before if before[name] != after[name]}


def _curves(before: Mapping[int, float], after: Mapping[int, float]) -> list[dict[str, float | int | None]]:
    """The held-out loss at every step where either was measured."""
    return [
        {
            "step": step,
            "baseline": before.get(step),
            "current": after.get(step),
            "delta": _delta(before.get(step), after.get(step)),
        }
        for step in sorted(before.keys() | after.keys())
    ]


def _delta(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before
