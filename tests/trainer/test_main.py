"""The trainer as a real process: it works, is scraped, stops cleanly, and may be killed at any time."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from catalog import events, files
from catalog.adapters import AdapterStore
from catalog.base.load import load
from catalog.base.lora import linear_shapes, read_adapter
from catalog.errors import Conflict
from catalog.ids import BaseId
from catalog.runs import CancelRequested, RunStore
from catalog.settings import Settings, TrainerSettings
from tests.trainer.conftest import MakePlan
from trainer.main import DEVICE_LOCK, explain, run, work
from trainer.metrics import TRAINER_METRICS
from trainer.run import Workplace

DEADLINE_S = 90.0
PROGRAM = """
import sys
from pathlib import Path
from catalog.settings import Settings, TrainerSettings
from trainer.main import run
sys.exit(run(Settings(trainer=TrainerSettings(metrics_port=0, poll_interval_s=0.05)), Path(sys.argv[1])))
"""


class Trainer:
    """A trainer process, heard line by line. It is killed when a test takes too long."""

    def __init__(self, home: Path) -> None:
        command = [sys.executable, "-c", PROGRAM, str(home)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self._deadline = threading.Timer(DEADLINE_S, self.process.kill)
        self._deadline.start()

    def until(self, words: str) -> str:
        """The first line that holds `words`."""
        assert self.process.stderr is not None
        heard = []
        for line in self.process.stderr:
            heard.append(line)
            if words in line:
                return line
        pytest.fail(f"{words!r} was never said in:\n{''.join(heard)}")

    def end(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        assert self.process.stderr is not None
        self.process.stderr.read()
        return self.process.wait()

    def close(self) -> None:
        self._deadline.cancel()
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def start(home: Path) -> Iterator[Callable[[], Trainer]]:
    started: list[Trainer] = []

    def begin() -> Trainer:
        started.append(Trainer(home))
        return started[-1]

    yield begin
    for trainer in started:
        trainer.close()


def scraped(trainer: Trainer) -> set[str]:
    port = re.search(r":(\d+)/metrics", trainer.until("trainer ready")).group(1)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        families = text_string_to_metric_families(response.read().decode())
        return {sample.name for family in families for sample in family.samples}


@pytest.mark.slow
def test_a_process_trains_is_scraped_and_stops_cleanly(
    home: Path, start: Callable[[], Trainer], make_plan: MakePlan, base_folder: Path
) -> None:
    store = RunStore(home)
    queued = store.create("default", make_plan())
    trainer = start()
    names = scraped(trainer)
    trainer.until(f"{queued.run_id}: completed")
    assert trainer.end(signal.SIGTERM) == 0
    assert {"ragweld_train_busy", "ragweld_train_runs_total"} <= names <= {spec.name for spec in TRAINER_METRICS}
    done = store.get(queued.run_id)
    assert done.status == "completed"
    assert AdapterStore(home).active(BaseId(done.plan.base)) == done.adapter_id
    shapes = linear_shapes(load(BaseId("tiny"), base_folder).model)
    assert read_adapter(store.model_folder(done.run_id), shapes).adapter_id == done.adapter_id


@pytest.mark.slow
def test_a_killed_trainer_leaves_an_interrupted_run_and_no_half_artifact(
    home: Path, start: Callable[[], Trainer], make_plan: MakePlan
) -> None:
    store = RunStore(home)
    long, following = store.create("default", make_plan(epochs=1000)), store.create("default", make_plan(epochs=1))
    first = start()
    first.until("The path is drawn")
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    lost = store.get(long.run_id)
    assert lost.status == "interrupted"
    assert not store.model_folder(lost.run_id).exists()
    assert events.read_events(store.metrics_path(lost.run_id))[-1].status == "interrupted"
    second = start()
    second.until(f"{following.run_id}: completed")
    assert second.end(signal.SIGINT) == 0
    assert store.get(following.run_id).status == "completed"


@pytest.mark.slow
def test_cancel_and_stop_end_a_run_within_seconds(
    home: Path, start: Callable[[], Trainer], make_plan: MakePlan
) -> None:
    store = RunStore(home)
    first, second = (store.create("default", make_plan(epochs=1000, seed=seed)) for seed in (1, 2))
    trainer = start()
    trainer.until("The path is drawn")
    store.apply(first.run_id, CancelRequested())
    trainer.until(f"{first.run_id}: cancelled")
    trainer.until("The path is drawn")
    assert trainer.end(signal.SIGTERM) == 0
    assert [store.get(run.run_id).status for run in (first, second)] == ["cancelled", "interrupted"]


def test_a_second_trainer_says_so_and_does_not_start(home: Path) -> None:
    claim = files.Claim.take(home / DEVICE_LOCK)
    assert claim is not None
    with pytest.raises(Conflict, match="Another trainer already works"):
        run(Settings(trainer=TrainerSettings(metrics_port=0)), home)
    claim.release()


def test_a_queue_that_cannot_be_read_is_tried_again(
    home: Path, make_plan: MakePlan, caplog: pytest.LogCaptureFixture
) -> None:
    class OneWait(threading.Event):
        """Told to stop while it waits."""

        def wait(self, timeout: float | None = None) -> bool:
            self.set()
            return True

    store = RunStore(home)
    torn = store.create("default", make_plan())
    (store.folder(torn.run_id) / "run.json").write_bytes(b"{")
    place = Workplace(
        home=home, mirror=lambda scope: home / scope, store=store, adapters=AdapterStore(home), stop=OneWait()
    )
    work(place, poll_interval_s=0.05)
    assert "cannot be used" in caplog.text


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device"), "The disk is full. Free some space and start the run again."),
        (MemoryError("no"), "Out of memory (no). Lower batch_size or max_length."),
        (
            RuntimeError("[malloc] Unable to allocate 5 bytes."),
            "Out of memory ([malloc] Unable to allocate 5 bytes.). Lower batch_size or max_length.",
        ),
        (RuntimeError("odd\nshape"), "RuntimeError: odd shape. The trainer's log has the details."),
        (KeyError("x" * 900), "KeyError: '" + "x" * 489),
    ],
)
def test_every_fault_is_one_line_that_says_what_to_change(error: Exception, line: str) -> None:
    assert explain(error) == line
