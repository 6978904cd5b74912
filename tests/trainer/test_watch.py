"""The watch sees wishes and stops, and beats for as long as somebody looks."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from catalog import heartbeat
from catalog.run_life import CancelRequested, Ended, PauseRequested, ResumeRequested, RunEvent
from catalog.runs import RunStore
from tests.trainer.conftest import MakePlan
from trainer.watch import Halted, Watch


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "home")


@pytest.fixture
def run_id(store: RunStore, make_plan: MakePlan) -> str:
    store.create("default", make_plan())
    claimed = store.claim_next()
    assert claimed is not None
    return claimed.run.run_id


@pytest.mark.parametrize(
    ("happened", "status"),
    [(CancelRequested(), "cancelled"), (PauseRequested(), "paused"), (Ended("failed"), "failed")],
)
def test_a_change_is_seen_at_the_next_look(store: RunStore, run_id: str, happened: RunEvent, status: str) -> None:
    seen = Watch(store, run_id, threading.Event())
    seen.look()
    store.apply(run_id, happened)
    with pytest.raises(Halted) as halted:
        seen.look()
    assert halted.value.status == status


def test_a_pause_taken_back_is_none(store: RunStore, run_id: str) -> None:
    seen = Watch(store, run_id, threading.Event())
    store.apply(run_id, PauseRequested())
    store.apply(run_id, ResumeRequested())
    seen.look()


def test_a_stop_is_seen_first(store: RunStore, run_id: str) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Halted, match="resume it to go on"):
        Watch(store, run_id, stop).look()


def beats(store: RunStore, run_id: str, atleast: int, within_s: float = 60) -> int:
    """How many different beats were seen until there were enough, or until they ended."""
    path = store.root / run_id / "heartbeat"
    seen, deadline_s = set(), time.monotonic() + within_s
    while len(seen) < atleast and time.monotonic() < deadline_s:
        seen.add(path.read_bytes())
    return len(seen)


def test_it_beats_while_it_is_looked_at(store: RunStore, run_id: str) -> None:
    with Watch(store, run_id, threading.Event(), beat_every_s=0.005):
        assert beats(store, run_id, 4) == 4
    age_s = heartbeat.age_s(store.root / run_id / "heartbeat", time.monotonic())
    assert age_s is not None
    assert age_s < 60


def test_work_that_nobody_looks_up_from_stops_beating(store: RunStore, run_id: str) -> None:
    with Watch(store, run_id, threading.Event(), beat_every_s=0.005, unseen_beats=3):
        assert beats(store, run_id, 100, within_s=0.5) <= 4
