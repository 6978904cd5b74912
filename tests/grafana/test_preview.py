"""The dashboards against Grafana's own npm packages: types, what its transformations make of real answers, pictures.

Needs Node 20; the first run installs the locked packages (under a minute). A picture is a preview, not Grafana.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from grafana.preview import Page, npm, pictures, served
from grafana.render import DASHBOARDS, rendered
from tests.grafana.exporter import BEST_STEP, RUN_ID
from tests.grafana.test_real_prometheus import DEADLINE_S, SCRAPES, exporter
from tests.prometheus_server import PrometheusServer, prometheus
from tests.requirements_of_machine import need_chromium, need_node

Seen = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    with ExitStack() as stack:
        targets = {f"ragweld-{table}": stack.enter_context(exporter(table)) for table in ("trainer", "gateway")}
        running = stack.enter_context(prometheus(targets, tmp_path_factory.mktemp("prometheus")))
        running.wait_for(f"count_over_time(ragweld_train_step[5m]) >= {SCRAPES}", DEADLINE_S)
        yield running


@pytest.fixture(scope="module")
def seen(server: PrometheusServer) -> Seen:
    """What Grafana's own code makes of every panel's answers, by dashboard and the panel's title."""
    need_node()
    npm.built()
    return {name: _seen(server, name) for name in DASHBOARDS}


def _seen(server: PrometheusServer, name: str) -> dict[str, dict[str, Any]]:
    now = time.time()
    asked = {
        "dashboard": json.loads(rendered(name)),
        "url": f"http://{server.address}",
        "variables": {"run_id": RUN_ID, "instance": ".*"},
        "fromS": now - 60,
        "toS": now,
    }
    return {one["title"]: one for one in json.loads(npm.run("node", "dist/frames.mjs", stdin=json.dumps(asked)))}


def test_the_lock_names_no_place_to_fetch_from() -> None:
    lock = json.loads((npm.ROOT / "package-lock.json").read_bytes())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
    assert [name for name, package in lock["packages"].items() if name and "integrity" not in package] == []
    assert "registry" not in (npm.ROOT / ".npmrc").read_text().replace("omit-lockfile-registry-resolved", "")


@pytest.mark.slow
def test_grafanas_schema_accepts_every_dashboard() -> None:
    need_node()
    npm.built()
    npm.run("npm", "run", "types")


@pytest.mark.slow
@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_gets_frames_and_every_override_is_one_that_is_applied(name: str, seen: Seen) -> None:
    for title, panel in seen[name].items():
        assert panel["unknown"] == [], title
        assert panel["missing"] == [], title
        assert panel["frames"], title
        assert all(frame["length"] > 0 for frame in panel["frames"]), title


@pytest.mark.slow
def test_tables_have_their_columns_in_order_under_their_names(seen: Seen) -> None:
    tables = {
        title: [field["name"] for field in panel["frames"][0]["fields"]]
        for name in DASHBOARDS
        for title, panel in seen[name].items()
        if panel["type"] == "table"
    }
    assert tables == {
        "Runs": ["run", "base", "status", "steps", "planned", "best eval loss"],
        "Active adapters": ["base", "adapter", "device", "version"],
        "Upstreams": ["upstream", "health", "breaker", "in flight", "last look", "first content"],
        "Gateways": ["gateway", "engine", "base", "active adapter", "version", "device"],
        "Trainers": ["trainer", "state", "run", "step"],
    }


@pytest.mark.slow
def test_the_descent_draws_surface_path_and_marks_from_their_own_frames(seen: Seen) -> None:
    panel = seen["learning"]["Gradient descent"]
    series = {one["name"]: one for one in panel["series"]}
    assert list(series) == [
        "loss measured on the plane",
        "path",
        "a step, coloured by its loss",
        "start",
        "best",
        "promoted",
        "now",
    ]
    grid = series["loss measured on the plane"]
    assert sorted(zip(grid["x"], grid["y"], strict=True)) == [(0, -0.25), (0, 0), (0.5, -0.25), (0.5, 0)]
    assert all(isinstance(loss, float) for loss in (*grid["color"], *series["a step, coloured by its loss"]["color"]))
    assert series["path"]["x"] == series["a step, coloured by its loss"]["x"]
    steps = [field for field in panel["frames"][0]["fields"] if field["name"] == "step"]
    assert [(field["type"], field["last"]) for field in steps] == [("number", BEST_STEP)]


@pytest.mark.slow
def test_losses_by_step_stand_at_the_step_of_their_scrape(seen: Seen) -> None:
    series = {one["name"]: one for one in seen["learning"]["Loss by step"]["series"]}
    assert list(series) == ["train", "probe", "eval"]
    known = [step for step in series["train"]["x"] if step is not None]
    assert len(known) >= SCRAPES
    assert known == sorted(known)


@pytest.mark.slow
def test_previews_are_drawn_in_both_themes(server: PrometheusServer, tmp_path: Path) -> None:
    need_node()
    need_chromium()
    with served(f"http://{server.address}") as page:
        taken = pictures.take(page, DASHBOARDS, tmp_path, run_id=RUN_ID)
    assert sorted(path.name for path in taken) == sorted(
        f"preview-{name}-{theme}.png" for name in DASHBOARDS for theme in ("dark", "light")
    )
    assert {path.name: path.stat().st_size for path in taken if path.stat().st_size < 50_000} == {}


def test_an_address_says_what_is_drawn() -> None:
    address = Page("http://127.0.0.1:1").address("learning", theme="light", start_s=1.5, refresh_s=2, run_id="r")
    assert address == "http://127.0.0.1:1/?dashboard=learning&theme=light&from=1.5&refresh=2&var-run_id=r"
