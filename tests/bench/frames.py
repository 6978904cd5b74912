"""What a frame of ten thousand points costs the page in Chromium, its pixels included: replayed, and drawn anew."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.conftest import ARGUMENTS, WIDE
from tests.browser.seeded import finished_run, with_surface
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import served
from tests.requirements_of_machine import need_chromium

POINTS = 10_000
LONG_MS = 30_000.0
PATHS = {"smooth": 0.0, "trembling": 0.2}
MEASURED_FRAMES = """
  const ask = window.requestAnimationFrame.bind(window);
  window.frames_ms = [];
  window.requestAnimationFrame = (paint) => ask((now) => {
    const began = performance.now();
    paint(now);
    const canvas = document.querySelector('[data-testid="descent-canvas"]');
    if (canvas) canvas.getContext('2d').getImageData(0, 0, 1, 1);  // waits until every pixel is drawn
    window.frames_ms.push(performance.now() - began);
  });
"""


def main() -> None:
    """Run and print."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    figures: dict[str, dict[str, float]] = {}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        browser = playwright.chromium.launch(executable_path=need_chromium(), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": WIDE[0], "height": WIDE[1]}, reduced_motion="reduce")
        page.add_init_script(MEASURED_FRAMES)
        for name, tremble in PATHS.items():
            replayed, drawn_anew = measured(page, Path(scratch) / name, tremble)
            figures[name] = {"replay_ms": round(median(replayed), 2), "drawn_anew_ms": round(median(drawn_anew), 2)}
            print(f"{name}: {figures[name]} over {len(replayed)} and {len(drawn_anew)} frames", flush=True)
        browser.close()
    print(json.dumps({"bench": "frames", "points": POINTS, "figures": figures}))


def measured(page: Page, home: Path, tremble: float) -> tuple[list[float], list[float]]:
    """Milliseconds of each frame while the path is replayed, and while its end goes back and forth."""
    with served(home, ScriptedEngine()) as gateway:
        run_id = finished_run(gateway.context.runs, steps=POINTS, tremble=tremble)
        with_surface(gateway.context.runs, run_id)
        page.goto(f"http://127.0.0.1:{gateway.port}/studio#/runs/{run_id}")
        page.reload()
        expect(page.get_by_test_id("shown-step")).to_contain_text(f"/ {POINTS}", timeout=LONG_MS)
        expect(page.get_by_test_id("plane")).to_have_value("snapshot_pca", timeout=LONG_MS)
        return frames(page, lambda: page.get_by_test_id("play").click()), frames(page, lambda: scrub(page))


def scrub(page: Page) -> None:
    """Back and forth, so that each second frame has to draw the whole path anew."""
    page.get_by_test_id("play").click()
    for place in [POINTS, POINTS - 1, POINTS - 2, POINTS - 3, POINTS - 4] * 6:
        page.get_by_test_id("scrub").fill(str(place))


def frames(page: Page, act: Callable[[], None]) -> list[float]:
    """Milliseconds of each frame while something happens, for two seconds after it began."""
    page.evaluate("window.frames_ms = []")
    act()
    page.wait_for_timeout(2000)
    found: list[float] = page.evaluate("window.frames_ms")
    return [frame for frame in found if frame > 0.05]


if __name__ == "__main__":
    main()
