"""The Learning dashboard: one run as it descends, and who will answer with its result.

Reads top to bottom: the run, the descent, the curves, who answers. Every number shown was measured by the process that
exports it. Counters of rare events are shown whole, since a rate misses the first one; when there is none yet but the
process is scraped, the panel says 0 for "none", and when the process is not scraped it stays empty.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import stat, table
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueGraphMode
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DynamicConfigValue,
    VariableSort,
)

from grafana.boards import STUDIO_RUN, board, of_labels, with_studio
from grafana.curves import curves
from grafana.descent import live_path
from grafana.gateway_panels import answering_section
from grafana.layout import Box, Section, assembled
from grafana.panels import colour, counted, joined, latest, listing, named_values, over_time, rows, value, words
from grafana.surface import gradient_descent
from grafana.xy import HIGHEST, LOSS_COLOURS, LOWEST

RUN = '{run_id="$run_id"}'
TRAINER_ALIVE = "max(ragweld_train_busy)"


def learning() -> Dashboard:
    """The whole dashboard."""
    described = "A run as it learns: its losses, its way through parameter space, and who answers with its result."
    builder = board("Learning", "ragweld-learning", described).with_variable(
        of_labels("run_id", "Run", "ragweld_train_step", "run_id", VariableSort.ALPHABETICAL_DESC).description(
            "The current run and the last few; ids end with the start time, so a scope has its newest first."
        )
    )
    return assembled(with_studio(builder), (_run(), _descent(), curves(RUN), answering_section()))


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
            (Box(0, 0, 15, 17), gradient_descent("$run_id")),
            (Box(15, 0, 9, 8), live_path(RUN)),
            (Box(15, 8, 5, 3), _share("live path", f"ragweld_train_projection_share{RUN}")),
            (Box(20, 8, 4, 3), _off_plane("live path", f"ragweld_train_projection_off_plane{RUN}")),
            (Box(15, 11, 5, 3), _share("surface", f"ragweld_train_surface_share{RUN}")),
            (Box(20, 11, 4, 3), _off_plane("surface", f"ragweld_train_surface_off_plane{RUN}")),
            (Box(15, 14, 5, 3), _colour_scale()),
            (Box(20, 14, 4, 3), _probe_loss()),
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
    steps = named_values(
        "Steps",
        "Optimizer steps done, steps of the whole run, the step with the lowest loss on held-out rows, passes over the "
        "training rows, steps that changed nothing because their loss or gradient was not usable, and the time left at "
        "the latest pace; at the latest scrape.",
        latest(_last(f"ragweld_train_step{RUN}"), "done"),
        latest(_last(f"ragweld_train_steps_planned{RUN}"), "planned"),
        latest(_last(f"ragweld_train_best_step{RUN}"), "best"),
        latest(_last(f"ragweld_train_epoch{RUN}"), "epochs"),
        latest(_last(f"ragweld_train_skipped_steps{RUN}"), "skipped"),
        latest(_last(f"ragweld_train_eta_seconds{RUN}"), "left"),
    )
    return steps.override_by_name("epochs", [DynamicConfigValue("decimals", 2)]).override_by_name(
        "left", [DynamicConfigValue("unit", "s")]
    )


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
    link = {"title": "Open in the Studio", "url": f"{STUDIO_RUN}${{__value.raw}}", "targetBlank": True}
    return joined(
        listing(
            "Runs",
            "The current run and the last few that the trainer still exports, with their status now; a run's id leads "
            "to its page in the Studio.",
            rows("max by (run_id, base, status) (ragweld_train_run_info)"),
            rows("max by (run_id) (ragweld_train_step)"),
            rows("max by (run_id) (ragweld_train_steps_planned)"),
            rows("max by (run_id) (ragweld_train_best_eval_loss)"),
        ),
        "run_id",
        names,
    ).override_by_name("run", [DynamicConfigValue("links", [link]), DynamicConfigValue("custom.width", 250)])


def _ended_runs() -> stat.Panel:
    return named_values(
        "Ended runs",
        "Runs ended since the trainer started, by their final status.",
        counted("ragweld_train_runs_total", "status", TRAINER_ALIVE),
    )


def _share(picture: str, series: str) -> stat.Panel:
    return (
        value(
            f"Explained by the plane: {picture}",
            f"Share of the squared displacement that the plane of the {picture} holds. At 100 % the picture is the "
            "whole truth; the rest of the motion is where it cannot show it. A pure random walk has a high one too.",
            "percentunit",
            over_time(series, "share"),
        )
        .decimals(1)
        .min(0)
        .max(1)
    )


def _off_plane(picture: str, series: str) -> stat.Panel:
    return value(
        f"Off the plane: {picture}",
        f"L2 distance of the latest true point from the plane of the {picture}, in the units of its axes.",
        "none",
        over_time(series, "off the plane"),
    ).decimals(3)


def _colour_scale() -> stat.Panel:
    surface, path = f"ragweld_train_surface_loss{RUN}", f"ragweld_train_path_loss{RUN}"
    return (
        named_values(
            "Scale of colour",
            "The ends of the scale of the gradient descent beside: the lowest and the highest loss measured on the "
            "plane or on the path.",
            latest(f"min({surface} or {path})", "lowest"),
            latest(f"max({surface} or {path})", "highest"),
        )
        .decimals(3)
        .override_by_name("lowest", [colour(LOWEST)])
        .override_by_name("highest", [colour(HIGHEST)])
    )


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


def _last(series: str) -> str:
    """The series' last value in the dashboard's time, also after its run left the trainer's list."""
    return f"last_over_time({series}[$__range])"
