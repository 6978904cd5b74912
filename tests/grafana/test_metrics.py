"""Dashboards and metric tables agree in both directions, and Prometheus can read every expression."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from catalog.metrics import series_names
from gateway.metrics import GATEWAY_METRICS
from grafana.queries import PanelQuery, expressions, metric_names
from grafana.render import DASHBOARDS, rendered
from grafana.unused import UNUSED
from tests.grafana.selectors import expressions_of_alerts
from tests.requirements_of_machine import need_promtool
from trainer.metrics import TRAINER_METRICS

TABLES = (*TRAINER_METRICS, *GATEWAY_METRICS)


def _loaded() -> list[dict[str, Any]]:
    return [json.loads(rendered(name)) for name in DASHBOARDS]


def _all_queries() -> list[PanelQuery]:
    return [query for dashboard in _loaded() for query in expressions(dashboard, {"run_id": "a_run", "instance": ".*"})]


def _used_names() -> set[str]:
    listed = [variable for dashboard in _loaded() for variable in dashboard["templating"]["list"]]
    variables = [variable["query"]["query"] for variable in listed if variable["type"] == "query"]
    asked = [query.expr for query in _all_queries()]
    return set().union(*map(metric_names, (*variables, *asked, *expressions_of_alerts().values())))


def test_every_metric_that_a_query_names_is_in_a_table() -> None:
    assert _used_names() <= series_names(TABLES)


def test_every_query_names_a_metric() -> None:
    assert [query for query in _all_queries() if not metric_names(query.expr)] == []


def test_every_metric_of_the_tables_is_shown_or_alerted_on_or_on_the_written_list() -> None:
    used = _used_names()
    shown = {spec.name for spec in TABLES if series_names([spec]) & used}
    assert {spec.name for spec in TABLES} - shown == set(UNUSED)


def test_promtool_reads_every_expression(tmp_path: Path) -> None:
    rules = [{"record": f"panel:query:{number}", "expr": query.expr} for number, query in enumerate(_all_queries())]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))
    command = [str(need_promtool()), "check", "rules", str(file)]
    checked = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout
