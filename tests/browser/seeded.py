"""Runs that are there without having been trained: a browser's test of drawing needs their numbers, not their model.

Written through the catalog's own store and models, so that the gateway serves them as any other.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from catalog import events, pictures
from catalog.decisions import CheckResult, Comparison, Decision
from catalog.pictures import Frame, Probe, Surface, SurfacePoint
from catalog.plan import Plan
from catalog.run_life import Decided, Ended, Promotion, Summary
from catalog.runs import RunStore

PLAN = Plan(
    base="ragweld-nano", dataset_path="/data.jsonl", seed=0, epochs=4, batch_size=4, lr=4e-3, warmup_ratio=0.1,
    max_length=512, lora_rank=16, lora_alpha=32, lora_dropout=0.05, lora_target_modules=["q_proj", "v_proj"],
    grad_accum_steps=8, telemetry_interval_steps=1, promote_if_improves=True, promote_epsilon=0.0,
)  # fmt: skip
DIGEST = hashlib.sha256(b"a plane").hexdigest()
DECISION = Decision(
    rule="better on the held-out rows", resamples=2000, seed=0,
    comparisons=[
        Comparison(
            against=against, compared="loss", candidate_loss=0.1, other_loss=3.1, difference=-3.0, low=-3.2, high=-2.8,
            rows=52, better_rows=51, limit=0.0, passed=True,
        )
        for against in ("base", "active", "regression")
    ],
    checks=[CheckResult(line=1, rule="contains", passed=True, answer="Ada")],
)  # fmt: skip
PROMOTION = Promotion(
    promoted=True, adapter_id="a" * 64, reason="Promoted: held-out loss 0.1 against 3.1 of the base.",
    ts="2026-01-01T00:00:00.000Z", candidate_loss=0.1, active_loss=3.1, base_loss=3.1, decision=DECISION,
)  # fmt: skip


def spiral(step: int, steps: int) -> tuple[float, float]:
    """A path that turns on its way in."""
    share = step / steps
    return 8 * share * math.cos(3 * share), 6 * share * math.sin(3 * share)


def finished_run(
    store: RunStore,
    *,
    steps: int = 60,
    digest: str = DIGEST,
    scope: str = "default",
    promoted: bool = False,
    tremble: float = 0.0,
) -> str:
    """A completed run of `steps` measured steps, with evaluations and a few words."""
    run_id = store.create(scope, PLAN).run_id
    claimed = store.claim_next()
    assert claimed is not None and claimed.run.run_id == run_id
    told = [store.event(run_id, "log", step=0, message="Read 474 rows.")]
    told += [store.event(run_id, "telemetry", **measured(step, steps, digest, tremble)) for step in range(1, steps + 1)]
    told += [
        store.event(run_id, "metrics", step=step, metrics={"eval_loss": 3 - 2.5 * step / steps, "train_loss": 1.0})
        for step in range(0, steps + 1, max(1, steps // 10))
    ]
    told += [store.event(run_id, "progress", step=steps, epoch=4.0, percent=100.0)]
    with store.metrics_path(run_id).open("ab") as file:
        file.write(b"".join(event.to_line() for event in told))
    summary = Summary(primary_best=0.5, primary_final=0.5, best_step=steps, time_to_best_secs=9.0, stability_stddev=0.1)
    store.apply(run_id, Ended("completed", summary=summary, adapter_id="a" * 64))
    if promoted:
        store.apply(run_id, Decided(PROMOTION))
    claimed.claim.release()
    return run_id


def measured(step: int, steps: int, digest: str, tremble: float) -> dict[str, Any]:
    x, y = spiral(step, steps)
    x, y = x + tremble * math.sin(2.4 * step), y + tremble * math.cos(1.7 * step)
    loss = 0.05 + 3 * (1 - step / steps) ** 2
    return {
        "step": step, "epoch": 4 * step / steps, "proj_x": x, "proj_y": y, "proj_off_plane": 0.4 * step / steps,
        "proj_share": 0.46, "proj_digest": digest, "loss": loss, "probe_loss": loss, "lr": 4e-3 * (1 - step / steps),
        "grad_norm": 1.0, "param_norm": 10.0, "update_norm": 0.1, "step_time_ms": 100.0, "tokens_per_s": 1000.0,
        "memory_active_bytes": 10**7, "memory_peak_bytes": 2 * 10**7, "resident_bytes": 10**8, "sample_count": step,
    }  # fmt: skip


def with_surface(store: RunStore, run_id: str, *, hidden: Sequence[int] = ()) -> None:
    """A bowl around the end of the spiral, as measured on a grid of 17 by 17; the rows `hidden` are still to come."""
    grid, (x_end, y_end) = 17, spiral(1, 1)
    xs, ys = ([low + 14 * i / (grid - 1) for i in range(grid)] for low in (-10, -5))
    loss = [
        [None if row in hidden else 0.05 + 0.02 * ((x - x_end) ** 2 + (y - y_end) ** 2) for x in xs]
        for row, y in enumerate(ys)
    ]
    points = [
        SurfacePoint(step=step, x=spiral(step, 60)[0], y=spiral(step, 60)[1], off_plane=0.1, loss=1.0, plane_loss=1.1)
        for step in (20, 40, 60)
    ]
    pictures.write_surface(
        pictures.folder(store, run_id),
        Surface(
            run_id=run_id, digest=DIGEST, kind="snapshot_pca", grid=grid, measured=grid**2 - len(hidden) * grid,
            total=grid**2, xs=xs, ys=ys, loss=loss, probe=Probe(rows=24, tokens=300, sha256="0" * 64), points=points,
            share=0.8, frame=Frame(steps=[], weights=[[], []]), updated="2026-01-01T00:00:00.000Z",
        ),
    )  # fmt: skip
    event = store.event(run_id, "state", status="surface_measured", step=60, message="Measured the loss.")
    events.append(store.metrics_path(run_id), event)
