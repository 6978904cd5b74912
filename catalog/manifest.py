"""`manifest.json` beside an adapter: everything that decided it, so that it can be made or checked again.

The trainer writes it, `catalog.verify` holds it against what is there.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from catalog.plan import Plan
from catalog.run_life import Promotion, Summary


class DatasetRecord(BaseModel):
    """Which rows were learned from and which were only measured on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    bytes_sha256: str
    rows_sha256: str
    split_seed: int
    held_out_sha256: list[str]
    """Digest of each held-out line."""
    train_rows: int
    held_out_rows: int
    dropped_rows: int
    """Longer than max_length, on either side."""
    train_tokens: int
    supervised_tokens: int


class Manifest(BaseModel):
    """Everything that decided the adapter. The seed and every other setting are in `plan`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    base: str
    base_files: dict[str, str] = {}
    """sha256 of each file of the base that decides what it computes."""
    precision: str
    device: str
    processes: int = 1
    """That computed the gradients on a CPU: in so many parts at least a step was summed."""
    parent_adapter: str | None = None
    """What was active for the base when the adapter was kept, and what it was compared with; None is the bare base."""
    plan: Plan
    dataset: DatasetRecord
    best_step: int
    steps_done: int
    summary: Summary
    versions: dict[str, str]
    promotion: Promotion | None = None
    """What the gate decided, in the run's own copy."""
