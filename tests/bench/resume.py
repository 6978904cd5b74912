"""What a `kill -9` costs a run on nano: the steps since the last checkpoint, and the seconds until the next step.

A real trainer process on the shipped sample, killed again and again at random and started anew. The seconds count from
the start of the process to the end of the first step that it takes, its own start and the base's loading included; how
many steps were taken before and are taken again is counted beside.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from catalog.events import Event, read_events
from catalog.runs import RunStore
from catalog.settings import TrainerSettings
from tests.bench.trainers import NANO
from tests.house import REPOSITORY, free_ports
from tests.sample_run import default_plan

DEADLINE_S = 400.0
POLL_S = 0.02


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=4)
    arguments = parser.parse_args()
    costs = []
    with tempfile.TemporaryDirectory() as scratch:
        store = RunStore(Path(scratch))
        run_id = store.create("default", default_plan(telemetry_interval_steps=1)).run_id
        with trainer(Path(scratch)):
            wait_for_step(store, run_id, 10)
        for _ in range(arguments.kills):
            costs.append(cost_of_a_death(store, run_id, Path(scratch)))
    seconds, again = zip(*costs, strict=True)
    ratios = {"seconds_to_next_step": round(statistics.median(seconds), 2), "seconds_at_most": round(max(seconds), 2)}
    ratios |= {"steps_again_at_most": max(again), "steps_between_saves": TrainerSettings().checkpoint_interval_steps}
    print(json.dumps({"bench": "resume", "model": NANO, "ratios": ratios}))


def cost_of_a_death(store: RunStore, run_id: str, home: Path) -> tuple[float, int]:
    """Start a trainer on what a dead one left, then kill it; seconds to its first step, steps taken again."""
    before, last_words = told(store, run_id)[-1].step or 0, when_last_heard(store, run_id)
    began_s = time.monotonic()
    with trainer(home):
        wait(lambda: when_last_heard(store, run_id) != last_words, "a step after the death")
        seconds = time.monotonic() - began_s
        resumed = [event for event in read_events(store.metrics_path(run_id)) if event.status == "resumed"][-1]
        wait_for_step(store, run_id, before + random.randint(2, 25))
    again = before - (resumed.step or 0)
    print(f"killed after step {before}, went on after step {resumed.step}: {again} again, {seconds:.2f} s", flush=True)
    return seconds, again


@contextmanager
def trainer(home: Path) -> Iterator[None]:
    """A trainer process, killed at the end."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "deploy", "trainer", "--home", str(home), "--trainer-port", str(port)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def wait_for_step(store: RunStore, run_id: str, step: int) -> None:
    """Until the run has told that step."""
    wait(lambda: any((event.step or 0) >= step for event in told(store, run_id)), f"step {step}")


def wait(condition: Callable[[], bool], what: str) -> None:
    """Until it is so."""
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end_s:
            raise SystemExit(f"{what} did not come within {DEADLINE_S:.0f} s")
        time.sleep(POLL_S)


def when_last_heard(store: RunStore, run_id: str) -> str | None:
    """When the run's trainer last said in `run.json` how far it is; a trainer does so at its first step."""
    progress = store.read(run_id).progress
    return progress.ts if progress else None


def told(store: RunStore, run_id: str) -> list[Event]:
    """The run's progress so far."""
    return [event for event in read_events(store.metrics_path(run_id)) if event.type == "progress"]


if __name__ == "__main__":
    main()
