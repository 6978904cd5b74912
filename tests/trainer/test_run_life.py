"""Whatever people ask of a real trainer and however often it dies, the run ends as asked, or as the run of no stops.

Its gate too: a complete run has been promoted once, by the numbers of the run of no stops; a cancelled one never.
"""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from catalog.adapters import AdapterStore
from catalog.errors import Conflict
from catalog.plan import Plan
from catalog.run_life import CancelRequested, PauseRequested, ResumeRequested, Run, RunEvent
from catalog.runs import RunStore
from tests.trainer.conftest import MakePlan
from tests.trainer.process import DEADLINE_S, Trainer, wait_for_steps
from trainer.main import train_next
from trainer.run import Workplace

WISHES: dict[str, RunEvent] = {
    "pause": PauseRequested(),
    "resume": ResumeRequested(),
    "cancel": CancelRequested(),
}
ACTS = ("kill", "stop", "wait", *WISHES, *WISHES)
STEPS = 60
IN_THE_GATE = STEPS
"""All steps are taken, and the gate has its checks before it."""
CHECKS = 24


@pytest.fixture(scope="module")
def undisturbed() -> list[Run]:
    """The run of no stops, once there is one."""
    return []


@pytest.mark.slow
@settings(max_examples=2, suppress_health_check=list(HealthCheck))
@given(
    acts=st.lists(st.sampled_from(ACTS), min_size=2, max_size=6),
    steps=st.one_of(st.integers(1, 6), st.just(IN_THE_GATE)),
)
@example(acts=["pause", "resume", "kill", "pause"], steps=IN_THE_GATE)
@example(acts=["stop", "wait", "cancel"], steps=IN_THE_GATE)
def test_a_real_run_ends_as_the_rules_say(
    make_plan: MakePlan, tmp_path: Path, undisturbed: list[Run], acts: list[str], steps: int
) -> None:
    plan = with_a_gate_that_takes_its_time(make_plan(epochs=STEPS // 3), tmp_path)
    if not undisturbed:
        undisturbed.append(of_no_stops(plan))
    with tempfile.TemporaryDirectory() as folder, trainers(Path(folder)) as alive:
        store = RunStore(Path(folder))
        run_id = store.create("default", plan).run_id
        alive.start()
        wait_for_steps(store, run_id, steps)
        is_cancelled = False
        for act in acts:
            is_cancelled |= do(act, alive, store, run_id)
        run = ended(alive, store, run_id)
        moves = AdapterStore(Path(folder)).aliases().bases.get(plan.base, [])
        if run.status == "completed":
            assert run.promotion is not None and undisturbed[0].promotion is not None
            assert (run.adapter_id, run.promotion.decision) == (
                undisturbed[0].adapter_id,
                undisturbed[0].promotion.decision,
            )
            assert [move.adapter_id for move in moves] == [run.adapter_id]
        else:
            assert is_cancelled and run.status == "cancelled" and moves == []


def with_a_gate_that_takes_its_time(plan: Plan, folder: Path) -> Plan:
    """Many checks, all of which pass."""
    check = {"max_tokens": 32, "regex": r"^[\s\S]*$"}
    lines = [json.dumps({"prompt": f"What is berth {number} for?"} | check) for number in range(CHECKS)]
    path = folder / "checks.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    return plan.model_copy(update={"gate_checks_path": str(path)})


def of_no_stops(plan: Plan) -> Run:
    """What the plan gives when nobody disturbs it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        place = Workplace(home, lambda scope, base: home / scope, RunStore(home), AdapterStore(home))
        run_id = place.store.create("default", plan).run_id
        assert train_next(place)
        return place.store.get(run_id)


class Alive:
    """At most one trainer at a time, started again when it is needed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.trainer: Trainer | None = None

    def start(self) -> None:
        if self.trainer is None:
            self.trainer = Trainer(self.home)

    def end(self, number: int) -> None:
        if self.trainer is not None:
            self.trainer.end(number)
            self.trainer.close()
            self.trainer = None


@contextmanager
def trainers(home: Path) -> Iterator[Alive]:
    alive = Alive(home)
    try:
        yield alive
    finally:
        alive.end(signal.SIGKILL)


def do(act: str, alive: Alive, store: RunStore, run_id: str) -> bool:
    """Do it, if the run may have it now; whether the run is to be cancelled."""
    match act:
        case "kill":
            alive.end(signal.SIGKILL)
        case "stop":
            alive.end(signal.SIGTERM)
        case "wait":
            alive.start()
            time.sleep(0.3)
        case _:
            store.get(run_id)
            try:
                return store.apply(run_id, WISHES[act]).cancel_requested
            except Conflict:
                return False
    return False


def ended(alive: Alive, store: RunStore, run_id: str) -> Run:
    """The run when it has ended for good, resumed as often as it waits."""
    end_s = time.monotonic() + DEADLINE_S
    while (run := store.get(run_id)).status not in ("completed", "cancelled"):
        assert time.monotonic() < end_s, run
        assert run.status not in ("failed", "diverged"), run.reason
        alive.start()
        if run.status in ("paused", "interrupted"):
            with contextlib.suppress(Conflict):  # a new trainer may have been faster
                store.apply(run_id, ResumeRequested())
        time.sleep(0.05)
    return run
