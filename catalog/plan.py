"""What a run will do, decided before it starts: every setting, resolved and recorded.

A request may name any of them; the settings of the scope fill in what users configure once; `recommend` fills in what
depends on the base and the dataset. Pure: reads no file, no clock.
"""

from __future__ import annotations

import math
from typing import Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from catalog.errors import InvalidRequest
from catalog.settings import LoraKind, LrSchedule, Objective, Optimizer, TrainingSettings

T = TypeVar("T")

Overlong = Literal["drop", "cut_oldest"]
"""What becomes of a row longer than max_length: dropped, or its conversation's oldest exchanges left out whole."""

SMALL_BASE_PARAMETERS = 50_000_000
SMALL_BASE_STEPS = 150
DPO_RATE = 0.1
"""Of the rate for imitation: at a tenth nano's margin grew to 1.5 in 72 steps, at the whole to 6 in 4."""
LARGE_BASE_STEPS = 300


class RunRequest(BaseModel):
    """Body of `POST /api/agent/train/start`. What is absent comes from the settings and the profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    scope: str = "default"
    """Whose settings and dataset; also accepted as corpus_id or repo_id."""
    dataset_path: str | None = None
    """JSONL of conversations, or of preference pairs for dpo and orpo: a path, or the id of an uploaded file."""
    validation_path: str | None = None
    """JSONL of rows that are only measured on; without it a tenth of the dataset is held out."""
    base: str | None = None
    """Base model id; default is the scope's."""
    objective: Objective | None = None
    """What is learned: sft says what the data say; dpo and orpo prefer the chosen one of two answers."""
    dpo_beta: float | None = Field(None, gt=0, le=100)
    """How dearly dpo pays for leaving the base."""
    orpo_lambda: float | None = Field(None, gt=0, le=100)
    """How much orpo weighs preference against imitation."""
    seed: int | None = Field(None, ge=0, lt=1 << 31)
    """Decides order, dropout and initial A matrices."""
    epochs: int | None = Field(None, ge=1, le=1000)
    """Passes over the training rows."""
    batch_size: int | None = Field(None, ge=1, le=256)
    """Rows of one micro-batch."""
    lr: float | None = Field(None, gt=0, le=1)
    """Peak learning rate."""
    warmup_ratio: float | None = Field(None, ge=0, le=0.9)
    """Share of the steps in which the learning rate rises."""
    lr_schedule: LrSchedule | None = None
    """How the learning rate goes on after its rise."""
    optimizer: Optimizer | None = None
    weight_decay: float | None = Field(None, ge=0, le=1)
    max_grad_norm: float | None = Field(None, ge=0, le=1000)
    """A longer gradient is cut to this length; 0 cuts none."""
    grad_checkpoint: bool | None = None
    """True recomputes each block in the backward pass: far less memory for a third more time."""
    max_length: int | None = Field(None, ge=16, le=131072)
    """Tokens of the longest row."""
    overlong: Overlong = "drop"
    """What becomes of longer ones: `drop` counts them, `cut_oldest` leaves out oldest exchanges, whole ones."""
    lora_kind: LoraKind | None = None
    """lora, or dora: LoRA that learns besides how strong each output is."""
    lora_rank: int | None = Field(None, ge=1, le=128)
    lora_alpha: float | None = Field(None, gt=0, le=512)
    lora_dropout: float | None = Field(None, ge=0, le=0.5)
    lora_target_modules: list[str] | None = Field(None, min_length=1)
    grad_accum_steps: int | None = Field(None, ge=1, le=128)
    telemetry_interval_steps: int | None = Field(None, ge=1, le=20)
    eval_interval_steps: int | None = Field(None, ge=0, le=100_000)
    """Steps between two measurements of all held-out rows; 0 makes ten of them in a run."""
    early_stopping_patience: int | None = Field(None, ge=0, le=1000)
    """Measurements in a row without a new best after which the run is complete; 0 takes every step."""
    max_skipped_steps: int | None = Field(None, ge=0, le=1000)
    """Steps whose loss or gradient is not finite, or leaps, that are skipped before the run ends as diverged."""
    promote_if_improves: bool | None = None
    promote_epsilon: float | None = Field(None, ge=0, le=10)
    gate_min_rows: int | None = Field(None, ge=1, le=100_000)
    """Held-out rows below which nothing is promoted."""
    gate_checks_path: str | None = None
    """JSONL of prompts and what a good answer to each must be; one bad answer refuses the promotion."""
    gate_regression_path: str | None = None
    """JSONL of conversations whose loss must not get worse."""
    gate_regression_tolerance: float | None = Field(None, ge=0, le=10)
    """By how much it may, in nats per supervised token."""
    surface_grid: int | None = Field(None, ge=0, le=101)
    """Points along each axis of the loss surface; 0 measures none."""
    surface_share: float | None = Field(None, ge=0, le=1)
    """Most of the run's time that the surface may take; what is missing is measured after the run."""
    snapshot_bytes: int | None = Field(None, ge=0)
    """Most that the snapshots of a run's path may take on the disk."""


class Plan(BaseModel):
    """Every setting of one run, as `run.json` and the manifest record it.

    What came after the first version has the value that it did not know it had, so that its runs can be read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    dataset_path: str
    validation_path: str | None = None
    seed: int
    epochs: int
    batch_size: int
    lr: float
    warmup_ratio: float
    max_length: int
    overlong: Overlong = "drop"
    lora_rank: int
    lora_alpha: float
    lora_dropout: float
    lora_target_modules: list[str]
    grad_accum_steps: int
    telemetry_interval_steps: int
    promote_if_improves: bool
    promote_epsilon: float
    gate_min_rows: int = 5
    gate_checks_path: str = ""
    gate_regression_path: str = ""
    gate_regression_tolerance: float = 0.02
    surface_grid: int = 21
    surface_share: float = 0.05
    snapshot_bytes: int = 256 * 1024 * 1024
    optimizer: Optimizer = "adamw"
    weight_decay: float = 0.01
    lr_schedule: LrSchedule = "cosine"
    max_grad_norm: float = 1.0
    grad_checkpoint: bool = False
    eval_interval_steps: int = 0
    early_stopping_patience: int = 0
    max_skipped_steps: int = 5
    objective: Objective = "sft"
    dpo_beta: float = 0.1
    orpo_lambda: float = 0.1
    lora_kind: LoraKind = "lora"

    @property
    def loss_kind(self) -> tuple[str, float | None]:
        """What must be equal for two runs' losses to be of one kind."""
        return self.objective, {"sft": None, "dpo": self.dpo_beta, "orpo": self.orpo_lambda}[self.objective]


class Profile(BaseModel):
    """Recommended settings for a dataset, a base and a machine, with the reason in words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    dataset_path: str
    rows: int
    epochs: int
    batch_size: int
    grad_accum_steps: int
    lr: float
    warmup_ratio: float
    max_length: int
    steps: int
    reason: str

    @classmethod
    def recommend(
        cls, *, base: str, base_parameters: int, context: int, dataset_path: str, rows: int, training: TrainingSettings
    ) -> Self:
        """Enough optimizer steps to learn a small dataset, at a rate that suits the base's size."""
        small = base_parameters < SMALL_BASE_PARAMETERS
        batch_size = 4 if small else 1
        accumulation = training.ragweld_agent_grad_accum_steps
        steps_per_epoch = max(1, math.ceil(rows * 0.9 / (batch_size * accumulation)))
        wanted_steps = SMALL_BASE_STEPS if small else LARGE_BASE_STEPS
        epochs = min(100 if small else 5, max(1, math.ceil(wanted_steps / steps_per_epoch)))
        size = f"{base_parameters / 1e6:,.1f} M parameters"
        return cls(
            base=base,
            dataset_path=dataset_path,
            rows=rows,
            epochs=epochs,
            batch_size=batch_size,
            grad_accum_steps=accumulation,
            lr=4e-3 if small else 1e-4,
            warmup_ratio=0.1,
            max_length=recommended_max_length(base_parameters, context),
            steps=epochs * steps_per_epoch,
            reason=f"{rows} rows on a base of {size}: {epochs} epochs give {epochs * steps_per_epoch} optimizer steps.",
        )

    def lr_for(self, objective: Objective) -> float:
        """The rate that suits what is learned."""
        return self.lr * (DPO_RATE if objective == "dpo" else 1)


def recommended_max_length(base_parameters: int, context: int) -> int:
    """Tokens of the longest row that is worth its time."""
    return min(512 if base_parameters < SMALL_BASE_PARAMETERS else 2048, context)


def resolve(
    request: RunRequest, training: TrainingSettings, profile: Profile, validation_path: str | None = None
) -> Plan:
    """The plan of a run: the request's own values, else the settings', else the profile's.

    Raises InvalidRequest when the request says what would count for nothing.
    """
    t = training
    objective = _first(request.objective, t.ragweld_agent_objective)
    for name, only in (("dpo_beta", "dpo"), ("orpo_lambda", "orpo")):
        if getattr(request, name) is not None and objective != only:
            raise InvalidRequest(f"{name} counts only with the objective {only}, not with {objective}.", param=name)
    return Plan(
        base=profile.base,
        dataset_path=profile.dataset_path,
        validation_path=validation_path,
        seed=_first(request.seed, 0),
        epochs=_first(request.epochs, profile.epochs),
        batch_size=_first(request.batch_size, profile.batch_size),
        lr=_first(request.lr, profile.lr_for(objective)),
        warmup_ratio=_first(request.warmup_ratio, profile.warmup_ratio),
        max_length=_first(request.max_length, profile.max_length),
        overlong=request.overlong,
        lora_rank=_first(request.lora_rank, t.ragweld_agent_lora_rank),
        lora_alpha=_first(request.lora_alpha, t.ragweld_agent_lora_alpha),
        lora_dropout=_first(request.lora_dropout, t.ragweld_agent_lora_dropout),
        lora_target_modules=_first(request.lora_target_modules, t.ragweld_agent_lora_target_modules),
        grad_accum_steps=_first(request.grad_accum_steps, profile.grad_accum_steps),
        telemetry_interval_steps=_first(request.telemetry_interval_steps, t.ragweld_agent_telemetry_interval_steps),
        promote_if_improves=_first(request.promote_if_improves, bool(t.ragweld_agent_promote_if_improves)),
        promote_epsilon=_first(request.promote_epsilon, t.ragweld_agent_promote_epsilon),
        gate_min_rows=_first(request.gate_min_rows, t.ragweld_agent_gate_min_rows),
        gate_checks_path=_first(request.gate_checks_path, t.ragweld_agent_gate_checks_path),
        gate_regression_path=_first(request.gate_regression_path, t.ragweld_agent_gate_regression_path),
        gate_regression_tolerance=_first(request.gate_regression_tolerance, t.ragweld_agent_gate_regression_tolerance),
        surface_grid=_first(request.surface_grid, t.ragweld_agent_surface_grid),
        surface_share=_first(request.surface_share, t.ragweld_agent_surface_share),
        snapshot_bytes=_first(request.snapshot_bytes, t.ragweld_agent_snapshot_bytes),
        optimizer=_first(request.optimizer, t.ragweld_agent_optimizer),
        weight_decay=_first(request.weight_decay, t.ragweld_agent_weight_decay),
        lr_schedule=_first(request.lr_schedule, t.ragweld_agent_lr_schedule),
        max_grad_norm=_first(request.max_grad_norm, t.ragweld_agent_max_grad_norm),
        grad_checkpoint=_first(request.grad_checkpoint, t.ragweld_agent_grad_checkpoint),
        eval_interval_steps=_first(request.eval_interval_steps, t.ragweld_agent_eval_interval_steps),
        early_stopping_patience=_first(request.early_stopping_patience, t.ragweld_agent_early_stopping_patience),
        max_skipped_steps=_first(request.max_skipped_steps, t.ragweld_agent_max_skipped_steps),
        objective=objective,
        dpo_beta=_first(request.dpo_beta, t.ragweld_agent_dpo_beta),
        orpo_lambda=_first(request.orpo_lambda, t.ragweld_agent_orpo_lambda),
        lora_kind=_first(request.lora_kind, t.ragweld_agent_lora_kind),
    )


def check_fits(objective: Objective, form: str, *, is_preference: bool) -> None:
    """Raises InvalidRequest when a dataset of this form is not what the objective learns from."""
    if is_preference == (objective == "sft"):
        needed, instead = ("conversations", "dpo or orpo") if objective == "sft" else ("preference pairs", "sft")
        raise InvalidRequest(
            f"The objective {objective} learns from {needed}; the dataset holds {form}.",
            hint=f"Set objective to {instead}, or give other rows.",
            param="objective",
        )


def _first(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value
