"""The store and the rules as users understand them agree over any history, whoever dies, hangs or asks twice."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from catalog.errors import Conflict
from catalog.events import read_events
from catalog.run_life import (
    CancelRequested,
    Ended,
    Explained,
    Lost,
    Paused,
    PauseRequested,
    ResumeRequested,
    Revived,
    Run,
    RunEvent,
    Stalled,
    Started,
    next_run,
)
from catalog.runs import STALLED_AFTER_S, ClaimedRun, RunStore
from tests.catalog.run_model import Life, Refused
from tests.catalog.test_runs import NOW, PLAN, Seconds, queued

EVENTS: dict[str, RunEvent] = {
    "start": Started(),
    "cancel": CancelRequested(),
    "pause": PauseRequested(),
    "resume": ResumeRequested(),
    "put aside": Paused(),
    "die": Lost(),
    "fall silent": Stalled(),
    "be heard": Revived(),
    "complete": Ended("completed"),
    "fail": Ended("failed"),
    "diverge": Ended("diverged"),
    "be stopped": Ended("interrupted"),
    "be explained": Explained("oom"),
}
WISHES = ("cancel", "pause", "resume")


def as_understood(run: Run) -> Life:
    """What a user sees of a run."""
    wish = "cancel" if run.cancel_requested else "pause" if run.pause_requested else ""
    return Life(run.status, wish if run.status == "running" else "", run.stalled, run.lost, run.losses)


@pytest.mark.slow
@settings(max_examples=10_000)
@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=25))
def test_rules_and_system_agree_over_ten_thousand_histories(history: list[str]) -> None:
    run, life = queued(), Life()
    for act in history:
        try:
            life = life.after(act)
        except Refused:
            with pytest.raises(Conflict):
                next_run(run, EVENTS[act], NOW)
            continue
        run = next_run(run, EVENTS[act], NOW)
        assert as_understood(run) == life


class Lives(RuleBasedStateMachine):
    """A store with a few runs, one trainer that dies and hangs, and people who ask whatever they like."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.clock = Seconds()
        self.store = RunStore(self.home, now=lambda: datetime(2026, 11, 26, tzinfo=UTC), clock=self.clock)
        self.lives: dict[str, Life] = {}
        self.told: dict[str, list[str]] = {}
        self.trainer: ClaimedRun | None = None
        self.is_hanging = False

    def teardown(self) -> None:
        if self.trainer is not None:
            self.trainer.claim.release()
        shutil.rmtree(self.home)

    @initialize()
    def begin(self) -> None:
        self.ask_for_a_run()

    @precondition(lambda self: len(self.lives) < 3)
    @rule()
    def ask_for_a_run(self) -> None:
        run_id = self.store.create("default", PLAN).run_id
        self.lives[run_id], self.told[run_id] = Life(), ["queued"]

    @rule(act=st.sampled_from(WISHES), data=st.data(), times=st.integers(1, 2))
    def wish(self, act: str, data: st.DataObject, times: int) -> None:
        """Once, or twice: the second time is as allowed or as forbidden as the rules say."""
        run_id = data.draw(st.sampled_from(sorted(self.lives)))
        for _ in range(times):
            self.do(run_id, act)

    @precondition(lambda self: self.trainer is None)
    @rule()
    def take_the_oldest(self) -> None:
        waiting = [run_id for run_id, life in self.lives.items() if life.status == "queued"]
        self.trainer, self.is_hanging = self.store.claim_next(), False
        assert (self.trainer.run.run_id if self.trainer else None) == (waiting[0] if waiting else None)
        if waiting:
            self.note(waiting[0], "start")

    @precondition(lambda self: self.trainer is not None)
    @rule(act=st.sampled_from(["put aside", "complete", "fail", "diverge", "be stopped"]))
    def leave_the_run(self, act: str) -> None:
        """The trainer says how it ends, perhaps of a run that others have ended while it hung."""
        assert self.trainer is not None
        self.do(self.trainer.run.run_id, act)
        self.release()

    @precondition(lambda self: self.trainer is not None)
    @rule()
    def kill_the_trainer(self) -> None:
        assert self.trainer is not None
        run_id = self.trainer.run.run_id
        self.release()
        if self.lives[run_id].status == "running":
            self.note(run_id, "die")

    @precondition(lambda self: self.trainer is not None)
    @rule()
    def hang(self) -> None:
        """Silence for longer than a living trainer has, then somebody looks."""
        assert self.trainer is not None
        self.clock.now_s += STALLED_AFTER_S + 1
        run_id = self.trainer.run.run_id
        if self.lives[run_id].status == "running" and not self.lives[run_id].is_silent:
            self.note(run_id, "fall silent")

    @precondition(lambda self: self.trainer is not None)
    @rule()
    def beat(self) -> None:
        assert self.trainer is not None
        run_id = self.trainer.run.run_id
        self.store.beat(run_id)
        if self.lives[run_id].is_silent:
            self.note(run_id, "be heard")

    @precondition(lambda self: self.trainer is None)
    @rule(data=st.data())
    def explain_a_death(self, data: st.DataObject) -> None:
        self.do(data.draw(st.sampled_from(sorted(self.lives))), "be explained")

    @invariant()
    def everybody_sees_the_same_and_was_told_every_change_once(self) -> None:
        for run_id, life in self.lives.items():
            assert as_understood(self.store.get(run_id)) == life
            events = read_events(self.store.metrics_path(run_id))
            assert [event.status for event in events if event.type == "state"] == self.told[run_id]
        assert [run.run_id for run in self.store.list()][::-1] == list(self.lives)

    def do(self, run_id: str, act: str) -> None:
        """Let the store do it, if the rules allow it."""
        try:
            after = self.lives[run_id].after(act)
        except Refused:
            with pytest.raises(Conflict):
                self.store.apply(run_id, EVENTS[act])
            return
        assert as_understood(self.store.apply(run_id, EVENTS[act])) == after
        self.note(run_id, act)

    def note(self, run_id: str, act: str) -> None:
        """What the rules say has happened, and been told."""
        before = self.lives[run_id]
        after = self.lives[run_id] = before.after(act)
        if after.is_silent and not before.is_silent:
            self.told[run_id].append("stalled")
        elif after.status != before.status or before.is_silent != after.is_silent:
            self.told[run_id].append(after.status)

    def release(self) -> None:
        assert self.trainer is not None
        self.trainer.claim.release()
        self.trainer = None


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=40, stateful_step_count=25)
