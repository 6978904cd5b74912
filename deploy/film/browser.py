"""The Chromium that a film is made with: one that is on the machine, driven by Playwright.

Playwright is an optional package (`pip install 'ragweld[record]'`); the browser is the system's, or the one that
`playwright install chromium` left.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from catalog.errors import Unavailable

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Chromium's own calls home fail one by one on a machine without a network, and would be seen in the film as stutter.
FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser for the length of the block; raises Unavailable saying what to install."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        hint = "Install it: `pip install 'ragweld[record]'`."
        raise Unavailable("A film needs Playwright, which is not installed.", hint=hint) from error
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=_installed(), args=list(FLAGS))
        except Error as error:
            hint = "Install one: `apt-get install chromium`, or `playwright install chromium`."
            raise Unavailable(f"No Chromium starts here: {error.message.splitlines()[0]}", hint=hint) from error
        try:
            yield browser
        finally:
            browser.close()


def _installed() -> str | None:
    """The system's Chromium; None lets Playwright look for its own."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)
