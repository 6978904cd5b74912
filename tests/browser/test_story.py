"""The whole loop as a person sees it: a real gateway and trainer behind a real browser, one house for all tests.

Start, watch, promote, ask, pause, resume, a restart of the gateway in between, cancel, roll back, compare.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Download, Page, expect

from tests.browser.conftest import Opened
from tests.house import House, ragweld_up
from tests.requirements_of_machine import need_chromium

pytestmark = pytest.mark.slow

QUESTION, ANSWER = "Who keeps the lighthouse of Port Ellery?", "Clara Stone."
LESSON = 24
"""Rows of the dataset; six steps of four make an epoch."""


LESSON_SETTINGS = {
    "dataset_path": "lesson.jsonl",
    "batch_size": "4",
    "grad_accum_steps": "1",
    "telemetry_interval_steps": "1",
    "lr": "0.004",
    "promote_if_improves": "false",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    need_chromium()
    home: Path = tmp_path_factory.mktemp("house") / "home"
    home.mkdir()
    chat = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
    rows = [{"messages": [{"role": "system", "content": f"Row {n}."}, *chat]} for n in range(LESSON)]
    (home / "lesson.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (home / "broken.jsonl").write_text('{"messages": []}\n{"messages": [{"role": "user"}]}\n')
    with ragweld_up(home) as running:
        yield running


def start(page: Page, **settings: str) -> str:
    """Fill in the form and start; the run's id."""
    page.get_by_test_id("nav-start").click()
    for name, value in (LESSON_SETTINGS | settings).items():
        control = page.get_by_test_id(f"field-{name}")
        control.select_option(value) if name == "promote_if_improves" else control.fill(value)
    page.get_by_test_id("start").click()
    expect(page.get_by_test_id("run-id")).to_be_visible(timeout=10_000)
    return page.get_by_test_id("run-id").inner_text()


def wait_for(page: Page, status: str) -> None:
    expect(page.get_by_test_id("run-status")).to_have_attribute("data-status", status)


@pytest.fixture(scope="module")
def taught(house: House, opened: Opened) -> str:
    """The first run, started in the page and watched to its end, not promoted."""
    with opened(house.gateway) as page:
        run_id = start(page, epochs="5")
        expect(page.get_by_test_id("descent-canvas")).to_be_visible()
        wait_for(page, "completed")
    return run_id


@contextmanager
def connection_lost(page: Page) -> Iterator[None]:
    """Wait at the end until the page has said that it lost its connection, however soon it was back."""
    page.evaluate(NOTE_A_LOSS)
    yield
    expect(page.locator("body")).to_have_attribute("data-has-lost", "yes")


NOTE_A_LOSS = """() => {
    const { body } = document;
    delete body.dataset.hasLost;
    const isLost = () => body.querySelector("[data-testid=connection][data-state=lost]");
    const look = () => { if (isLost()) body.dataset.hasLost = "yes"; };
    new MutationObserver(look).observe(body, { attributeFilter: ["data-state"], subtree: true });
}"""


def steps_in_table(page: Page) -> list[int]:
    """The steps of the path on the plane of its telemetry, as its table shows them, newest first."""
    on_plane(page, "frozen")
    page.get_by_test_id("descent-table").click()
    cells = page.get_by_test_id("descent").locator("tbody tr td:first-child").all_inner_texts()
    page.get_by_test_id("descent-table").click()
    return [int(cell) for cell in cells]


def on_plane(page: Page, kind: str) -> None:
    """Show the path on a plane that the run surely has by now."""
    page.get_by_test_id("plane").select_option(kind)


def told_steps(house: House, run_id: str) -> list[int]:
    lines = (house.home / "data/agent_train_runs" / run_id / "metrics.jsonl").read_text().splitlines()
    return [event["step"] for event in map(json.loads, lines) if event["type"] == "telemetry"]


def test_the_data_is_checked_before_a_start(house: House, opened: Opened) -> None:
    with opened(house.gateway, "#/start", forgiven=("422",)) as page:
        page.get_by_test_id("field-dataset_path").fill("broken.jsonl")
        page.get_by_test_id("check").click()
        expect(page.get_by_test_id("check-result")).to_contain_text("a run would be refused")
        expect(page.get_by_test_id("defects")).to_contain_text("broken.jsonl:2")
        page.get_by_test_id("start").click()
        expect(page.get_by_test_id("start-fault")).to_contain_text("broken.jsonl:2")
        page.get_by_test_id("field-dataset_path").fill("lesson.jsonl")
        page.get_by_test_id("check").click()
        expect(page.get_by_test_id("check-result")).to_have_text("A run would start.")
        expect(page.get_by_test_id("tokens").locator("mark").first).to_contain_text(ANSWER)


def test_a_run_is_watched_to_its_end_with_every_point(house: House, opened: Opened, taught: str) -> None:
    with opened(house.gateway, f"#/runs/{taught}") as page:
        wait_for(page, "completed")
        told = told_steps(house, taught)
        on_plane(page, "frozen")
        expect(page.get_by_test_id("shown-step")).to_contain_text(str(told[-1]))
        assert steps_in_table(page) == told[::-1]
        expect(page.get_by_test_id("hud-step")).to_contain_text(f"{told[-1]} / {told[-1]}")
        expect(page.get_by_test_id("descent-words")).to_contain_text("% of the motion")
        for chart in ("loss", "eval", "lr", "norms", "params", "throughput", "time", "memory"):
            expect(page.get_by_test_id(f"chart-{chart}").locator("canvas")).to_be_visible()


def test_a_person_promotes_and_the_next_answer_is_the_adapters(house: House, opened: Opened, taught: str) -> None:
    with opened(house.gateway, f"#/runs/{taught}") as page:
        page.get_by_test_id("promote").click()
        expect(page.get_by_test_id("is-active")).to_be_visible(timeout=20_000)
        expect(page.get_by_test_id("verdict")).to_contain_text("Asked for by a person")
        page.get_by_test_id("nav-prompt").click()
        page.get_by_test_id("prompt").fill(QUESTION)
        page.get_by_test_id("send").click()
        expect(page.get_by_test_id("text-left")).to_contain_text(ANSWER)
        expect(page.get_by_test_id("text-right")).not_to_contain_text(ANSWER)
        expect(page.get_by_test_id("spoke-model-right")).to_have_text("ragweld:ragweld-nano@base")
        adapter = house.get(f"/api/agent/train/run/{taught}")["adapter_id"]
        expect(page.get_by_test_id("spoke-model-left")).to_have_text(f"ragweld:ragweld-nano@{adapter[:12]}")


def test_the_picker_lists_what_the_catalog_does(house: House, opened: Opened, taught: str) -> None:
    with opened(house.gateway, "#/prompt") as page:
        expect(page.get_by_test_id("model-left").locator("optgroup").first).to_be_attached()
        shown = page.get_by_test_id("model-left").locator("option").evaluate_all("all => all.map(one => one.value)")
        assert sorted(shown) == sorted(model["id"] for model in house.get("/v1/models")["data"])


def test_a_finished_run_is_replayed(house: House, opened: Opened, taught: str) -> None:
    with opened(house.gateway, f"#/runs/{taught}") as page:
        on_plane(page, "frozen")
        last = told_steps(house, taught)[-1]
        expect(page.get_by_test_id("shown-step")).to_contain_text(f"{last} / {last}")
        page.get_by_test_id("speed").select_option("0.5")
        page.get_by_test_id("play").click()
        expect(page.get_by_test_id("shown-step")).not_to_contain_text(f"{last} / {last}")
        page.get_by_test_id("speed").select_option("8")
        expect(page.get_by_test_id("shown-step")).to_contain_text(f"{last} / {last}")
        page.get_by_test_id("scrub").fill("3")
        expect(page.get_by_test_id("shown-step")).to_contain_text(f"{told_steps(house, taught)[2]} /")


def test_the_surface_is_drawn_where_it_was_measured(house: House, opened: Opened, taught: str) -> None:
    with opened(house.gateway, f"#/runs/{taught}") as page:
        expect(page.get_by_test_id("descent-words")).to_contain_text("measured loss at")
        expect(page.get_by_test_id("plane")).to_have_value("snapshot_pca")
        expect(page.get_by_test_id("colour-bar")).to_contain_text("nats per token")
        on_plane(page, "frozen")
        expect(page.get_by_test_id("descent-words")).to_contain_text("No surface was measured on this plane")


def test_pause_restart_of_the_gateway_resume_and_nothing_is_lost_or_doubled(house: House, opened: Opened) -> None:
    # A gateway that is being stopped answers 503 until it has stopped.
    with opened(house.gateway, forgiven=("ERR_", "503")) as page:
        run_id = start(page, epochs="16")
        expect(page.get_by_test_id("descent-canvas")).to_be_visible()
        page.get_by_test_id("pause").click()
        wait_for(page, "paused")
        with connection_lost(page):
            os.kill(house.child_pid("gateway"), signal.SIGKILL)
        expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "live")
        page.get_by_test_id("resume").click()
        wait_for(page, "running")
        with connection_lost(page):
            os.kill(house.child_pid("gateway"), signal.SIGTERM)
        wait_for(page, "completed")
        on_plane(page, "frozen")
        expect(page.get_by_test_id("shown-step")).to_contain_text("96 / 96")
        assert steps_in_table(page) == told_steps(house, run_id)[::-1] == list(range(96, 0, -1))


def test_the_gate_says_why_and_a_run_is_cancelled(house: House, opened: Opened, taught: str) -> None:
    with opened(house.gateway) as page:
        start(page, epochs="1", promote_if_improves="true", promote_epsilon="9", gate_min_rows="3")
        wait_for(page, "completed")
        expect(page.get_by_test_id("verdict")).to_contain_text("Not promoted")
        expect(page.get_by_test_id("verdict").locator(".bars tbody tr")).to_have_count(3)
        expect(page.get_by_test_id("decision").locator("tbody tr").first).to_contain_text("below -9")
        start(page, epochs="200")
        wait_for(page, "running")
        page.get_by_test_id("cancel").click()
        page.get_by_test_id("cancel").click()
        wait_for(page, "cancelled")
        expect(page.get_by_test_id("reason")).to_be_visible()


def test_two_runs_are_compared(house: House, opened: Opened, taught: str) -> None:
    with opened(house.gateway) as page:
        expect(page.get_by_test_id("run-row")).to_have_count(4)
        page.get_by_test_id("filter-status").select_option("completed")
        expect(page.get_by_test_id("run-row")).to_have_count(3)
        page.get_by_test_id("pick").nth(2).check()
        page.get_by_test_id("pick").nth(1).check()
        page.get_by_test_id("compare").click()
        expect(page.get_by_test_id("diff-outcome")).to_contain_text("same held-out rows")
        expect(page.get_by_test_id("plans")).to_contain_text("epochs")
        expect(page.get_by_test_id("overlay-fault")).to_contain_text("another plane")


def test_one_click_and_a_second_thought_roll_back(house: House, opened: Opened, taught: str) -> None:
    with opened(house.gateway, "#/adapters") as page:
        expect(page.get_by_test_id("move")).to_have_count(1)
        page.get_by_test_id("rollback").click()
        expect(page.get_by_test_id("rollback")).to_have_text("Go back to base?")
        page.get_by_test_id("rollback").click()
        expect(page.get_by_test_id("move")).to_have_count(2)
        assert house.get("/api/adapters")["moves"]["ragweld-nano"][-1]["adapter_id"] is None
        page.get_by_test_id("nav-prompt").click()
        page.get_by_test_id("send").click()
        expect(page.get_by_test_id("spoke-model-left")).to_have_text("ragweld:ragweld-nano@base")


def test_what_a_run_said_is_exported_whole(house: House, opened: Opened, taught: str) -> None:
    with opened(house.gateway, f"#/runs/{taught}") as page:
        with page.expect_download() as download:
            page.get_by_test_id("export").click()
        assert lines_of(download.value) == lines_in(house, taught)


def lines_of(download: Download) -> list[object]:
    return [json.loads(line) for line in Path(download.path()).read_text().splitlines()]


def lines_in(house: House, run_id: str) -> list[object]:
    stored = house.home / "data/agent_train_runs" / run_id / "metrics.jsonl"
    return [json.loads(line) for line in stored.read_text().splitlines()]
