"""The reporter loses no event to a full disk and tells nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.events import read_events
from catalog.runs import RunStore
from tests.trainer.conftest import MakePlan
from trainer.evaluate import Measurement
from trainer.exporter import Board
from trainer.telemetry import Reporter

FULL = Path("/dev/full")


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "home")


@pytest.fixture
def run_id(store: RunStore, make_plan: MakePlan) -> str:
    return store.create("default", make_plan()).run_id


def reporter(store: RunStore, run_id: str) -> Reporter:
    return Reporter(store, Board(), run_id, "tiny", steps_planned=12, points_planned=12)


def messages(store: RunStore, run_id: str) -> list[str | None]:
    return [event.message for event in read_events(store.metrics_path(run_id)) if event.type != "state"]


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_events_wait_for_a_full_disk_in_order(store: RunStore, run_id: str) -> None:
    path = store.metrics_path(run_id)
    talking = reporter(store, run_id)
    talking.say("one")
    aside = path.rename(path.with_name("aside"))
    path.symlink_to(FULL)
    talking.say("two")
    talking.say("three")
    with pytest.raises(OSError, match="No space left"):
        talking.flush()
    aside.rename(path)
    talking.say("four")
    assert messages(store, run_id) == ["one", "two", "three", "four"]


def test_a_second_life_does_not_repeat_the_first(store: RunStore, run_id: str) -> None:
    assert not reporter(store, run_id).has_told
    for _ in range(2):
        life = reporter(store, run_id)
        life.say("one")
        life.say("two")
    assert life.has_told
    assert messages(store, run_id) == ["one", "two"]


def test_the_best_step_is_the_one_with_the_lowest_measured_loss(store: RunStore, run_id: str) -> None:
    talking = reporter(store, run_id)
    talking.evaluated(0, 0.0, None, Measurement((3.0,), (1,)), None)
    assert talking.snapshot.best_step is None
    best_steps = []
    for step, loss, best in ((4, 2.0, 2.0), (8, 1.0, 1.0), (12, 1.5, 1.0)):
        talking.evaluated(step, 0.5, loss, Measurement((loss,), (1,)), best)
        best_steps.append(talking.snapshot.best_step)
    assert best_steps == [4, 8, 8]
