"""Expressions come out of a dashboard as Grafana would send them."""

from __future__ import annotations

import pytest

from grafana.queries import PanelQuery, UnknownVariable, expressions, metric_names


def _dashboard(expr: str) -> dict[str, object]:
    inner = {"title": "inner", "targets": [{"refId": "A", "expr": expr, "instant": True}]}
    return {"panels": [{"title": "row", "type": "row", "panels": [inner]}, {"title": "text"}]}


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ('a{run_id="$run_id"}', 'a{run_id="r1"}'),
        ('a{run_id="${run_id}"}', 'a{run_id="r1"}'),
        ('a{run_id=~"${run_id:regex}"}', 'a{run_id=~"r1"}'),
        ("rate(a[$__rate_interval])", "rate(a[8s])"),
        ("last_over_time(a[$__range])", "last_over_time(a[60s])"),
    ],
)
def test_variables_are_filled_in_and_ours_win_over_the_built_in(written: str, sent: str) -> None:
    found = expressions(_dashboard(written), {"run_id": "r1", "__range": "60s"})
    assert found == [PanelQuery("inner", "A", sent, instant=True)]


def test_a_variable_without_a_value_is_an_error() -> None:
    with pytest.raises(UnknownVariable, match="run_id"):
        expressions(_dashboard('a{run_id="$run_id"}'), {})


@pytest.mark.parametrize(
    ("expr", "names"),
    [
        ('sum by (gen_ai_response_model) (rate(gen_ai_x_count{gen_ai_y="ragweld_z"}[8s]))', {"gen_ai_x_count"}),
        ("label_values(ragweld_train_step, run_id)", {"ragweld_train_step"}),
        ("ragweld_a / on(ragweld_label) ragweld_b:rate", {"ragweld_a", "ragweld_b:rate"}),
    ],
)
def test_metric_names_are_not_label_names(expr: str, names: set[str]) -> None:
    assert metric_names(expr) == names
