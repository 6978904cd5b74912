"""A camera before a page: every frame that Chromium paints goes to disk with the second it was painted.

Chromium paints when something changes, so frames are uneven in time; `cut` gives each the time until the next one.
Playwright's own recorder wants an ffmpeg of its own, which a package index does not have: hence frames.
`tests/deploy/film/test_film.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTH, HEIGHT = 1600, 900
JPEG_QUALITY = 92
CHAPTER_MS = 3000
MS = 1000


@dataclass(frozen=True, slots=True)
class Frame:
    """One painted picture, and its second on the camera's clock."""

    path: Path
    at_s: float


@dataclass(frozen=True, slots=True)
class Chapter:
    """A title from a second on; one that began before the first frame begins with it."""

    title: str
    at_s: float


@dataclass
class Reel:
    """What was filmed, in order of time. Without slots: Playwright hangs a mark on the object whose method it calls."""

    folder: Path
    frames: list[Frame] = field(default_factory=list)
    chapters: list[Chapter] = field(default_factory=list)

    @property
    def length_s(self) -> float:
        """Seconds from the first frame to the last."""
        return self.frames[-1].at_s - self.frames[0].at_s if self.frames else 0.0

    def add(self, frame: Mapping[str, Any]) -> None:
        """Keep a frame as Playwright gives it: JPEG bytes and milliseconds."""
        at_s = frame["timestamp"] / MS
        # A frame that overtook another on its way belongs before it; the film's clock only goes forward.
        if self.frames and at_s <= self.frames[-1].at_s:
            return
        path = self.folder / f"{len(self.frames):06d}.jpg"
        path.write_bytes(frame["data"])
        self.frames.append(Frame(path, at_s))


class Camera:
    """Films one page after another onto one reel. `pace` stretches every rest; below 1 it is a film for tests."""

    def __init__(self, folder: Path, pace: float = 1.0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.reel = Reel(folder)
        self._pace = pace

    @contextmanager
    def on(self, page: Page) -> Iterator[None]:
        """Film `page` inside the block, with the pointer and what it does shown."""
        page.screencast.start(on_frame=self.reel.add, quality=JPEG_QUALITY, size={"width": WIDTH, "height": HEIGHT})
        # The pointer and what it touches; not Playwright's own words for it.
        page.screencast.show_actions(cursor="pointer", duration=700, style={"title": "display: none"})
        try:
            yield
        finally:
            page.screencast.stop()

    def chapter(self, page: Page, title: str, words: str) -> None:
        """Show a title over the page for a moment, and begin a chapter of the film with it."""
        start_s = self.reel.frames[-1].at_s if self.reel.frames else 0.0
        page.screencast.show_chapter(title, description=words, duration=CHAPTER_MS * self._pace)
        self.rest(page, CHAPTER_MS)
        self.reel.chapters.append(Chapter(title, start_s))

    def rest(self, page: Page, milliseconds: float) -> None:
        """Let whoever watches look at what is there."""
        page.wait_for_timeout(milliseconds * self._pace)
