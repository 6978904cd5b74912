"""A real Chromium is filmed, a real ffmpeg cuts, and what came out is looked at."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from catalog.errors import Unavailable
from catalog.models import NANO
from deploy.film import cut, proof
from deploy.film.browser import chromium
from deploy.film.camera import HEIGHT, WIDTH, Camera, Chapter, Frame, Reel
from deploy.film.record import credits_of
from deploy.film.stage import stage
from deploy.film.story import Script
from deploy.film.story import film as told
from tests.requirements_of_machine import need_chromium, need_ffmpeg, need_prometheus

if TYPE_CHECKING:
    from playwright.sync_api import Page

FILMED_MS = 2000
DEADLINE_S = 60.0
TITLES = ("One; a #first = title", "Two")
MOVING = """<body style="margin:0;background:#123"><div id=box style="position:absolute;width:300px;height:300px;
background:#fa0"></div><script>
let x = 0; setInterval(() => { x = (x + 12) % 1600; box.style.left = x + "px"; }, 40);
</script></body>"""
STILL = "<body style='background:#123;color:white'>nothing moves here</body>"


def _film(folder: Path, html: str, least_frames: int) -> tuple[Path, Reel]:
    """Two chapters, each on until so many frames were painted in it: a busy machine paints slowly."""
    camera = Camera(folder / "frames")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_content(html)
        with camera.on(page):
            for title in TITLES:
                enough = len(camera.reel.frames) + least_frames
                camera.chapter(page, title, "What is seen")
                page.wait_for_timeout(FILMED_MS)
                _wait_for_frames(page, camera.reel, enough)
    film = folder / "film.mp4"
    cut.cut(camera.reel, film, title="A test", comment="filmed")
    return film, camera.reel


def _wait_for_frames(page: Page, reel: Reel, count: int) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while len(reel.frames) < count:
        assert time.monotonic() < end_s, f"{len(reel.frames)} frames in {DEADLINE_S} s"
        page.wait_for_timeout(FILMED_MS / 10)


@pytest.mark.slow
def test_a_filmed_page_becomes_h264_with_chapters_in_which_the_picture_moves(tmp_path: Path) -> None:
    need_chromium()
    need_ffmpeg()
    film, reel = _film(tmp_path, MOVING, least_frames=6)
    seen = proof.look(film)
    assert (seen.codec, seen.width, seen.height) == ("h264", WIDTH, HEIGHT)
    assert seen.chapters == TITLES
    assert seen.pictures > 0.8 * len(reel.frames) > 8
    assert seen.length_s == pytest.approx(reel.length_s + cut.LAST_FRAME_S, abs=0.2)
    assert proof.complaints(seen, least_s=6, least_pictures=8, longest_still_s=seen.length_s / 2) == []


@pytest.mark.slow
def test_a_film_of_a_dead_page_is_complained_of(tmp_path: Path) -> None:
    need_chromium()
    need_ffmpeg()
    film, _ = _film(tmp_path, STILL, least_frames=1)
    seen = proof.look(film)
    wrong = proof.complaints(seen, least_s=1, least_pictures=1, longest_still_s=1)
    assert [sentence for sentence in wrong if "Nothing moves" in sentence]


@pytest.mark.slow
def test_the_story_is_told_to_its_end_in_a_real_house(tmp_path: Path) -> None:
    """At a twentieth of the film's pace, with one pass over the sample."""
    need_chromium()
    need_ffmpeg()
    need_prometheus()
    camera, film = Camera(tmp_path / "frames", pace=0.05), tmp_path / "film.mp4"
    with stage(tmp_path, NANO) as place, chromium() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        told(page, camera, place.url, Script(seed=0, epochs=1, credits=credits_of(NANO, 0)), dashboards=[])
        assert place.prometheus_url is not None
    cut.cut(camera.reel, film, title="A test", comment="filmed")
    seen = proof.look(film)
    assert seen.chapters[0] == "ragweld learns, live" and seen.chapters[-1] == "After"
    assert seen.pictures > 20


def test_a_frame_is_shown_until_the_next_one(tmp_path: Path) -> None:
    reel = Reel(tmp_path)
    for milliseconds in (1000, 1040, 1540):
        reel.add({"data": b"jpeg", "timestamp": milliseconds})
    assert cut.concat_list(reel).splitlines()[1:5] == [
        "file '000000.jpg'",
        "duration 0.040000",
        "file '000001.jpg'",
        "duration 0.500000",
    ]


def test_a_frame_that_was_overtaken_never_turns_the_clock_back(tmp_path: Path) -> None:
    reel = Reel(tmp_path)
    for milliseconds in (1000, 1040, 1020, 1060):
        reel.add({"data": b"jpeg", "timestamp": milliseconds})
    assert [frame.at_s for frame in reel.frames] == [1.0, 1.04, 1.06]


def test_chapters_lie_one_behind_the_other_to_the_end() -> None:
    reel = Reel(Path())
    reel.frames = [Frame(Path("a"), 10.0), Frame(Path("b"), 20.0)]
    reel.chapters = [Chapter("begun before the first frame", 0.0), Chapter("second", 14.5)]
    lines = cut.chapter_list(reel).splitlines()
    assert [line for line in lines if line.startswith(("START", "END"))] == [
        "START=0",
        "END=4500",
        "START=4500",
        f"END={int(1000 * (10 + cut.LAST_FRAME_S))}",
    ]


def test_a_missing_program_is_said_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable, match="ffmpeg"):
        cut.find("ffmpeg")
