"""What the gateway does for datasets: says what one would be to a run. Blocking.

`tests/gateway/test_datasets_api.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from catalog.plan import Overlong
from catalog.settings import Settings
from gateway import training

if TYPE_CHECKING:
    from catalog.datasets.check import Check

MAX_INLINE_ROWS = 1000
MAX_SHOWN_ROWS = 20
BUDGET_S = 10.0
"""Seconds in which tokens are counted; a client waits about so long."""


class CheckRequest(BaseModel):
    """Body of `POST /api/datasets/check`. Without `rows` and `dataset_path` it is the dataset a run would take."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    scope: str = "default"
    """Whose settings and dataset; also accepted as corpus_id or repo_id."""
    dataset_path: str | None = None
    """JSONL, as a run would be given it."""
    rows: list[Any] | None = Field(None, max_length=MAX_INLINE_ROWS)
    """Rows themselves, instead of a file."""
    base: str | None = None
    """Base whose tokens are counted; default is the scope's."""
    max_length: int | None = Field(None, ge=16, le=131072)
    """Tokens of the longest row; default is what a run would take."""
    overlong: Overlong = "drop"
    """What becomes of longer ones."""
    seed: int = Field(0, ge=0, lt=1 << 31)
    """Decides which rows are held out."""
    show: int = Field(3, ge=0, le=MAX_SHOWN_ROWS)
    """How many rows are shown as text, with what is learned apart from what is read."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.rows is not None and self.dataset_path is not None:
            raise ValueError("rows and dataset_path are given; one of them says what to check")
        return self


def check_dataset(request: CheckRequest, settings: Settings, home: Path) -> Check:
    """Defects, counts and a view; raises InvalidDataset if the file cannot be read, Unavailable without any base."""
    from catalog.datasets import check  # loads MLX's tokenizers, 30 MB that a gateway before upstreams never needs

    terms = check.Terms(
        base=request.base or settings.training.ragweld_agent_base_model,
        max_length=request.max_length,
        overlong=request.overlong,
        seed=request.seed,
        show=request.show,
        budget_s=BUDGET_S,
    )
    if request.rows is not None:
        return check.check_rows(request.rows, terms)
    return check.check_file(training.dataset_path(request.dataset_path, settings, home), terms)
