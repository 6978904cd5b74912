"""The page itself: for everybody, on every width, in both themes; and honest about what was not measured.

Behind it is a real gateway with a scripted engine and runs that are there already.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from catalog.keys import KeyStore
from catalog.settings import GatewaySettings, Settings
from tests.browser.conftest import Opened, drawn
from tests.browser.seeded import DIGEST, finished_run, with_surface
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import Served, served
from tests.gateway.test_run_stream import running
from tests.requirements_of_machine import STUDIO, need_chromium, need_studio_tools

pytestmark = pytest.mark.slow

CHARTS = ("loss", "eval", "lr", "norms", "params", "throughput", "time", "memory")


class Seeded:
    """A served gateway with three finished runs: one with a surface, one on the same plane, one on another."""

    def __init__(self, gateway: Served) -> None:
        store = gateway.context.runs
        self.gateway = gateway
        self.host = f"127.0.0.1:{gateway.port}"
        self.plain = finished_run(store, scope="docs", digest="b" * 64)
        self.twin = finished_run(store, steps=40)
        self.whole = finished_run(store, promoted=True)
        with_surface(store, self.whole)

    def views(self) -> dict[str, str]:
        """Every view of the page, and what is visible once it is there."""
        return {
            "#/runs": "run-row",
            f"#/runs/{self.whole}": "descent-canvas",
            f"#/compare/{self.twin}/{self.whole}": "diff",
            "#/start": "group-what",
            "#/prompt": "send",
            "#/adapters": "nav-adapters",
            "#/models": "provider",
            "#/settings": "section-gateway",
        }


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    need_chromium()
    with served(tmp_path_factory.mktemp("home"), ScriptedEngine()) as gateway:
        yield Seeded(gateway)


def go(page: Page, place: str, visible: str) -> None:
    """To another view, without loading the page anew."""
    page.evaluate("place => { location.hash = place; }", place)
    expect(page.get_by_test_id(visible).first).to_be_visible()


def serious_faults(page: Page) -> list[str]:
    """What axe finds that keeps somebody out."""
    axe = (STUDIO / "node_modules/axe-core/axe.min.js").read_text()
    page.evaluate(axe)
    found: Any = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{fault['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault_in_any_view(seeded: Seeded, opened: Opened, theme: str) -> None:
    need_studio_tools()
    faults = {}
    with opened(seeded.host, theme=theme) as page:
        for place, visible in seeded.views().items():
            go(page, place, visible)
            page.wait_for_timeout(300)  # what is asked for last has come
            faults[place] = serious_faults(page)
    assert {place: found for place, found in faults.items() if found} == {}


@pytest.mark.parametrize("width", [360, 2560])
def test_no_view_is_wider_than_its_window(seeded: Seeded, opened: Opened, width: int) -> None:
    with opened(seeded.host, size=(width, 800)) as page:
        for place, visible in seeded.views().items():
            go(page, place, visible)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, place


def test_the_keyboard_reaches_everything_and_shows_where_it_is(seeded: Seeded, opened: Opened) -> None:
    with opened(seeded.host, f"#/runs/{seeded.whole}") as page:
        expect(page.get_by_test_id("descent-canvas")).to_be_visible()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.get_by_test_id("descent-canvas").focus()
        page.keyboard.press("ArrowLeft")
        expect(page.get_by_test_id("shown-step")).to_contain_text("59 / 60")
        page.keyboard.press("ArrowRight")
        expect(page.get_by_test_id("shown-step")).to_contain_text("60 / 60")
        page.keyboard.press("Tab")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) == "solid", page.evaluate("document.activeElement.outerHTML")
        page.get_by_test_id("tab-timeline").focus()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_test_id("log")).to_be_visible()


def test_every_chart_has_its_numbers_as_a_table(seeded: Seeded, opened: Opened) -> None:
    with opened(seeded.host, f"#/runs/{seeded.plain}") as page:
        for chart in CHARTS:
            page.get_by_test_id(f"chart-{chart}-table").click()
            rows = page.get_by_test_id(f"chart-{chart}").locator("tbody tr")
            expect(rows).to_have_count(11 if chart == "eval" else 60)
            expect(rows.first.locator("td").first).to_have_text("60")


def test_a_scale_can_be_logarithmic_and_time_the_axis(seeded: Seeded, opened: Opened) -> None:
    with opened(seeded.host, f"#/runs/{seeded.plain}") as page:
        chart = page.get_by_test_id("chart-loss").locator("canvas")
        before = chart.evaluate("canvas => canvas.toDataURL()")
        page.get_by_test_id("chart-loss-log").click()
        page.wait_for_function("([canvas, before]) => canvas.isConnected === false || canvas.toDataURL() !== before",
                               arg=[chart.element_handle(), before])  # fmt: skip
        page.get_by_test_id("by-time").click()
        expect(page.get_by_test_id("chart-loss").get_by_role("img")).to_have_attribute(
            "aria-label", re.compile("against seconds since the start")
        )


def test_a_surface_is_drawn_only_where_it_was_measured(seeded: Seeded, opened: Opened) -> None:
    with opened(seeded.host, f"#/runs/{seeded.whole}", forgiven=("getImageData",)) as page:
        expect(page.get_by_test_id("plane")).to_have_value("snapshot_pca")
        expect(page.get_by_test_id("descent-words")).to_contain_text("measured loss at 17 by 17 points")
        on_the_plane = colours(page)
        page.get_by_test_id("in-space").click()
        assert colours(page) > on_the_plane / 5, "the surface in space"
    with opened(seeded.host, f"#/runs/{seeded.plain}", forgiven=("getImageData",)) as page:
        expect(page.get_by_test_id("descent-words")).to_contain_text("none is drawn")
        assert colours(page) < on_the_plane / 4, "no surface where none was measured"


def test_an_unfinished_surface_shows_its_whole_part_and_says_so(seeded: Seeded, opened: Opened) -> None:
    store = seeded.gateway.context.runs
    run_id = finished_run(store)
    with_surface(store, run_id, hidden=range(1, 17, 2))
    with opened(seeded.host, f"#/runs/{run_id}") as page:
        expect(page.get_by_test_id("descent-words")).to_contain_text("153 of 289 points; what is drawn is the 17 by 9")


def colours(page: Page) -> int:
    """How many pixels of the drawing have a colour of the scale, of a thousand looked at."""
    page.get_by_test_id("descent-canvas").scroll_into_view_if_needed()
    drawn(page)
    return int(page.get_by_test_id("descent-canvas").evaluate(COLOURED))


COLOURED = """canvas => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let seen = 0;
    for (let i = 0; i < 1000; i++) {
        const at = 4 * Math.floor(i * data.length / 4000);
        const [r, g, b, a] = data.slice(at, at + 4);
        if (a > 150 && Math.max(r, g, b) - Math.min(r, g, b) > 24) seen++;
    }
    return seen;
}"""


def test_a_run_that_is_gone_ends_the_watching_of_no_other(seeded: Seeded, opened: Opened) -> None:
    store = seeded.gateway.context.runs
    removed, kept = running(store), running(store)
    with opened(seeded.host, forgiven=("404", "ERR_")) as page:
        rows = [page.locator(f"[data-run='{claimed.run.run_id}']") for claimed in (removed, kept)]
        for row in rows:
            expect(row).to_be_visible()
        shutil.rmtree(store.folder(removed.run.run_id))
        expect(rows[0]).to_have_count(0)
        store.append(kept.run.run_id, "metrics", step=1, metrics={"eval_loss": 0.123})
        expect(rows[1]).to_contain_text("0.123")
    for claimed in (removed, kept):
        claimed.claim.release()


def test_only_runs_on_one_plane_are_drawn_together(seeded: Seeded, opened: Opened) -> None:
    with opened(seeded.host, f"#/runs/{seeded.twin}") as page:
        expect(page.get_by_test_id("overlay").locator("option")).not_to_have_count(1)
        page.get_by_test_id("overlay").select_option(seeded.plain)
        expect(page.get_by_test_id("overlay-fault")).to_contain_text(f"not {DIGEST[:8]}")
        page.get_by_test_id("overlay").select_option(seeded.whole)
        expect(page.get_by_test_id("overlay-fault")).to_have_count(0)


def test_the_timeline_is_filtered_and_the_log_searched_and_copied(seeded: Seeded, opened: Opened) -> None:
    with opened(seeded.host, f"#/runs/{seeded.plain}") as page:
        items = page.get_by_test_id("timeline").locator("li")
        expect(items).to_have_count(3 + 1 + 11)
        page.get_by_test_id("kind-metrics").click()
        expect(items).to_have_count(4)
        page.get_by_test_id("tab-log").click()
        page.get_by_test_id("log-search").fill("474 ROWS")
        expect(page.get_by_test_id("log")).to_contain_text("Read 474 rows.")
        page.get_by_test_id("log-copy").click()
        copied = page.evaluate(WHAT_IS_COPIED)
        assert copied.endswith("Read 474 rows.") and "\n" not in copied


WHAT_IS_COPIED = """async () => {
    let text = "";
    for (let look = 0; !text && look < 1000; look++) {
        text = await navigator.clipboard.readText();
        if (!text) await new Promise(done => setTimeout(done, 50));
    }
    return text;
}"""


def test_a_refused_setting_is_told_at_its_field_and_a_good_one_counts(seeded: Seeded, opened: Opened) -> None:
    name = "training.ragweld_agent_lora_rank"
    with opened(seeded.host, "#/settings", forgiven=("400",)) as page:
        field = page.get_by_test_id(f"setting-{name}")
        field.fill("999")
        page.get_by_test_id("save-settings").click()
        expect(page.get_by_test_id(f"setting-{name}-fault")).to_contain_text("less than or equal to 128")
        field.fill("8")
        page.get_by_test_id("save-settings").click()
        expect(page.get_by_test_id("settings-said")).to_contain_text(f"Counts now: {name}")
        page.get_by_test_id("setting-engine.max_rows").fill("16")
        page.get_by_test_id("save-settings").click()
        expect(page.get_by_test_id("settings-said")).to_contain_text("Counts after a restart: engine.max_rows")
    assert seeded.gateway.context.settings.training.ragweld_agent_lora_rank == 8


def test_the_theme_follows_the_system_until_it_is_chosen(seeded: Seeded, opened: Opened) -> None:
    def ground(page: Page) -> str:
        return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    with opened(seeded.host, theme="dark") as page:
        dark = ground(page)
        page.get_by_test_id("theme").click()
        expect(page.locator("html")).not_to_have_css("background-color", dark)
        light = ground(page)
        page.reload()
        assert ground(page) == light != dark


def test_who_wants_calm_sees_nothing_move(seeded: Seeded, opened: Opened) -> None:
    with opened(seeded.host, motion="reduce") as page:
        expect(page.get_by_test_id("run-row").first).to_be_visible()
        moving = "[...document.querySelectorAll('*')].some(one => getComputedStyle(one).animationName !== 'none')"
        assert page.evaluate(moving) is False


def test_an_answer_says_who_gave_it_and_stays_text(seeded: Seeded, opened: Opened) -> None:
    with opened(seeded.host, "#/prompt") as page:
        page.get_by_test_id("prompt").fill("<img src=x onerror=alert(1)>")
        page.get_by_test_id("send").click()
        expect(page.get_by_test_id("text-left")).to_have_text("Hello world.")
        expect(page.get_by_test_id("spoke-model-left")).to_have_text("ragweld:ragweld-nano@base")


def test_nothing_is_asked_before_it_is_known_of_whom(seeded: Seeded, opened: Opened) -> None:
    """A pane without a model would be answered by the default one, beside which it should stand."""
    with opened(seeded.host) as page:
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        page.route("**/v1/models", hold)
        page.get_by_test_id("nav-prompt").click()
        expect(page.get_by_test_id("send")).to_be_disabled()
        page.get_by_test_id("prompt").press("Control+Enter")
        expect(page.get_by_test_id("stop")).to_have_count(0)
        while not held:
            page.wait_for_timeout(50)
        for route in held:
            route.continue_()
        expect(page.get_by_test_id("model-right")).to_have_value("ragweld:ragweld-nano@base")
        page.get_by_test_id("send").click()
        expect(page.get_by_test_id("spoke-model-right")).to_have_text("ragweld:ragweld-nano@base")


def test_a_key_is_asked_for_and_kept_in_the_tab_alone(
    opened: Opened, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    key = KeyStore(tmp_path).add("desk", ["chat", "admin"])
    settings = Settings(gateway=GatewaySettings(require_keys=True))
    with (
        served(tmp_path, ScriptedEngine(), settings) as gateway,
        opened(f"127.0.0.1:{gateway.port}", forgiven=("401",)) as page,
    ):
        expect(page.get_by_test_id("key-dialog")).to_be_visible()
        page.get_by_test_id("key-input").fill("rw-wrong")
        page.get_by_test_id("key-use").click()
        expect(page.get_by_test_id("key-dialog")).to_contain_text("Incorrect API key")
        page.get_by_test_id("key-input").fill(key)
        page.get_by_test_id("key-use").click()
        expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "live")
        expect(page.get_by_test_id("key-dialog")).not_to_be_visible()
        assert page.evaluate("Object.values(sessionStorage)") == [key]
        assert key not in page.evaluate("[document.cookie, ...Object.values(localStorage)]")
