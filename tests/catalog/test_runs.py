"""The life of a run: every history gives a state that the rules allow, and death is seen by the next reader."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import heartbeat
from catalog.errors import Conflict, InvalidRequest, NotFound
from catalog.events import read_events
from catalog.plan import Plan
from catalog.run_life import (
    ENDED,
    CancelRequested,
    Decided,
    Ended,
    Explained,
    Lost,
    Paused,
    PauseRequested,
    Progress,
    Progressed,
    Promotion,
    ResumeRequested,
    Revived,
    Run,
    RunEvent,
    Stalled,
    Started,
    next_run,
)
from catalog.runs import ClaimedRun, RunStore
from tests.house import full_disk

NOW = datetime(2026, 11, 23, tzinfo=UTC)
PLAN = Plan(
    base="ragweld-nano", dataset_path="d.jsonl", seed=0, epochs=1, batch_size=1, lr=1e-3, warmup_ratio=0.1,
    max_length=64, lora_rank=4, lora_alpha=8, lora_dropout=0, lora_target_modules=["q_proj"], grad_accum_steps=1,
    telemetry_interval_steps=2, promote_if_improves=True, promote_epsilon=0,
)  # fmt: skip
PROMOTION = Promotion(promoted=True, adapter_id="a", reason="better", ts="t")
PROGRESS = Progress(step=1, steps=2, ts="t", eta_s=5.0)
EVENTS: list[RunEvent] = [
    Started(),
    CancelRequested(),
    PauseRequested(),
    ResumeRequested(),
    Paused(),
    Lost(),
    Stalled(),
    Revived(),
    Decided(PROMOTION),
    Explained("oom"),
    Progressed(PROGRESS),
    *(Ended(status) for status in sorted(ENDED)),
]


def queued() -> Run:
    return Run(run_id="r", scope="s", status="queued", plan=PLAN, created_at="t")


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(EVENTS), max_size=25))
def test_no_history_leaves_the_rules(history: list[RunEvent]) -> None:
    run = queued()
    for event in history:
        before = run
        try:
            run = next_run(run, event, NOW)
        except Conflict:
            assert run is before
            continue
        if before.status in ENDED and run.status != before.status:
            assert (run.status, event) in (("queued", ResumeRequested()), ("failed", Explained("oom")))
            assert before.status == "interrupted"
        if before.status == "paused" and run.status != "paused":
            assert run.status == {CancelRequested(): "cancelled", ResumeRequested(): "queued"}[event]
        assert (run.ended_at is not None) == (run.status in ENDED)
        assert run.promotion is None or run.status == "completed"
        assert run.started_at is not None or run.status in ("queued", "paused", "cancelled")
        assert run.status == "running" or not (run.pause_requested or run.stalled)
        assert not (run.cancel_requested and run.status in ("queued", "paused", "interrupted"))
        assert not run.lost or run.status == "interrupted"
        assert run.progress is None or run.progress.eta_s is None or run.status == "running"


@given(st.lists(st.sampled_from(EVENTS), max_size=25))
def test_what_was_asked_twice_is_as_asked_once(history: list[RunEvent]) -> None:
    run = queued()
    for event in history:
        try:
            run = next_run(run, event, NOW)
        except Conflict:
            continue
        if isinstance(event, CancelRequested | PauseRequested):
            assert next_run(run, event, NOW) == run


@pytest.mark.parametrize(
    ("asked", "happened", "status"),
    [
        (CancelRequested(), Lost(), "cancelled"),
        (CancelRequested(), Stalled(), "cancelled"),
        (CancelRequested(), Paused(), "cancelled"),
        (CancelRequested(), Ended("interrupted"), "cancelled"),
        (CancelRequested(), Ended("completed"), "completed"),
        (PauseRequested(), Lost(), "paused"),
        (PauseRequested(), Ended("interrupted"), "paused"),
        (PauseRequested(), Ended("completed"), "completed"),
    ],
)
def test_no_request_is_lost(asked: RunEvent, happened: RunEvent, status: str) -> None:
    running = next_run(queued(), Started(), NOW)
    assert next_run(next_run(running, asked, NOW), happened, NOW).status == status


def test_a_pause_can_be_taken_back_before_it_is_seen() -> None:
    running = next_run(queued(), Started(), NOW)
    assert next_run(next_run(running, PauseRequested(), NOW), ResumeRequested(), NOW) == running


def test_cancel_of_a_queued_run_ends_it_and_twice_is_the_same() -> None:
    cancelled = next_run(queued(), CancelRequested(), NOW)
    assert cancelled.status == "cancelled"
    assert next_run(cancelled, CancelRequested(), NOW) == cancelled


class Seconds:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def watched(tmp_path: Path, clock: Seconds) -> Iterator[tuple[RunStore, ClaimedRun]]:
    """A store with one run that this process owns."""
    store = RunStore(tmp_path, clock=clock)
    store.create("default", PLAN)
    claimed = store.claim_next()
    assert claimed is not None
    yield store, claimed
    claimed.claim.release()


def states(store: RunStore, run_id: str) -> list[str | None]:
    return [event.status for event in read_events(store.metrics_path(run_id)) if event.type == "state"]


def test_a_silent_trainer_is_told_once_and_a_sign_of_life_takes_it_back(
    watched: tuple[RunStore, ClaimedRun], clock: Seconds
) -> None:
    store, claimed = watched
    run_id = claimed.run.run_id
    clock.now_s += 30
    assert not store.get(run_id).stalled
    clock.now_s += 1
    assert [store.get(run_id).stalled, store.list()[0].stalled, store.get(run_id).status] == [True, True, "running"]
    store.beat(run_id)
    assert not store.get(run_id).stalled
    assert states(store, run_id) == ["queued", "running", "stalled", "running"]


def test_a_cancel_does_not_wait_for_a_trainer_that_hangs(watched: tuple[RunStore, ClaimedRun], clock: Seconds) -> None:
    store, claimed = watched
    run_id = claimed.run.run_id
    clock.now_s += 9
    store.apply(run_id, CancelRequested())
    assert store.get(run_id).status == "running"
    clock.now_s += 2
    assert store.get(run_id).status == "cancelled"
    with pytest.raises(Conflict):
        store.apply(run_id, Ended("completed"))


def test_a_cancel_of_a_stalled_run_is_at_once(watched: tuple[RunStore, ClaimedRun], clock: Seconds) -> None:
    store, claimed = watched
    clock.now_s += 31
    assert store.get(claimed.run.run_id).stalled
    assert store.apply(claimed.run.run_id, CancelRequested()).status == "cancelled"


def test_the_beat_of_an_earlier_life_does_not_count(tmp_path: Path, clock: Seconds) -> None:
    store = RunStore(tmp_path, clock=clock)
    run_id = store.create("default", PLAN).run_id
    for _ in range(2):
        claimed = store.claim_next()
        assert claimed is not None
        assert not store.get(run_id).stalled
        claimed.claim.release()
        lost = store.get(run_id)
        assert (lost.status, lost.lost) == ("interrupted", True)
        clock.now_s += 1000
        store.apply(run_id, ResumeRequested())
    assert store.get(run_id).losses == 2


def test_a_full_disk_hides_no_run_and_its_state_is_written_when_there_is_room(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    run_id = store.create("default", PLAN).run_id
    claimed = store.claim_next()
    assert claimed is not None
    claimed.claim.release()
    with full_disk():
        assert [run.status for run in (store.get(run_id), *store.list())] == ["interrupted", "interrupted"]
    assert store.read(run_id).status == "running"
    assert (store.get(run_id).losses, store.read(run_id).status) == (1, "interrupted")


@pytest.mark.parametrize(
    ("most_bytes", "left"),
    [(0, "queued"), (heartbeat.WIDTH, "queued"), (4096, "interrupted")],
    ids=["no beat", "no run.json", "no event"],
)
def test_a_claim_that_a_full_disk_breaks_off_is_held_by_nobody(tmp_path: Path, most_bytes: int, left: str) -> None:
    store = RunStore(tmp_path)
    run_id = store.create("default", PLAN).run_id
    store.append(run_id, "state", message="long " * 1000)
    with full_disk(most_bytes), pytest.raises(OSError):
        store.claim_next()
    assert store.get(run_id).status == left
    if left == "interrupted":
        store.apply(run_id, ResumeRequested())
    claimed = store.claim_next()
    assert claimed is not None and claimed.run.run_id == run_id
    claimed.claim.release()


def test_runs_are_claimed_in_order_and_once(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    created = [store.create("default", PLAN).run_id for _ in range(3)]
    claimed = [store.claim_next() for _ in range(4)]
    assert [item.run.run_id for item in claimed if item] == created
    assert claimed[3] is None
    assert [run.status for run in store.list()] == ["running"] * 3


def test_a_run_whose_trainer_was_killed_is_interrupted_at_the_next_look(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    run_id = store.create("default", PLAN).run_id
    script = "\n".join(
        (
            "import time; from pathlib import Path; from catalog.runs import RunStore",
            f"claimed = RunStore(Path({str(tmp_path)!r})).claim_next()",
            "print(claimed.run.run_id, flush=True); time.sleep(60)",
        )
    )
    trainer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert trainer.stdout is not None
    assert trainer.stdout.readline().decode().strip() == run_id
    assert store.get(run_id).status == "running"
    os.kill(trainer.pid, signal.SIGKILL)
    trainer.wait()
    trainer.stdout.close()
    run = store.get(run_id)
    assert run.status == "interrupted"
    assert run.reason is not None and "died" in run.reason
    assert [event.status for event in read_events(store.metrics_path(run_id))] == ["queued", "running", "interrupted"]
    assert store.claim_next() is None


def test_unknown_and_unsafe_run_ids_are_refused(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with pytest.raises(NotFound):
        store.get("nobody")
    with pytest.raises(InvalidRequest):
        store.get("../../etc")


def test_a_run_whose_file_is_spoiled_hides_no_other_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = RunStore(tmp_path)
    spoiled, sound = (store.create("default", PLAN).run_id for _ in range(2))
    (store.root / spoiled / "run.json").write_bytes(b'{"run_id"')
    assert [run.run_id for run in store.list()] == [run.run_id for run in store.list()] == [sound]
    assert store.has_queued()
    claimed = store.claim_next()
    assert claimed is not None and claimed.run.run_id == sound
    claimed.claim.release()
    assert [spoiled in record.getMessage() for record in caplog.records] == [True]
