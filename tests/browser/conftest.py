"""A real Chromium on the Studio. A page that logs an error, breaks its policy or asks another host fails its test.

Every wait for a page is as long as a busy machine may need; what is there sooner is taken sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.requirements_of_machine import need_chromium

ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
WIDE = (1440, 900)
PATIENCE_MS = 120_000

expect.set_options(timeout=PATIENCE_MS)


@dataclass  # without slots: Playwright keeps its wrappers in the object
class Watched:
    """What a page did that it should not have."""

    gateway: str
    faults: list[str] = field(default_factory=list)

    def console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console {message.type}: {message.text}")

    def request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != self.gateway and not request.url.startswith(("data:", "blob:")):
            self.faults.append(f"asked {request.url}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = need_chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


Opened = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def opened(browser: Browser) -> Opened:
    """Open the Studio of a gateway (`host:port`) at a place, as a person with these preferences sees it."""

    @contextmanager
    def open_page(
        gateway: str,
        place: str = "#/runs",
        size: tuple[int, int] = WIDE,
        theme: str = "light",
        motion: str = "reduce",
        forgiven: tuple[str, ...] = (),
    ) -> Iterator[Page]:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=theme,  # type: ignore[arg-type]
            reduced_motion=motion,  # type: ignore[arg-type]
            accept_downloads=True,
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        watched = Watched(gateway)
        page.on("console", watched.console)
        page.on("pageerror", lambda error: watched.faults.append(f"thrown: {error}"))
        page.on("request", watched.request)
        page.goto(f"http://{gateway}/studio{place}")
        yield page
        context.close()
        assert [fault for fault in watched.faults if not any(word in fault for word in forgiven)] == []

    return open_page


def drawn(page: Page) -> None:
    """Return when what was asked for last is on the canvas: an effect runs after a frame and paints in the next."""
    page.evaluate(SOME_FRAMES)


SOME_FRAMES = """async () => {
    for (let frame = 0; frame < 8; frame++) await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
}"""
