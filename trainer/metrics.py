"""The trainer's metric table; `trainer.exporter` fills it from one snapshot, so one scrape is one step, never torn.

`run_id` labels the current and the last few runs only.
"""

from __future__ import annotations

from catalog.metrics import MetricSpec

_RUN = ("run_id",)


def decimal(coordinate: float) -> str:
    """A coordinate as a label."""
    return f"{coordinate:.6g}"


TRAINER_METRICS: tuple[MetricSpec, ...] = (
    MetricSpec("ragweld_train_busy", "gauge", "1 while a run is being trained."),
    MetricSpec("ragweld_train_runs_total", "counter", "Runs ended, by final status.", ("status",)),
    MetricSpec(
        "ragweld_train_run_info", "gauge", "1; the run's base and status as labels.", ("run_id", "base", "status")
    ),
    MetricSpec("ragweld_train_step", "gauge", "Optimizer steps done.", _RUN),
    MetricSpec("ragweld_train_steps_planned", "gauge", "Optimizer steps of the whole run.", _RUN),
    MetricSpec("ragweld_train_epoch", "gauge", "Passes over the training rows.", _RUN),
    MetricSpec("ragweld_train_loss", "gauge", "Training loss of the step: nats per supervised token.", _RUN),
    MetricSpec("ragweld_train_probe_loss", "gauge", "Loss on the run's fixed probe batch.", _RUN),
    MetricSpec("ragweld_train_eval_loss", "gauge", "Latest loss on all held-out rows.", _RUN),
    MetricSpec("ragweld_train_best_eval_loss", "gauge", "Lowest loss on all held-out rows so far.", _RUN),
    MetricSpec("ragweld_train_best_step", "gauge", "Step of the lowest loss on all held-out rows.", _RUN),
    MetricSpec(
        "ragweld_train_skipped_steps", "gauge", "Steps that changed nothing: loss or gradient was not usable.", _RUN
    ),
    MetricSpec(
        "ragweld_train_eval_accuracy",
        "gauge",
        "Share of held-out pairs whose chosen answer is preferred, a tie as one half; of dpo and orpo runs.",
        _RUN,
    ),
    MetricSpec(
        "ragweld_train_eval_margin",
        "gauge",
        "Mean preference for the chosen answers of held-out pairs: dpo's reward margin, orpo's log odds ratio.",
        _RUN,
    ),
    MetricSpec("ragweld_train_learning_rate", "gauge", "The scheduler's value at this step.", _RUN),
    MetricSpec("ragweld_train_grad_norm", "gauge", "L2 norm of the gradient before clipping.", _RUN),
    MetricSpec("ragweld_train_param_norm", "gauge", "L2 norm of the trainable parameters.", _RUN),
    MetricSpec("ragweld_train_update_norm", "gauge", "L2 norm of the step's measured parameter change.", _RUN),
    MetricSpec(
        "ragweld_train_tokens_per_second", "gauge", "Tokens (context and supervised) of the step per second.", _RUN
    ),
    MetricSpec("ragweld_train_step_seconds", "gauge", "Wall time of the step.", _RUN),
    MetricSpec("ragweld_train_memory_bytes", "gauge", "MLX memory at its peak in this run.", _RUN),
    MetricSpec("ragweld_train_memory_active_bytes", "gauge", "MLX memory in use after the step.", _RUN),
    MetricSpec("ragweld_train_resident_bytes", "gauge", "Memory of the trainer's process in RAM.", _RUN),
    MetricSpec("ragweld_train_eta_seconds", "gauge", "Seconds until the last step, at the latest pace.", _RUN),
    MetricSpec("ragweld_train_projection_x", "gauge", "First coordinate of the displacement in the run's plane.", _RUN),
    MetricSpec(
        "ragweld_train_projection_y", "gauge", "Second coordinate of the displacement in the run's plane.", _RUN
    ),
    MetricSpec("ragweld_train_projection_off_plane", "gauge", "Distance of the true point from the plane.", _RUN),
    MetricSpec("ragweld_train_projection_share", "gauge", "Share of the squared displacement held by the plane.", _RUN),
    MetricSpec(
        "ragweld_train_surface_loss",
        "gauge",
        "Measured loss on the probe batch at a grid point of the plane of the run's kept snapshots; x and y say where.",
        ("run_id", "x", "y"),
    ),
    MetricSpec(
        "ragweld_train_surface_share",
        "gauge",
        "Share of the squared distances from the start that the surface's plane holds.",
        _RUN,
    ),
    MetricSpec(
        "ragweld_train_surface_off_plane", "gauge", "Distance of the latest true point from the surface's plane.", _RUN
    ),
    MetricSpec(
        "ragweld_train_path_loss",
        "gauge",
        "Measured loss on the probe batch where the run was after a step; x and y say where on the surface's plane.",
        ("run_id", "step", "x", "y"),
    ),
    MetricSpec(
        "ragweld_train_path_mark",
        "gauge",
        "Measured loss at the points of that path that are marked: start, now, and the one nearest to the best step.",
        ("run_id", "mark", "step", "x", "y"),
    ),
    MetricSpec("ragweld_train_promotions_total", "counter", "Gate decisions, by verdict.", ("verdict",)),
)
