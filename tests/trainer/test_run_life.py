"""Whatever people ask of a real trainer and however often it dies, the run ends as asked, or as the run of no stops."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.adapters import AdapterStore
from catalog.errors import Conflict
from catalog.plan import Plan
from catalog.runs import CancelRequested, PauseRequested, ResumeRequested, Run, RunEvent, RunStore
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


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The adapter of the run of no stops, once it is known."""
    return {}


@pytest.mark.slow
@settings(max_examples=4, suppress_health_check=list(HealthCheck))
@given(acts=st.lists(st.sampled_from(ACTS), min_size=2, max_size=6), steps=st.integers(1, 6))
def test_a_real_run_ends_as_the_rules_say(
    make_plan: MakePlan, kept: dict[str, str], acts: list[str], steps: int
) -> None:
    plan = make_plan(epochs=STEPS // 3, promote_if_improves=False)
    if not kept:
        kept["adapter"] = of_no_stops(plan)
    with tempfile.TemporaryDirectory() as folder, trainers(Path(folder)) as alive:
        store = RunStore(Path(folder))
        run_id = store.create("default", plan).run_id
        alive.start()
        wait_for_steps(store, run_id, steps)
        is_cancelled = False
        for act in acts:
            is_cancelled |= do(act, alive, store, run_id)
        run = ended(alive, store, run_id)
        assert run.status == "completed" or (is_cancelled and run.status == "cancelled")
        assert run.status == "cancelled" or run.adapter_id == kept["adapter"]


def of_no_stops(plan: Plan) -> str:
    """What the plan gives when nobody disturbs it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        place = Workplace(home, lambda scope: home / scope, RunStore(home), AdapterStore(home))
        run_id = place.store.create("default", plan).run_id
        assert train_next(place)
        return str(place.store.get(run_id).adapter_id)


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
