"""A real Prometheus scrapes real exporters built from the two tables; every query of every dashboard has an answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from grafana.queries import expressions
from grafana.render import DASHBOARDS, rendered
from tests.grafana.exporter import RUN_ID
from tests.grafana.selectors import selectors_of_alerts
from tests.prometheus_server import PrometheusServer, prometheus

ROOT = Path(__file__).parents[2]
SCRAPES = 8
DEADLINE_S = 180.0


@contextmanager
def exporter(table: str) -> Iterator[str]:
    """A running exporter's host:port."""
    command = [sys.executable, "-m", "tests.grafana.exporter", table]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    with ExitStack() as stack:
        targets = {f"ragweld-{table}": stack.enter_context(exporter(table)) for table in ("trainer", "gateway")}
        running = stack.enter_context(prometheus(targets, tmp_path_factory.mktemp("prometheus")))
        for metric in ("ragweld_train_step", "ragweld_engine_rows"):
            running.wait_for(f"count_over_time({metric}[5m]) >= {SCRAPES}", DEADLINE_S)
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_query_of_the_dashboard_returns_numbers(name: str, server: PrometheusServer) -> None:
    queries = expressions(json.loads(rendered(name)), {"run_id": RUN_ID, "instance": ".*", "__range": "60s"})
    empty = [query for query in queries if not server.numbers(query.expr, instant=query.instant)]
    assert empty == []


@pytest.mark.slow
def test_every_series_that_an_alert_looks_at_is_there(server: PrometheusServer) -> None:
    assert [selector for selector in selectors_of_alerts() if not server.query(selector)] == []


@pytest.mark.slow
def test_the_points_of_the_path_share_their_times(server: PrometheusServer) -> None:
    """The descent joins x, y and loss by time: one scrape is one point, so no point may lack a part."""
    queries = expressions(json.loads(rendered("learning")), {"run_id": RUN_ID})
    now_s = server.query("vector(time())")[0].points[0][1]
    parts = [query for query in queries if query.panel == "Path, live" and not query.instant]
    times = [
        [at_s for series in server.query_range(query.expr, now_s - 30, now_s, 1.0) for at_s, _ in series.points]
        for query in parts
    ]
    assert len(parts) == 4
    assert len(times[0]) >= SCRAPES
    assert all(one == times[0] for one in times)


@pytest.mark.slow
def test_a_counter_that_counted_nothing_shows_none_as_zero(server: PrometheusServer) -> None:
    (nothing,) = server.query(_fallbacks().replace("ragweld_fallbacks_total", "no_such_total"))
    assert (nothing.labels, nothing.points[0][1]) == ({"reason": "none"}, 0.0)


@pytest.mark.slow
def test_a_counter_of_a_process_that_is_not_scraped_shows_nothing(server: PrometheusServer) -> None:
    gone = _fallbacks().replace("ragweld_fallbacks_total", "no_such_total").replace("ragweld_engine_ready", "no_such")
    assert server.query(gone) == []


def _fallbacks() -> str:
    queries = expressions(json.loads(rendered("learning")), {"run_id": "any"})
    (query,) = [query for query in queries if query.panel == "Fallbacks"]
    return query.expr
