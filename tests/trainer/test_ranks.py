"""Two ranks under `mlx.launch` on loopback are one trainer: the single process's losses, one end, no hanging."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog import events
from catalog.plan import Plan
from catalog.run_life import CancelRequested
from tests.house import REPOSITORY, free_ports
from tests.trainer.conftest import MakePlan, WriteRows
from tests.trainer.test_run import Home
from trainer.pulse import EVERY_S, SILENT_S

DEADLINE_S = 600.0
POLL_S = 0.1
MEASURED = ("loss", "grad_norm", "param_norm", "update_norm", "lr", "sample_count")


class Launched:
    """`mlx.launch -n 2 --backend ring` with the `ragweld trainer` that a user would type; gone when the test is."""

    def __init__(self, home: Path) -> None:
        launcher = Path(sys.executable).with_name("mlx.launch")
        port, _ = free_ports(2)
        command = [str(launcher), "-n", "2", "--backend", "ring", "--starting-port", str(port), "--"]
        command += [sys.executable, "-m", "deploy", "trainer", "--home", str(home), "--trainer-port", "0"]
        self._log = (home.parent / "ranks.log").open("w+b")
        streams = {"stdin": subprocess.DEVNULL, "stdout": self._log, "stderr": self._log}
        self.process = subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True, **streams)
        self._deadline = threading.Timer(DEADLINE_S, self._kill)
        self._deadline.start()

    @property
    def log(self) -> str:
        self._log.flush()
        return Path(self._log.name).read_text(errors="replace")

    def ranks(self) -> dict[int, int]:
        """Process id of each rank, as its environment names it."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environ = (folder / "environ").read_bytes().split(b"\0")
                words = (folder / "cmdline").read_bytes()
                session = os.getsid(int(folder.name))
            except OSError:
                continue
            rank = [word for word in environ if word.startswith(b"MLX_RANK=")]
            if session == self.process.pid and rank and b"trainer" in words:
                found[int(rank[0].removeprefix(b"MLX_RANK="))] = int(folder.name)
        return found

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """The first true value of `condition`."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            assert self.process.poll() is None or what == "end", f"no {what}; the launcher ended:\n{self.log}"
            time.sleep(POLL_S)
        raise AssertionError(f"no {what} in time:\n{self.log}")

    def close(self) -> None:
        self._deadline.cancel()
        self._kill()
        self.process.wait()
        self._log.close()

    def _kill(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                return
            time.sleep(0.5)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def launched(home: Home) -> Iterator[Callable[[], Launched]]:
    started: list[Launched] = []

    def launch() -> Launched:
        started.append(Launched(home.place.home))
        return started[-1]

    yield launch
    for one in started:
        one.close()


def exact(make_plan: MakePlan, **changes: object) -> Plan:
    """Without dropout, whose numbers differ from rank to rank."""
    return make_plan(**{"lora_dropout": 0.0, "surface_grid": 0, "batch_size": 3, **changes})


def curve(home: Home, run_id: str, kind: str) -> list[dict[str, float]]:
    told = [event for event in events.read_events(home.store.metrics_path(run_id)) if event.type == kind]
    if kind == "metrics":
        return [event.metrics for event in told]
    return [{name: getattr(event, name) for name in MEASURED} for event in told]


def pairs(write_rows: WriteRows) -> Path:
    rows = [
        {"prompt": f"Where is rope {n}?" + " Say." * (n % 4), "chosen": f"Berth {n}.", "rejected": "No."}
        for n in range(24)
    ]
    return write_rows(rows, "pairs.jsonl")


@pytest.mark.slow
def test_two_ranks_learn_what_one_process_learns_run_after_run(
    home: Home, make_plan: MakePlan, write_rows: WriteRows, launched: Callable[[], Launched]
) -> None:
    plans = [
        exact(make_plan, batch_size=1, epochs=1),  # the second rank has no row of many a micro-batch
        exact(make_plan),
        exact(make_plan, objective="dpo", dataset_path=str(pairs(write_rows)), lr=0.005),
    ]
    alone = [home.train(plan) for plan in plans]
    queued = [home.store.create("default", plan).run_id for plan in plans]
    ranks = launched()
    ranks.until(lambda: all(home.store.get(run_id).status == "completed" for run_id in queued), "completion")
    for whole, run_id in zip(alone, queued, strict=True):
        for kind in ("telemetry", "metrics"):
            one, two = curve(home, whole.run_id, kind), curve(home, run_id, kind)
            assert len(one) == len(two) > 0
            for mine, theirs in zip(one, two, strict=True):
                assert mine == pytest.approx(theirs, rel=2e-3, abs=1e-4)
        assert home.store.get(run_id).adapter_id is not None
    assert "rank 1 of 2" in ranks.log
    os.kill(ranks.ranks()[0], signal.SIGTERM)
    ranks.until(lambda: ranks.process.poll() is not None, "end")
    assert ranks.process.returncode == 0, ranks.log


@pytest.mark.slow
def test_a_cancel_and_a_defect_end_the_run_on_every_rank_and_the_next_one_is_taken(
    home: Home, make_plan: MakePlan, write_rows: WriteRows, launched: Callable[[], Launched]
) -> None:
    long = home.store.create("default", exact(make_plan, epochs=1000)).run_id
    bad = home.store.create("default", exact(make_plan, dataset_path=str(home.place.home / "none.jsonl"))).run_id
    last = home.store.create("default", exact(make_plan, epochs=1)).run_id
    ranks = launched()
    ranks.until(lambda: curve(home, long, "telemetry"), "step")
    home.store.apply(long, CancelRequested())
    ranks.until(lambda: home.store.get(last).status == "completed", "completion")
    assert home.store.get(long).status == "cancelled"
    assert home.store.get(bad).status == "failed" and "cannot be read" in home.store.get(bad).reason


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_dies_ends_the_run_and_the_next_start_goes_on(
    home: Home, make_plan: MakePlan, launched: Callable[[], Launched], victim: int
) -> None:
    plan = exact(make_plan, epochs=40)
    run_id = home.store.create("default", plan).run_id
    ranks = launched()
    ranks.until(lambda: len(curve(home, run_id, "telemetry")) > 30, "steps")
    os.kill(ranks.ranks()[victim], signal.SIGKILL)
    ranks.until(lambda: ranks.process.poll() is not None, "end")
    assert ranks.ranks() == {}
    run = home.store.get(run_id)
    assert (run.status, run.lost) == ("interrupted", True), run
    if victim == 0:  # it was found dead by a reader, as alone; the other way it said itself that it lost a rank
        return
    assert "Another rank was lost" in run.reason
    again = launched()
    again.until(lambda: home.store.get(run_id).status == "completed", "completion")
    resumed = [event for event in home.of_type(run, "state") if event.status == "resumed"]
    assert resumed and resumed[0].step > 0
    assert [event.step for event in home.of_type(run, "telemetry")] == list(range(1, 2 * plan.epochs + 1))


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_hangs_is_seen_and_its_run_says_so_and_the_others_end(
    home: Home, make_plan: MakePlan, launched: Callable[[], Launched], victim: int
) -> None:
    """Which is within thirty seconds: the pulse's silence or the heartbeat's, and a look."""
    assert SILENT_S + 2 * EVERY_S < 30
    run_id = home.store.create("default", exact(make_plan, epochs=1000)).run_id
    ranks = launched()
    ranks.until(lambda: len(curve(home, run_id, "telemetry")) > 5, "steps")
    there = ranks.ranks()
    os.kill(there[victim], signal.SIGSTOP)
    ranks.until(lambda: (1 - victim) not in ranks.ranks(), "end of the other rank")
    if victim:
        lost = home.store.get(run_id)
        assert (lost.status, lost.lost) == ("interrupted", True) and lost.reason.startswith(
            "Rank 1 gave no sign of life"
        )
        assert home.of_type(lost, "error")[-1].message == lost.reason
    else:
        ranks.until(lambda: home.store.get(run_id).stalled, "sign of its silence")
        assert "Rank 0 gave no sign of life" in ranks.log
    os.kill(there[victim], signal.SIGCONT)
    ranks.until(lambda: ranks.process.poll() is not None, "end")
    assert home.store.get(run_id).status == "interrupted"
