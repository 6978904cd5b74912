"""Measures a run's kept adapter once more on its held-out rows: the loss that its summary tells must come out.

`tests/deploy/test_runs.py`.
"""

from __future__ import annotations

import math
from pathlib import Path

from catalog.base.lora import read_adapter, remove_adapter
from catalog.run_life import Run
from catalog.runs import RunStore
from catalog.verify import Finding
from trainer import lesson
from trainer.evaluate import measure, wearing

TOLERANCE = 1e-3
"""Of the loss: kernels of another device or version round otherwise."""


def loss(run: Run, runs: RunStore, home: Path, *, cpu_float32: bool = True) -> Finding:
    """The held-out loss, measured again in the precision of `trainer.cpu_float32`.

    Raises RagweldError when the run's base or data cannot be had.
    """
    told = run.summary.primary_best if run.summary is not None else None
    if run.adapter_id is None or told is None:
        return Finding(what="held-out loss", ok=None, detail="the run kept nothing that was measured")
    prepared = lesson.prepare(run.plan, home, cpu_float32=cpu_float32)
    remove_adapter(prepared.learner.model)
    with wearing(prepared.learner.model, read_adapter(runs.model_folder(run.run_id), prepared.shapes)):
        found = measure(prepared.learner.model, prepared.objective, prepared.held_out).loss
    is_so = math.isclose(found, told, rel_tol=TOLERANCE)
    return Finding(what="held-out loss", ok=is_so, detail=f"{found:.6g} measured now, {told:.6g} told")
