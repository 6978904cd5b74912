"""`ragweld metrics backfill`: a finished run into Prometheus, each step at its exact time.

Writes OpenMetrics and, where promtool is installed, makes blocks of it; a Prometheus takes blocks that lie in its data
folder within a minute. Imports nothing heavy before it is called. `tests/deploy/test_backfill.py` asks a real one.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from catalog.settings import Loaded

Say = Callable[[str], None]
Which = Callable[[str], str | None]
PROMTOOL = "promtool"


def arguments(top: argparse.ArgumentParser) -> None:
    """The words after `ragweld metrics`."""
    words = top.add_subparsers(dest="act", required=True, metavar="ACT")
    summary = "a run's every step at its exact time, as blocks for Prometheus"
    backfill = words.add_parser("backfill", help=summary, description=summary)
    backfill.add_argument("run_id", metavar="RUN_ID")
    backfill.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="where to; Prometheus' data folder is the usual one"
    )
    backfill.add_argument(
        "--instance", metavar="HOST:PORT", help="the trainer as Prometheus scrapes it (default: as it listens)"
    )
    # Said before or after the word; only where it is said does it count.
    backfill.add_argument("--home", metavar="DIR", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(words: argparse.Namespace, home: Path, loaded: Loaded, say: Say, which: Which = shutil.which) -> None:
    """Write the run of `words`; raises NotFound, Conflict before its end, InvalidRequest when promtool refuses."""
    from catalog import files

    trainer = loaded.settings.trainer
    instance = words.instance or f"{trainer.metrics_host}:{trainer.metrics_port}"
    out = words.out.expanduser().absolute()
    target = out / f"{words.run_id}.openmetrics"
    text = exposition(home, words.run_id, instance)
    files.write_bytes(target, text.encode())
    say(f"Wrote {target}: {sum(not line.startswith('#') for line in text.splitlines())} samples.")
    promtool = which(PROMTOOL)
    if promtool is None:
        say(f"promtool is not installed; with it: promtool tsdb create-blocks-from openmetrics {target} {out}")
        return
    say(_make_blocks(promtool, target, out))


def exposition(home: Path, run_id: str, instance: str) -> str:
    """The run as OpenMetrics; raises NotFound, and Conflict while it is not over."""
    from catalog import events, pictures
    from catalog.errors import Conflict
    from catalog.run_life import ENDED
    from catalog.runs import RunStore
    from grafana.openmetrics import openmetrics

    store = RunStore(home)
    ended = store.get(run_id)
    if ended.status not in ENDED:
        raise Conflict(f"Run {run_id} is {ended.status}; its last steps are not there yet.", hint="Wait for its end.")
    told = events.read_events(store.metrics_path(run_id))
    return openmetrics(ended, told, pictures.read_surface(pictures.folder(store, run_id)), instance)


def _make_blocks(promtool: str, source: Path, out: Path) -> str:
    """Turn OpenMetrics into blocks; returns what to say."""
    from catalog.errors import InvalidRequest

    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(source), str(out)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise InvalidRequest(f"promtool refused {source.name}: {(made.stderr or made.stdout).strip()}")
    return f"Made blocks in {out}; a Prometheus whose data folder that is shows them within a minute."
