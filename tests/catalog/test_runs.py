"""The life of a run: every history gives a state that the rules allow, and death is seen by the next reader."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import Conflict, InvalidRequest, NotFound
from catalog.events import read_events
from catalog.plan import Plan
from catalog.runs import ENDED, CancelRequested, Decided, Ended, Promotion, Run, RunEvent, RunStore, Started, next_run

NOW = datetime(2026, 11, 23, tzinfo=UTC)
PLAN = Plan(
    base="ragweld-nano", dataset_path="d.jsonl", seed=0, epochs=1, batch_size=1, lr=1e-3, warmup_ratio=0.1,
    max_length=64, lora_rank=4, lora_alpha=8, lora_dropout=0, lora_target_modules=["q_proj"], grad_accum_steps=1,
    telemetry_interval_steps=2, promote_if_improves=True, promote_epsilon=0,
)  # fmt: skip
PROMOTION = Promotion(promoted=True, adapter_id="a", reason="better", ts="t")
EVENTS: list[RunEvent] = [
    Started(),
    CancelRequested(),
    Decided(PROMOTION),
    *(Ended(status) for status in sorted(ENDED)),
]


def queued() -> Run:
    return Run(run_id="r", scope="s", status="queued", plan=PLAN, created_at="t")


@given(st.lists(st.sampled_from(EVENTS), max_size=12))
def test_no_history_leaves_the_rules(history: list[RunEvent]) -> None:
    run = queued()
    for event in history:
        before = run
        try:
            run = next_run(run, event, NOW)
        except Conflict:
            assert run is before
            continue
        if before.status in ENDED:
            assert run.status == before.status, "an ended run never moves"
        assert (run.ended_at is not None) == (run.status in ENDED)
        assert run.promotion is None or run.status == "completed"
        assert run.started_at is not None or run.status in ("queued", "cancelled")


def test_cancel_of_a_queued_run_ends_it_and_twice_is_the_same() -> None:
    cancelled = next_run(queued(), CancelRequested(), NOW)
    assert cancelled.status == "cancelled"
    assert next_run(cancelled, CancelRequested(), NOW) == cancelled


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
