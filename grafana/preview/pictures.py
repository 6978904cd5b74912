"""Pictures of the previews by a headless Chromium: `output/preview-<dashboard>-<theme>.png`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.errors import EngineFailed, Unavailable
from grafana.preview.server import Page

if TYPE_CHECKING:
    from playwright.sync_api import Page as Tab
    from playwright.sync_api import Response

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1600, 1000
DRAWN_DEADLINE_MS = 60_000
THEMES = ("dark", "light")
FONTS = "/public/fonts/"
"""Grafana's own are in none of its packages; the browser draws with another."""


def take(page: Page, dashboards: Iterable[str], out: Path, **asked: str | float) -> list[Path]:
    """Draw every dashboard in both themes; `asked` goes to `Page.address`. Raises EngineFailed when a panel failed or
    asked for what there is not."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise Unavailable("Pictures need Playwright.", hint="Install it: `pip install playwright`.") from error
    out.mkdir(parents=True, exist_ok=True)
    browser_path = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    taken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for name in dashboards:
            for theme in THEMES:
                tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                missing = _missing(tab)
                tab.goto(page.address(name, theme=theme, **asked))  # type: ignore[arg-type]
                tab.wait_for_function("window.preview.draws > 0", timeout=DRAWN_DEADLINE_MS)
                # Tables draw their cells only where they are seen.
                tab.set_viewport_size({"width": WIDTH, "height": tab.evaluate("document.body.scrollHeight")})
                tab.wait_for_load_state("networkidle")
                if errors := tab.evaluate("window.preview.errors") + missing:
                    raise EngineFailed(f"The preview of {name} failed: {errors}")
                path = out / f"preview-{name}-{theme}.png"
                tab.screenshot(path=path, full_page=True)
                tab.close()
                taken.append(path)
        browser.close()
    return taken


def _missing(tab: Tab) -> list[str]:
    """Addresses that the page asks for in vain, as they come."""
    found: list[str] = []

    def note(reply: Response) -> None:
        if not reply.ok and FONTS not in reply.url:
            found.append(reply.url)

    tab.on("response", note)
    return found
