"""Finishes the surface of a run that has ended, when no other run waits; goes on where it was stopped, also by death.

The plane is made of all snapshots that the run kept: its final picture. `tests/trainer/picture/test_surface.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from catalog import pictures
from catalog.errors import Conflict, RagweldError
from catalog.pictures import PICTURE_FOLDER, UNFINISHED
from catalog.run_life import ENDED, Run, Status
from catalog.runs import RunStore
from trainer import lesson
from trainer.lesson import Lesson
from trainer.picture import painter
from trainer.picture.live import SHOWN_EVERY_S, SNAPSHOTS_FOLDER, Easel
from trainer.picture.painter import Painter

log = logging.getLogger("trainer")

LOOK_EVERY_S = 0.5
NEVER_FINISHED: frozenset[Status] = frozenset({"interrupted"})
"""Such a run may go on and then makes its picture itself."""


def newest_unfinished(store: RunStore) -> Run | None:
    """The ended run that was created last among those whose surface is not whole."""
    markers = store.root.glob(f"*/{PICTURE_FOLDER}/{UNFINISHED}")
    runs = store.readable(marker.parents[1].name for marker in markers)
    ended = [run for run in runs if run.status in ENDED - NEVER_FINISHED]
    return max(ended, key=lambda run: (run.created_at, run.run_id), default=None)


def finish(
    run: Run, home: Path, store: RunStore, easel: Easel, is_wanted: Callable[[], bool], *, cpu_float32: bool = True
) -> None:
    """Measure until the surface is whole, or until `is_wanted` elsewhere. What cannot be finished is told and left."""
    try:
        _finish(run, lesson.prepare(run.plan, home, cpu_float32=cpu_float32), store, easel, is_wanted)
    except (RagweldError, OSError, ValueError, RuntimeError, MemoryError, SafetensorError) as error:
        log.warning("%s: its surface is left as it is: %s", run.run_id, error)
        store.append(run.run_id, "error", message=f"The surface is left as it is: {error}")
        (easel.folder / UNFINISHED).unlink(missing_ok=True)


def _finish(run: Run, prepared: Lesson, store: RunStore, easel: Easel, is_wanted: Callable[[], bool]) -> None:
    painting = _take_up(run, prepared, easel)
    looked_s = shown_s = easel.clock()
    while painting.survey.next_spot is not None:
        if easel.clock() - looked_s >= LOOK_EVERY_S:
            looked_s = easel.clock()
            if is_wanted():
                _show(painting, prepared, easel)
                return
        levels = painting.survey.levels_done
        painting.measure_next()
        is_level_done = painting.survey.levels_done > levels
        if is_level_done or easel.clock() - shown_s >= SHOWN_EVERY_S:
            shown_s = easel.clock()
            _show(painting, prepared, easel)
        if is_level_done:
            words = painting.survey.in_words()
            store.append(run.run_id, "state", status="surface_measured", message=words)
            log.info("%s: %s", run.run_id, words)
    _show(painting, prepared, easel)
    (easel.folder / UNFINISHED).unlink()


def _take_up(run: Run, prepared: Lesson, easel: Easel) -> Painter:
    """The survey of the final plane, with what an earlier try measured. Raises Conflict when the data are others."""
    earlier = pictures.read_surface(easel.folder)
    painting = painter.plan(
        run.run_id,
        prepared,
        easel.folder / SNAPSHOTS_FOLDER,
        run.plan.surface_grid,
        None if earlier is None else earlier.frame,
    )
    if painting is None:
        raise Conflict("Its snapshots are too few, or a line.")
    if painting.survey.probe.sha256 != (easel.folder / UNFINISHED).read_text("ascii"):
        raise Conflict("The dataset is not the one that the run began with.")
    if earlier is not None:
        painting.survey.go_on_from(earlier)
    return painting


def _show(painting: Painter, prepared: Lesson, easel: Easel) -> None:
    if painting.survey.has_first_level:
        easel.show(painting, prepared.learner.start.size)
