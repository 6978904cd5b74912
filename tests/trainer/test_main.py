"""The trainer as a real process: it works, is scraped, stops cleanly, and may be killed at any time."""

from __future__ import annotations

import random
import re
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from catalog import events, files
from catalog.adapters import AdapterStore
from catalog.base.load import load
from catalog.base.lora import linear_shapes, read_adapter
from catalog.errors import Conflict, OutOfMemory
from catalog.ids import BaseId
from catalog.plan import Plan
from catalog.run_life import CancelRequested, PauseRequested, ResumeRequested
from catalog.runs import RunStore
from catalog.settings import Settings, TrainerSettings
from tests.trainer.conftest import MakePlan, WriteRows, fact
from tests.trainer.process import Trainer, wait_for_steps
from trainer.deaths import MOST_TRIALS
from trainer.main import DEVICE_LOCK, DIED_OF_MEMORY, LESS_MEMORY, explain, run, work
from trainer.metrics import TRAINER_METRICS
from trainer.run import Workplace
from trainer.telemetry import PICTURE_STATES

KINDS = ("telemetry", "metrics", "progress")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def start(home: Path) -> Iterator[Callable[[], Trainer]]:
    started: list[Trainer] = []

    def begin(**limits: int) -> Trainer:
        started.append(Trainer(home, **limits))
        return started[-1]

    yield begin
    for trainer in started:
        trainer.close()


def scraped(trainer: Trainer) -> set[str]:
    port = re.search(r":(\d+)/metrics", trainer.until("trainer ready")).group(1)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as response:
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
def test_killed_at_random_the_next_trainer_goes_on_and_the_run_is_the_same(
    home: Path, tmp_path: Path, start: Callable[[], Trainer], make_plan: MakePlan
) -> None:
    plan = make_plan(epochs=20, promote_if_improves=False)
    store, random_steps = RunStore(home), random.Random(time.time_ns())
    killed = store.create("default", plan).run_id
    for least in (0, 20):
        trainer = start()
        wait_for_steps(store, killed, least + random_steps.randint(1, 20))
        assert trainer.end(signal.SIGKILL) == -signal.SIGKILL
        lost = store.get(killed)
        assert (lost.status, lost.lost) == ("interrupted", True)
        assert events.read_events(store.metrics_path(killed))[-1].status == "interrupted"
        assert not store.model_folder(killed).exists()
    last = start()
    last.until(f"{killed}: completed")
    whole = store.create("default", plan).run_id
    last.until(f"{whole}: completed")
    assert last.end(signal.SIGINT) == 0
    assert store.get(killed).adapter_id == store.get(whole).adapter_id
    told = [
        [(event.step, event.loss, event.proj_x, event.metrics) for event in stored if event.type in KINDS]
        for stored in (events.read_events(store.metrics_path(run_id)) for run_id in (killed, whole))
    ]
    assert told[0] == told[1]


@pytest.fixture
def large_plan(make_plan: MakePlan, write_rows: WriteRows) -> Plan:
    """One whose micro-batches need more than three gigabytes."""
    asked = {"role": "user", "content": "word " * 1500}
    rows = [{"messages": [asked, fact(number)["messages"][1]]} for number in range(64)]
    return make_plan(dataset_path=str(write_rows(rows, "long.jsonl")), batch_size=64, max_length=2048)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is bounded here by RLIMIT_AS")
def test_memory_that_runs_out_kills_the_trainer_alone_and_the_next_run_starts(
    home: Path, start: Callable[..., Trainer], make_plan: MakePlan, large_plan: Plan
) -> None:
    """A real limit of the kernel, and a trainer that was told that there is plenty."""
    store = RunStore(home)
    dying, living = (store.create("default", plan).run_id for plan in (large_plan, make_plan(epochs=1)))
    limits = {"memory_bytes": 1 << 40, "address_space_bytes": 3 << 30}
    for _ in range(MOST_TRIALS):
        assert start(**limits).dies() < 0
        assert (store.get(dying).lost, store.get(living).status) == (True, "queued")
    last = start(**limits)
    last.until(f"{dying}: failed {DIED_OF_MEMORY}")
    last.until(f"{living}: completed")
    assert (store.get(dying).status, store.get(dying).reason) == ("failed", DIED_OF_MEMORY)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is bounded here by RLIMIT_AS")
def test_a_limit_of_the_kernel_is_seen_before_it_kills(
    home: Path, start: Callable[..., Trainer], make_plan: MakePlan, large_plan: Plan
) -> None:
    store = RunStore(home)
    refused, living = (store.create("default", plan).run_id for plan in (large_plan, make_plan(epochs=1)))
    trainer = start(address_space_bytes=3 << 30)
    trainer.until(f"{refused}: failed oom: The run needs")
    trainer.until(f"{living}: completed")


@pytest.mark.slow
def test_a_trainer_that_hangs_is_seen_and_its_run_can_be_cancelled(
    home: Path, start: Callable[[], Trainer], make_plan: MakePlan
) -> None:
    store = RunStore(home, stalled_after_s=4, cancel_unheard_after_s=3)
    run_id = store.create("default", make_plan(epochs=1000)).run_id
    trainer = start()
    trainer.until("The path is drawn")
    trainer.process.send_signal(signal.SIGSTOP)
    began_s = time.monotonic()
    while not store.get(run_id).stalled:
        assert time.monotonic() < began_s + 60
        time.sleep(0.05)
    assert store.apply(run_id, CancelRequested()).status == "cancelled"
    trainer.process.send_signal(signal.SIGCONT)
    trainer.until(f"{run_id}: cancelled")
    following = store.create("default", make_plan(epochs=1)).run_id
    trainer.until(f"{following}: completed")
    told = events.read_events(store.metrics_path(run_id))
    states = [event.status for event in told if event.type == "state" and event.status not in PICTURE_STATES]
    assert states == ["queued", "running", "stalled", "cancelled"]


@pytest.mark.slow
def test_a_pause_answers_within_seconds_and_the_next_run_starts(
    home: Path, start: Callable[[], Trainer], make_plan: MakePlan
) -> None:
    store = RunStore(home)
    long, short = (store.create("default", make_plan(epochs=epochs)).run_id for epochs in (1000, 1))
    trainer = start()
    trainer.until("The path is drawn")
    store.apply(long, PauseRequested())
    asked_s = time.monotonic()
    trainer.until(f"{long}: paused")
    assert time.monotonic() < asked_s + 30
    trainer.until(f"{short}: completed")
    store.apply(long, ResumeRequested())
    trainer.until("Resumed after step")
    store.apply(long, CancelRequested())
    trainer.until(f"{long}: cancelled")


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


def test_a_queue_that_cannot_be_read_is_tried_again(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    class OneWait(threading.Event):
        """Told to stop while it waits."""

        def wait(self, timeout: float | None = None) -> bool:
            self.set()
            return True

    store = RunStore(home)
    store.root.parent.mkdir(parents=True, exist_ok=True)
    store.root.write_text("a file where the runs should lie")
    place = Workplace(
        home=home, mirror=lambda scope, base: home / scope, store=store, adapters=AdapterStore(home), stop=OneWait()
    )
    work(place, poll_interval_s=0.05)
    assert "cannot be used" in caplog.text


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device"), "The disk is full. Free some space and resume the run."),
        (MemoryError("no"), f"oom: memory ran out (no). {LESS_MEMORY}"),
        (
            RuntimeError("[malloc] Unable to allocate 5 bytes."),
            f"oom: memory ran out ([malloc] Unable to allocate 5 bytes.). {LESS_MEMORY}",
        ),
        (OutOfMemory("The run needs 9 GB.", hint="Lower it."), "oom: The run needs 9 GB. Lower it."),
        (RuntimeError("odd\nshape"), "RuntimeError: odd shape. The trainer's log has the details."),
        (KeyError("x" * 900), "KeyError: '" + "x" * 489),
    ],
)
def test_every_fault_is_one_line_that_says_what_to_change(error: Exception, line: str) -> None:
    assert explain(error) == line
