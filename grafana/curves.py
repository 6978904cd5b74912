"""The curves of one run: losses, learning rate, norms, speed and memory against time, and losses against steps."""

from __future__ import annotations

from grafana_foundation_sdk.builders import timeseries, xychart
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue
from grafana_foundation_sdk.models.xychart import SeriesMapping, XYShowMode

from grafana.layout import Box, Section
from grafana.panels import DATASOURCE, colour, dashed, graph, legend, log_scale, over_time, right_axis, stepped
from grafana.xy import axis, dots, series, transformation

LOSS_AXIS = "nats per supervised token"


def curves(run: str) -> Section:
    """The section for the series selected by the label matcher `run`."""
    return Section(
        "Curves",
        (
            (Box(0, 0, 12, 10), _loss(run)),
            (Box(12, 0, 12, 10), _loss_by_step(run)),
            (Box(0, 10, 6, 9), _learning_rate(run)),
            (Box(6, 10, 6, 9), _norms(run)),
            (Box(12, 10, 6, 9), _speed(run)),
            (Box(18, 10, 6, 9), _memory(run)),
        ),
    )


def _loss(run: str) -> timeseries.Panel:
    return (
        graph(
            "Loss",
            "Mean cross-entropy. train: the batch of the step, so it is noisy; probe: one fixed batch, so only the "
            "parameters move it; eval: all held-out rows, never trained on; best: the lowest eval so far.",
            "none",
            LOSS_AXIS,
            over_time(f"ragweld_train_loss{run}", "train"),
            over_time(f"ragweld_train_probe_loss{run}", "probe"),
            over_time(f"ragweld_train_eval_loss{run}", "eval"),
            over_time(f"ragweld_train_best_eval_loss{run}", "best"),
        )
        .decimals(3)
        .axis_soft_min(0)
        .override_by_name("train", [colour("light-blue"), DynamicConfigValue("custom.lineWidth", 1)])
        .override_by_name("probe", [colour("purple")])
        .override_by_name("eval", [colour("orange"), stepped()])
        .override_by_name("best", [colour("green"), stepped(), dashed()])
    )


def _loss_by_step(run: str) -> xychart.Panel:
    """Against steps, so that two runs compare whatever their machines did meanwhile."""
    panel = (
        xychart.Panel()
        .title("Loss by step")
        .description(
            "The same losses against optimizer steps: a point a scrape, each with the step that it belongs to. "
            "Steps between two scrapes are in the run store; `ragweld metrics backfill` brings them here."
        )
        .datasource(DATASOURCE)
    )
    for ref_id, (name, metric) in zip("ABCD", _BY_STEP.items(), strict=True):
        query = over_time(f"{metric}{run}", name).ref_id(ref_id).datasource(DATASOURCE)
        panel.with_target(query)
    for name, (colour_name, size) in _LOOKS.items():
        panel.override_by_name(name, [axis(LOSS_AXIS), colour(colour_name), *dots(size)])
    return (
        panel.show(XYShowMode.POINTS)
        .unit("none")
        .decimals(3)
        .legend(legend())
        .override_by_name("step", [axis("optimizer step"), DynamicConfigValue("decimals", 0)])
        .transformations([transformation("joinByField", {"byField": "Time", "mode": "outer"})])
        .mapping(SeriesMapping.MANUAL)
        .series([series(name, 0, "step", name) for name in _LOOKS])
    )


_BY_STEP = {
    "step": "ragweld_train_step",
    "train": "ragweld_train_loss",
    "probe": "ragweld_train_probe_loss",
    "eval": "ragweld_train_eval_loss",
}
_LOOKS = {"train": ("light-blue", 3), "probe": ("purple", 5), "eval": ("orange", 4)}


def _learning_rate(run: str) -> timeseries.Panel:
    return graph(
        "Learning rate",
        "The scheduler's own value at the step, not a formula drawn a second time.",
        "sci",
        "learning rate",
        over_time(f"ragweld_train_learning_rate{run}", "learning rate"),
    )


def _norms(run: str) -> timeseries.Panel:
    return graph(
        "Norms",
        "L2 norms over all trainable parameters, on a logarithmic axis. gradient: before clipping; parameters: their "
        "size; update: the step's change, measured as the difference before and after.",
        "none",
        "L2 norm (log)",
        over_time(f"ragweld_train_grad_norm{run}", "gradient"),
        over_time(f"ragweld_train_param_norm{run}", "parameters"),
        over_time(f"ragweld_train_update_norm{run}", "update"),
    ).scale_distribution(log_scale())


def _speed(run: str) -> timeseries.Panel:
    return (
        graph(
            "Speed",
            "Left: tokens of the step, context and supervised, divided by its wall time. Right: that wall time.",
            "suffix:tokens/s",
            "tokens per second",
            over_time(f"ragweld_train_tokens_per_second{run}", "tokens per second"),
            over_time(f"ragweld_train_step_seconds{run}", "time of a step"),
        )
        .axis_soft_min(0)
        .override_by_name("time of a step", right_axis("time of a step", "s"))
    )


def _memory(run: str) -> timeseries.Panel:
    return graph(
        "Memory",
        "MLX memory of the trainer, its arrays: at its peak in this run, and in use after the step. process: the whole "
        "process in RAM, as the system counts it.",
        "bytes",
        "memory",
        over_time(f"ragweld_train_memory_bytes{run}", "peak"),
        over_time(f"ragweld_train_memory_active_bytes{run}", "in use"),
        over_time(f"ragweld_train_resident_bytes{run}", "process"),
    ).axis_soft_min(0)
