"""`ragweld record`: stage, film, cut, look; one file or one clear line. `tests/deploy/film/test_film.py`."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.errors import Unavailable
from deploy.film import cut, proof, stage, story
from deploy.film.browser import chromium
from deploy.film.camera import HEIGHT, WIDTH, Camera
from deploy.film.stage import Stage

if TYPE_CHECKING:
    from grafana.preview import Page

LEAST_S = 60.0
LEAST_PICTURES = 200
LONGEST_STILL_S = 20.0
SHOWN = ("learning", "gateway")
REFRESH_S = 2.0


def run(words: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Make the film. Raises Unavailable for want of a program, or when the film is not worth its name."""
    from catalog.models import NANO  # with pydantic behind it, too slow for every `ragweld --help`

    cut.find("ffmpeg")
    film, base = Path(words.out), words.base or NANO
    with tempfile.TemporaryDirectory(prefix="ragweld-film-") as folder:
        camera = Camera(Path(folder) / "frames")
        say(f"Starting a ragweld of its own with {base} ...")
        with (
            stage.stage(Path(folder), base) as place,
            previews(place, words.theme, say) as boards,
            chromium() as browser,
        ):
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=words.theme)
            script = story.Script(words.seed, words.epochs, credits_of(base, words.seed))
            say(f"Filming {place.url}/studio ...")
            story.film(page, camera, place.url, script, boards)
        say(f"Cutting {len(camera.reel.frames)} frames of {camera.reel.length_s:.0f} s ...")
        cut.cut(camera.reel, film, title="ragweld learns, live", comment=script.credits)
    told(film, say)


@contextmanager
def previews(place: Stage, theme: str, say: Callable[[str], None]) -> Iterator[list[str]]:
    """Addresses of the dashboards' previews over the stage's Prometheus; none, and why, where they cannot be drawn."""
    with ExitStack() as stack:
        try:
            page = stack.enter_context(_served(place.prometheus_url))
        except Unavailable as error:
            say(f"The film has no dashboards: {error}")
            yield []
            return
        yield [page.address(name, theme=theme, refresh_s=REFRESH_S) for name in SHOWN]


def _served(prometheus_url: str | None) -> AbstractContextManager[Page]:
    if prometheus_url is None:
        raise Unavailable("Prometheus is not installed.", hint="`apt-get install prometheus`.")
    if not importlib.util.find_spec("grafana.preview"):
        raise Unavailable("Their previews are drawn in a checkout of ragweld only.")
    from grafana.preview import served

    return served(prometheus_url)


def credits_of(base: str, seed: int) -> str:
    """Versions, seed and day, as the film shows and carries them."""
    ragweld, mlx = importlib.metadata.version("ragweld"), importlib.metadata.version("mlx")
    day = datetime.now(UTC).date()
    return f"ragweld {ragweld}, MLX {mlx}, {base}, seed {seed}, recorded {day}. The run is live."


def told(film: Path, say: Callable[[str], None]) -> None:
    """Look at the film and say what it is; raises Unavailable with what is wrong with it."""
    seen = proof.look(film)
    say(
        f"{film}: {seen.length_s:.0f} s of {seen.codec}, {seen.width} x {seen.height}, {seen.pictures} different "
        f"pictures, {len(seen.chapters)} chapters: {', '.join(seen.chapters)}."
    )
    wrong = proof.complaints(seen, least_s=LEAST_S, least_pictures=LEAST_PICTURES, longest_still_s=LONGEST_STILL_S)
    if wrong:
        raise Unavailable(f"The film is not as wanted. {' '.join(wrong)}")
