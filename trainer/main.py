"""The trainer's process: one per home, one run at a time, alive until it is told to stop.

Claims the oldest queued run, trains it, ends it. Whatever a run does, the process lives on: an exception becomes the
run's reason in one line, its traceback goes to the log. SIGTERM and SIGINT save the current run and end it as
`interrupted`; a second signal ends the process at once. What a trainer that died was working on is resumed at the next
start. `tests/trainer/test_main.py` runs it as a real process, `kill -9` included, `tests/trainer/test_ranks.py` as two
under `mlx.launch`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import FrameType

from catalog import files
from catalog.adapters import AdapterStore
from catalog.base import locate
from catalog.errors import Conflict, InvalidDataset, OutOfMemory, RagweldError
from catalog.ids import BaseId
from catalog.run_life import LOSSES_RESUMED, Ended, Explained, Lost, Paused, ResumeRequested, Run
from catalog.runs import RUNS_FOLDER, RunStore
from catalog.settings import Settings, overlay
from trainer import deaths, pulse
from trainer.checkpoints import Pace
from trainer.exporter import serve
from trainer.picture import later
from trainer.ranks import NOTHING, STOP, Follower, follow
from trainer.run import Workplace, easel_of, train
from trainer.world import HOW_TO_GO_ON, PeerLost, World

log = logging.getLogger("trainer")

DEVICE_LOCK = RUNS_FOLDER / ".device.lock"
LONGEST_REASON = 500
QUEUE_RETRY_S = 10.0
LESS_MEMORY = "Set grad_checkpoint, or lower batch_size or max_length."
DIED_OF_MEMORY = f"oom: its trainer died because memory ran out. {LESS_MEMORY}"
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""They pass, or somebody mends them; the run can go on from its last checkpoint."""


def run(settings: Settings, home: Path) -> int:
    """Train whatever is queued in `home` until a signal; raises Conflict if another trainer does, Unavailable if the
    port is taken. Under `mlx.launch` it is one of several ranks, of which the first does what only one may."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    world, stop = World.here(), threading.Event()
    _stop_on_signals(stop)
    try:
        with pulse.between(world, partial(_leave, RunStore(home) if world.rank == 0 else None)):
            if world.rank > 0:
                _follow(settings, home, world, stop)
            else:
                _lead(settings, home, world, stop)
    except PeerLost as error:
        log.error("%s", error)
        return os.EX_TEMPFAIL
    log.info("trainer stopped")
    return 0


def _follow(settings: Settings, home: Path, world: World, stop: threading.Event) -> None:
    log.info("trainer ready: rank %d of %d", world.rank, world.size)
    own = settings.trainer
    follower = Follower(home, world, stop, own.cpu_float32, own.memory_bytes, time.monotonic)
    follow(follower, own.poll_interval_s)


def _leave(store: RunStore | None, silent_rank: int) -> None:
    """End this process because of a rank that hangs: inside MLX the main thread waits for it, and nothing wakes it."""
    words = f"Rank {silent_rank} gave no sign of life for {pulse.SILENT_S:g} s. {HOW_TO_GO_ON}"
    log.error("%s", words)
    try:
        if store is not None:
            for run in (run for run in store.list() if run.status == "running"):
                _lose(store, run.run_id, words)
    finally:
        os._exit(os.EX_TEMPFAIL)


def _lose(store: RunStore, run_id: str, words: str) -> None:
    """Say of a run why its trainer ends now; the next one goes on with it as with any whose trainer died."""
    store.append(run_id, "error", message=words)
    with contextlib.suppress(Conflict):  # it was ended by somebody else
        store.apply(run_id, Lost(words))


def _lead(settings: Settings, home: Path, world: World, stop: threading.Event) -> None:
    claim = files.Claim.take(home / DEVICE_LOCK)
    if claim is None:
        raise Conflict(f"Another trainer already works in {home}.", hint="One is enough: it takes runs in order.")
    place = Workplace(
        home=home,
        mirror=partial(mirror, settings, home),
        store=RunStore(home),
        adapters=AdapterStore(home),
        pace=Pace(settings.trainer.checkpoint_interval_steps, settings.trainer.checkpoint_interval_s),
        memory_bytes=settings.trainer.memory_bytes,
        cpu_float32=settings.trainer.cpu_float32,
        processes=settings.trainer.processes,
        world=world,
        stop=stop,
    )
    try:
        server = serve(place.board, settings.trainer.metrics_host, settings.trainer.metrics_port)
        log.info("trainer ready: metrics on http://%s:%d/metrics", settings.trainer.metrics_host, server.port)
        work(place, settings.trainer.poll_interval_s)
        world.tell(STOP)
        server.close()
    finally:
        claim.release()


def mirror(settings: Settings, home: Path, scope: str, base: BaseId) -> Path | None:
    """Where the copy of a base's promoted adapter lies; None for all but the default base: the gateway watches the
    folder and makes what lies there that one's."""
    if base != locate.choose(settings.training.ragweld_agent_base_model).base:
        return None
    return home / overlay(settings, home, scope).training.ragweld_agent_model_path


def work(place: Workplace, poll_interval_s: float) -> None:
    """Take runs until told to stop; a queue that cannot be read or written is tried again later."""
    while not place.stop.is_set():
        try:
            _tidy(place)
            while not place.stop.is_set():
                if not train_next(place) and not paint_some(place):
                    place.stop.wait(poll_interval_s)
        except PeerLost:
            raise
        except (OSError, ValueError, RagweldError) as error:
            log.error("the queue in %s cannot be used: %s", place.store.root, error)
            place.stop.wait(QUEUE_RETRY_S)


def train_next(place: Workplace) -> bool:
    """Take the oldest queued run to its end; False when there is none."""
    claimed = place.store.claim_next()
    place.world.tell(NOTHING if claimed is None else claimed.run.plan.model_dump_json().encode())
    if claimed is None:
        return False
    try:
        left = _attempt(claimed.run, place)
        _show(place, place.store.apply(claimed.run.run_id, left))
    except Conflict:
        _show(place, place.store.read(claimed.run.run_id))
    except PeerLost as error:
        _lose(place.store, claimed.run.run_id, explain(error))
        place.board.end(claimed.run.run_id, "interrupted")
        raise
    except (OSError, RagweldError):
        log.exception("%s could not be ended; it will read as interrupted", claimed.run.run_id)
        place.board.end(claimed.run.run_id, "interrupted")
    finally:
        claimed.claim.release()
    return True


def paint_some(place: Workplace) -> bool:
    """Go on with the surface of a run that has ended until a run is queued; False when all are whole."""
    run = later.newest_unfinished(place.store)
    if run is None:
        return False
    later.finish(
        run,
        place.home,
        place.store,
        easel_of(run, place),
        lambda: place.stop.is_set() or place.store.has_queued(),
        cpu_float32=place.cpu_float32,
    )
    return True


def _show(place: Workplace, run: Run) -> None:
    """Tell how the run left this process; it may have been ended by a reader while this process hung."""
    if run.status == "paused":
        place.board.pause(run.run_id)
    else:
        place.board.end(run.run_id, run.status)
    log.info("%s: %s %s", run.run_id, run.status, run.reason or "")


def _attempt(run: Run, place: Workplace) -> Ended | Paused:
    try:
        return train(run, place)
    except PeerLost:
        raise
    except Exception as error:  # the outermost loop: a run's fault ends the run, not the process
        log.exception("%s failed", run.run_id)
        reason = explain(error)
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            return Ended("interrupted", reason)
        place.store.append(run.run_id, "error", message=reason)
        return Ended("failed", reason)


def explain(error: Exception) -> str:
    """One line: what happened and what to change."""
    match error:
        case InvalidDataset(defects=[first, *rest]):
            more = f" (and {len(rest)} more)" if rest else ""
            text = f"The dataset has {1 + len(rest)} defect(s): {first}{more}. Mend the rows and start again."
        case OSError(errno=errno.ENOSPC):
            text = "The disk is full. Free some space and resume the run."
        case MemoryError() | RuntimeError() if isinstance(error, MemoryError) or "llocate" in str(error):
            text = f"oom: memory ran out ({error}). {LESS_MEMORY}"
        case OutOfMemory():
            text = f"oom: {error}"
        case RagweldError():
            text = str(error)
        case _:
            text = f"{type(error).__name__}: {error}. The trainer's log has the details."
    return " ".join(text.split())[:LONGEST_REASON]


def _tidy(place: Workplace) -> None:
    """Queue runs whose trainer died, and remove what it staged; this process owns the device, so nobody else works."""
    store = place.store
    for pattern in (".staging.*", ".old.*"):
        for leftover in (*store.root.glob(f"*/{pattern}"), *store.root.glob(f"*/checkpoints/{pattern}")):
            shutil.rmtree(leftover, ignore_errors=True)
    for run in store.list():
        if run.lost and deaths.was_of_memory(store.folder(run.run_id)):
            store.append(run.run_id, "error", message=DIED_OF_MEMORY)
            _show(place, store.apply(run.run_id, Explained(DIED_OF_MEMORY)))
        elif run.lost and run.losses < LOSSES_RESUMED:
            store.apply(run.run_id, ResumeRequested())


def _stop_on_signals(asked: threading.Event) -> None:
    def stop(number: int, _frame: FrameType | None) -> None:
        asked.set()
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
