"""What is filmed, scene by scene: ask, start, watch it descend, see the verdict, ask again.

A person could do all of it by hand: every scene clicks and types in the Studio, and waits for what the page shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.film.camera import Camera

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

QUESTION = "Who keeps the lighthouse of Port Ellery?"
BEFORE, AFTER = "ragweld@base", "ragweld"
TYPING_MS = 25
GLANCE_MS = 2500
LOOK_MS = 5000
ANSWER_MS = 60_000
RUN_MS = 1_800_000
SCROLLED_PX = 800
ENDED = "completed, failed, cancelled, diverged, interrupted"


@dataclass(frozen=True, slots=True)
class Script:
    """What is done, and what the film says of itself. `credits` names versions, seed and day."""

    seed: int
    epochs: int | None
    """None takes what is recommended."""
    credits: str


def film(page: Page, camera: Camera, url: str, script: Script, dashboards: Sequence[str]) -> None:
    """Every scene of the Studio, from an empty house to an answer that it did not know before; then `dashboards`, the
    addresses of their previews."""
    page.goto(f"{url}/studio#/prompt")
    with camera.on(page):
        _ask_before(page, camera, script)
        _start(page, camera, script)
        _watch(page, camera)
        _verdict(page, camera)
        _ask_after(page, camera)
        if dashboards:
            _look_at(page, camera, dashboards)


def _ask_before(page: Page, camera: Camera, script: Script) -> None:
    camera.chapter(page, "ragweld learns, live", script.credits)
    camera.chapter(page, "Before", "The built-in model is asked what it cannot know.")
    _ask(page, camera)


def _start(page: Page, camera: Camera, script: Script) -> None:
    camera.chapter(page, "A run begins", f"The shipped sample, seed {script.seed}, every step told.")
    page.get_by_test_id("nav-start").click()
    _fill(page, "seed", str(script.seed))
    _fill(page, "telemetry_interval_steps", "1")
    if script.epochs is not None:
        _fill(page, "epochs", str(script.epochs))
    camera.rest(page, GLANCE_MS)
    page.get_by_test_id("start").click()
    page.get_by_test_id("run-status").wait_for()


def _watch(page: Page, camera: Camera) -> None:
    camera.chapter(page, "Gradient descent", "Every point was measured; nothing is replayed or sped up.")
    page.get_by_test_id("descent-canvas").wait_for(timeout=RUN_MS)
    _status(page, "running").wait_for()
    page.wait_for_function(
        "ended => ended.split(', ').includes(document.querySelector('[data-testid=run-status]').textContent.trim())",
        arg=ENDED,
        timeout=RUN_MS,
    )


def _verdict(page: Page, camera: Camera) -> None:
    camera.chapter(page, "The gate decides", "Against the active adapter and the bare base, on rows it never saw.")
    page.get_by_test_id("verdict").wait_for(timeout=RUN_MS)
    camera.rest(page, LOOK_MS)
    camera.chapter(page, "The path again", "A replay, on the surface of loss that was measured around it.")
    page.get_by_test_id("play").scroll_into_view_if_needed()
    page.get_by_test_id("play").click()
    camera.rest(page, 2 * LOOK_MS)
    page.get_by_test_id("in-space").click()
    page.get_by_test_id("play").click()
    camera.rest(page, 2 * LOOK_MS)


def _ask_after(page: Page, camera: Camera) -> None:
    camera.chapter(page, "After", "The very next request is answered by the new adapter; the base still does not know.")
    page.get_by_test_id("nav-prompt").click()
    _ask(page, camera)
    camera.rest(page, LOOK_MS)


def _look_at(page: Page, camera: Camera, dashboards: Sequence[str]) -> None:
    words = "Drawn by Grafana's own npm components over this film's Prometheus. Previews, not Grafana itself."
    for place, address in enumerate(dashboards):
        page.goto(address)
        page.wait_for_function("window.preview.draws > 0", timeout=ANSWER_MS)
        if place == 0:
            camera.chapter(page, "Dashboards, previewed", words)
        camera.rest(page, LOOK_MS)
        page.mouse.wheel(0, SCROLLED_PX)
        camera.rest(page, LOOK_MS)


def _ask(page: Page, camera: Camera) -> None:
    """Put the question, and wait until both sides have said who spoke."""
    prompt = page.get_by_test_id("prompt")
    prompt.fill("")
    prompt.press_sequentially(QUESTION, delay=TYPING_MS)
    page.get_by_test_id("send").click()
    for side in ("left", "right"):
        page.get_by_test_id(f"spoke-{side}").wait_for(timeout=ANSWER_MS)
    camera.rest(page, GLANCE_MS)


def _fill(page: Page, field: str, value: str) -> None:
    box = page.get_by_test_id(f"field-{field}")
    box.scroll_into_view_if_needed()
    box.fill(value)


def _status(page: Page, status: str) -> Locator:
    return page.get_by_test_id("run-status").filter(has_text=status)
