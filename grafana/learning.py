"""The Learning dashboard: one run as it descends, and the gateway that will answer with its result.

Reads top to bottom: the run, the descent, the curves, the gateway. Every number shown was measured by the process that
exports it. Counters of rare events are shown whole, since a rate misses the first one; when there is none yet but the
process is scraped, the panel says 0 for "none", and when the process is not scraped it stays empty.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueGraphMode
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DataTransformerConfig,
    DynamicConfigValue,
    VariableRefresh,
    VariableSort,
)

from grafana.descent import LOSS_COLOURS, descent
from grafana.gateway_panels import gateway_section
from grafana.panels import (
    DATASOURCE,
    Box,
    Section,
    assembled,
    colour,
    counted,
    dashed,
    graph,
    latest,
    listing,
    log_scale,
    named_values,
    over_time,
    right_axis,
    rows,
    stepped,
    value,
    words,
)

RUN = '{run_id="$run_id"}'
TRAINER_ALIVE = "max(ragweld_train_busy)"
LOSS_AXIS = "nats per supervised token"


def learning() -> Dashboard:
    """The whole dashboard."""
    builder = (
        dashboard_builders.Dashboard("ragweld: Learning")
        .uid("ragweld-learning")
        .description("A run as it learns: its losses, its way through parameter space, and the gateway.")
        .tags(["ragweld"])
        .refresh("5s")
        .time("now-15m", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(_run_variable())
    )
    return assembled(builder, (_run(), _descent(), _curves(), gateway_section()))


def _run_variable() -> dashboard_builders.QueryVariable:
    query = "label_values(ragweld_train_step, run_id)"
    return (
        dashboard_builders.QueryVariable("run_id")
        .label("Run")
        .description("The current run and the last few; ids end with the start time, so a scope has its newest first.")
        .datasource(DATASOURCE)
        .query({"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"})
        .definition(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_DESC)
    )


def _run() -> Section:
    return Section(
        "Run $run_id",
        (
            (Box(0, 0, 3, 4), _trainer()),
            (Box(3, 0, 7, 4), _progress()),
            (Box(10, 0, 4, 4), _eval_loss()),
            (Box(14, 0, 4, 4), _best_eval_loss()),
            (Box(18, 0, 6, 4), _gate()),
            (Box(0, 4, 16, 6), _runs()),
            (Box(16, 4, 8, 6), _ended_runs()),
        ),
    )


def _descent() -> Section:
    return Section(
        "Descent",
        (
            (Box(0, 0, 17, 15), descent(RUN)),
            (Box(17, 0, 7, 5), _share()),
            (Box(17, 5, 7, 5), _off_plane()),
            (Box(17, 10, 7, 5), _probe_loss()),
        ),
    )


def _curves() -> Section:
    return Section(
        "Curves",
        (
            (Box(0, 0, 16, 10), _loss()),
            (Box(16, 0, 8, 10), _learning_rate()),
            (Box(0, 10, 8, 9), _norms()),
            (Box(8, 10, 8, 9), _speed()),
            (Box(16, 10, 8, 9), _memory()),
        ),
    )


def _trainer() -> stat.Panel:
    return (
        value(
            "Trainer",
            "Whether the trainer is at work on a run now, as it says itself. Empty when nobody scrapes it.",
            "none",
            latest(TRAINER_ALIVE, "trainer"),
        )
        .mappings([words(("idle", "blue"), ("training", "green"))])
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.NONE)
    )


def _progress() -> stat.Panel:
    return named_values(
        "Steps",
        "Optimizer steps done, steps of the whole run, and passes over the training rows, at the latest scrape.",
        latest(_last(f"ragweld_train_step{RUN}"), "done"),
        latest(_last(f"ragweld_train_steps_planned{RUN}"), "planned"),
        latest(_last(f"ragweld_train_epoch{RUN}"), "epochs"),
    ).override_by_name("epochs", [DynamicConfigValue("decimals", 2)])


def _eval_loss() -> stat.Panel:
    return value(
        "Eval loss",
        "Latest mean loss over all held-out rows, none of which is ever trained on. In nats per supervised token.",
        "none",
        over_time(f"ragweld_train_eval_loss{RUN}", "eval"),
    ).decimals(4)


def _best_eval_loss() -> stat.Panel:
    return value(
        "Best eval loss",
        "Lowest loss on all held-out rows so far; the parameters of that step are the run's result.",
        "none",
        over_time(f"ragweld_train_best_eval_loss{RUN}", "best"),
    ).decimals(4)


def _gate() -> stat.Panel:
    return named_values(
        "Gate decisions",
        "Promotions asked for since the trainer started, by the gate's verdict; measured on held-out rows.",
        counted("ragweld_train_promotions_total", "verdict", TRAINER_ALIVE),
    )


def _runs() -> table.Panel:
    names = {
        "run_id": "run",
        "base": "base",
        "status": "status",
        "Value #B": "steps",
        "Value #C": "planned",
        "Value #D": "best eval loss",
    }
    return listing(
        "Runs",
        "The current run and the last few that the trainer still exports, with their status now.",
        rows("max by (run_id, base, status) (ragweld_train_run_info)"),
        rows("max by (run_id) (ragweld_train_step)"),
        rows("max by (run_id) (ragweld_train_steps_planned)"),
        rows("max by (run_id) (ragweld_train_best_eval_loss)"),
    ).transformations(
        [
            DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(names)}}),
            DataTransformerConfig(id_val="joinByField", options={"byField": "run_id", "mode": "outer"}),
            DataTransformerConfig(
                id_val="organize",
                options={
                    "indexByName": {field: index for index, field in enumerate(names)},
                    "renameByName": names,
                    "excludeByName": {},
                },
            ),
        ]
    )


def _ended_runs() -> stat.Panel:
    return named_values(
        "Ended runs",
        "Runs ended since the trainer started, by their final status.",
        counted("ragweld_train_runs_total", "status", TRAINER_ALIVE),
    )


def _share() -> stat.Panel:
    return (
        value(
            "Explained by the plane",
            "Share of the squared displacement that the plane holds. At 100 % the picture is the whole truth; "
            "the rest of the motion happens where the picture cannot show it.",
            "percentunit",
            over_time(f"ragweld_train_projection_share{RUN}", "share"),
        )
        .decimals(1)
        .min(0)
        .max(1)
    )


def _off_plane() -> stat.Panel:
    return value(
        "Distance off the plane",
        "L2 distance of the true point (its sketch) from the plane it is drawn on, in the same units as the axes.",
        "none",
        over_time(f"ragweld_train_projection_off_plane{RUN}", "off the plane"),
    ).decimals(4)


def _probe_loss() -> stat.Panel:
    return (
        value(
            "Probe loss",
            "Loss on the run's fixed probe batch at the current point: the colour of the path, blue low, red high.",
            "none",
            over_time(f"ragweld_train_probe_loss{RUN}", "probe"),
        )
        .decimals(4)
        .color_scheme(dashboard_builders.FieldColor().mode(LOSS_COLOURS))
    )


def _loss() -> timeseries.Panel:
    return (
        graph(
            "Loss",
            "Mean cross-entropy. train: the batch of the step, so it is noisy; probe: one fixed batch, so only the "
            "parameters move it; eval: all held-out rows, never trained on; best: the lowest eval so far.",
            "none",
            LOSS_AXIS,
            over_time(f"ragweld_train_loss{RUN}", "train"),
            over_time(f"ragweld_train_probe_loss{RUN}", "probe"),
            over_time(f"ragweld_train_eval_loss{RUN}", "eval"),
            over_time(f"ragweld_train_best_eval_loss{RUN}", "best"),
        )
        .decimals(3)
        .axis_soft_min(0)
        .override_by_name("train", [colour("light-blue"), DynamicConfigValue("custom.lineWidth", 1)])
        .override_by_name("probe", [colour("purple")])
        .override_by_name("eval", [colour("orange"), stepped()])
        .override_by_name("best", [colour("green"), stepped(), dashed()])
    )


def _learning_rate() -> timeseries.Panel:
    return graph(
        "Learning rate",
        "The scheduler's own value at the step, not a formula drawn a second time.",
        "sci",
        "learning rate",
        over_time(f"ragweld_train_learning_rate{RUN}", "learning rate"),
    )


def _norms() -> timeseries.Panel:
    return graph(
        "Norms",
        "L2 norms over all trainable parameters, on a logarithmic axis. gradient: before clipping; parameters: their "
        "size; update: the step's change, measured as the difference before and after.",
        "none",
        "L2 norm (log)",
        over_time(f"ragweld_train_grad_norm{RUN}", "gradient"),
        over_time(f"ragweld_train_param_norm{RUN}", "parameters"),
        over_time(f"ragweld_train_update_norm{RUN}", "update"),
    ).scale_distribution(log_scale())


def _speed() -> timeseries.Panel:
    return (
        graph(
            "Speed",
            "Left: tokens of the step, context and supervised, divided by its wall time. Right: that wall time.",
            "suffix: tokens/s",
            "tokens per second",
            over_time(f"ragweld_train_tokens_per_second{RUN}", "tokens per second"),
            over_time(f"ragweld_train_step_seconds{RUN}", "time of a step"),
        )
        .axis_soft_min(0)
        .override_by_name("time of a step", right_axis("time of a step", "s"))
    )


def _memory() -> timeseries.Panel:
    return graph(
        "Memory",
        "MLX memory of the trainer at its peak in this run: arrays, not the whole process.",
        "bytes",
        "peak memory",
        over_time(f"ragweld_train_memory_bytes{RUN}", "peak"),
    ).axis_soft_min(0)


def _last(series: str) -> str:
    """The series' last value in the dashboard's time, also after its run left the trainer's list."""
    return f"last_over_time({series}[$__range])"
