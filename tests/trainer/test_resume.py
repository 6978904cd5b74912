"""A run that was stopped anywhere and resumed is the run that was never stopped: weights, optimizer, losses, events."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.adapters import WEIGHTS_FILE, AdapterStore
from catalog.events import Event, read_events
from catalog.plan import Plan
from catalog.run_life import CancelRequested, Ended, PauseRequested, ResumeRequested, Run, RunEvent
from catalog.runs import RunStore
from tests.trainer.conftest import MakePlan
from trainer import checkpoints
from trainer.main import LOSSES_RESUMED, train_next, work
from trainer.run import Workplace
from trainer.telemetry import PICTURE_STATES

MEASURED = (
    "type", "step", "epoch", "metrics", "percent", "loss", "probe_loss", "lr", "grad_norm", "param_norm", "update_norm",
    "proj_x", "proj_y", "proj_off_plane", "proj_share", "proj_digest", "sample_count",
)  # fmt: skip
"""Everything in an event but what time it was and how long it took."""


class Killed(BaseException):
    """Takes the trainer away as `kill -9` does: nothing catches it and nothing is saved."""


class Home:
    """A home folder with a trainer."""

    def __init__(self, folder: Path) -> None:
        self.store = RunStore(folder)
        self.place = Workplace(
            home=folder,
            mirror=lambda scope, base: folder / "models" / scope,
            store=self.store,
            adapters=AdapterStore(folder),
        )

    def create(self, plan: Plan) -> str:
        return self.store.create("default", plan).run_id

    def train(self, run_id: str, clock: Callable[[], float] | None = None, **seams: object) -> Run:
        """Let the trainer live until the run leaves it or `clock` kills it."""
        try:
            assert train_next(replace(self.place, **({"clock": clock} if clock else {}), **seams))
        except Killed:
            assert self.store.get(run_id).status == "interrupted"
        return self.store.get(run_id)

    def measured(self, run_id: str) -> list[dict[str, object]]:
        events = read_events(self.store.metrics_path(run_id))
        measured = [event for event in events if event.type in ("telemetry", "metrics", "progress", "complete")]
        planes = [event for event in events if event.status in ("plane_frozen", "plane_refit")]
        told = [{name: getattr(event, name) for name in MEASURED} for event in measured]
        return told + [{"step": event.step, "message": event.message} for event in planes]

    def states(self, run_id: str) -> list[tuple[str | None, int | None]]:
        events: list[Event] = read_events(self.store.metrics_path(run_id))
        states = [event for event in events if event.type == "state" and event.status not in PICTURE_STATES]
        return [(event.status, event.step) for event in states]

    def steps_saved(self, run_id: str) -> list[int]:
        folders = self.store.checkpoints_folder(run_id).glob("step_*")
        return sorted(int(folder.name.removeprefix("step_")) for folder in folders)

    def weights(self, run: Run) -> bytes:
        return (self.store.model_folder(run.run_id) / WEIGHTS_FILE).read_bytes()


def at_look(count: int, act: Callable[[], object]) -> Callable[[], float]:
    """A clock that does something when it is looked at for the `count`-th time."""
    looks = itertools.count(1)

    def clock() -> float:
        look = next(looks)
        if look == count:
            act()
        return look / 10

    return clock


def kill() -> None:
    raise Killed


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(scope="module")
def whole_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def plan(make_plan: MakePlan, whole_home: Home) -> Plan:
    """A plan whose dataset stays where it is for all tests of this module."""
    made = make_plan(promote_if_improves=False)
    kept = whole_home.place.home / "facts.jsonl"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(Path(made.dataset_path).read_bytes())
    return made.model_copy(update={"dataset_path": str(kept)})


@pytest.fixture
def whole(whole_home: Home, plan: Plan) -> Run:
    """The run that was never stopped."""
    done = [run for run in whole_home.store.list() if run.status == "completed"]
    return done[0] if done else whole_home.train(whole_home.create(plan))


def assert_equal(home: Home, run: Run, whole_home: Home, whole: Run) -> None:
    assert run.status == "completed"
    assert run.adapter_id == whole.adapter_id
    assert home.weights(run) == whole_home.weights(whole)
    assert home.measured(run.run_id) == whole_home.measured(whole.run_id)
    assert last_checkpoint(home, run) == last_checkpoint(whole_home, whole)
    for name in ("primary_best", "primary_final", "best_step", "stability_stddev"):
        assert getattr(run.summary, name) == getattr(whole.summary, name)


def last_checkpoint(home: Home, run: Run) -> dict[str, bytes]:
    """Bytes of the last step's tensors: the optimizer's too."""
    folder = home.store.checkpoints_folder(run.run_id) / f"step_{home.steps_saved(run.run_id)[-1]}"
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize("look", [3, 17, 52, *(pytest.param(look, marks=pytest.mark.slow) for look in range(4, 64, 6))])
def test_killed_anywhere_and_resumed_it_is_the_run_that_was_never_stopped(
    home: Home, plan: Plan, whole_home: Home, whole: Run, look: int
) -> None:
    run_id = home.create(plan)
    assert home.train(run_id, at_look(look, kill)).lost
    home.store.apply(run_id, ResumeRequested())
    assert_equal(home, home.train(run_id), whole_home, whole)
    saved = home.states(run_id)[-2][1]
    states = [status for status, _ in home.states(run_id)]
    assert states == ["queued", "running", "interrupted", "queued", "running", "resumed", "completed"]
    assert saved is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adafactor", "lr_schedule": "linear", "weight_decay": 0.1},
        {"grad_checkpoint": True, "lr_schedule": "constant", "max_grad_norm": 0.0},
        {"eval_interval_steps": 1, "early_stopping_patience": 6, "lr": 1e-12},
        {"lora_kind": "dora"},
    ],
    ids=["adafactor", "recomputing", "early stopping", "dora"],
)
def test_under_every_setting_killed_and_resumed_is_never_stopped(
    home: Home, plan: Plan, changes: dict[str, object]
) -> None:
    plan = plan.model_copy(update=changes)
    whole = home.train(home.create(plan))
    run_id = home.create(plan)
    for look in (11, 17):
        assert home.train(run_id, at_look(look, kill)).lost
        home.store.apply(run_id, ResumeRequested())
    run = home.train(run_id)
    assert_equal(home, run, home, whole)
    assert run.reason == whole.reason
    assert (run.reason is not None) == ("early_stopping_patience" in changes)


@pytest.mark.parametrize("objective", ["dpo", "orpo"])
def test_a_run_on_pairs_killed_and_resumed_is_never_stopped(home: Home, plan: Plan, objective: str) -> None:
    path = home.place.home / "pairs.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"prompt": f"Where is rope {n}?" + " Say." * (n % 4), "chosen": f"Berth {n}.", "rejected": "No."}
        for n in range(20)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = plan.model_copy(update={"dataset_path": str(path), "objective": objective})
    whole = home.train(home.create(plan))
    run_id = home.create(plan)
    for look in (11, 23):
        assert home.train(run_id, at_look(look, kill)).lost
        home.store.apply(run_id, ResumeRequested())
    assert_equal(home, home.train(run_id), home, whole)


@pytest.mark.slow
def test_killed_again_and_again_it_is_still_the_same_run(home: Home, plan: Plan, whole_home: Home, whole: Run) -> None:
    random_looks = random.Random(20)
    run_id = home.create(plan)
    lives = 0
    while (run := home.train(run_id, at_look(random_looks.randint(2, 30), kill))).status == "interrupted":
        lives += 1
        home.store.apply(run_id, ResumeRequested())
        assert lives < 100
    assert lives > 2
    assert_equal(home, run, whole_home, whole)


@pytest.mark.parametrize(
    ("asked", "status"), [(PauseRequested(), "paused"), (CancelRequested(), "cancelled")], ids=["pause", "cancel"]
)
@pytest.mark.parametrize("look", [9, 30])
def test_a_request_saves_first(
    home: Home, plan: Plan, whole_home: Home, whole: Run, asked: RunEvent, status: str, look: int
) -> None:
    run_id = home.create(plan)
    left = home.train(run_id, at_look(look, lambda: home.store.apply(run_id, asked)))
    assert left.status == status
    done = [event["step"] for event in home.measured(run_id)]
    assert home.steps_saved(run_id)[-1] == max(done)
    if status == "paused":
        home.store.apply(run_id, ResumeRequested())
        assert_equal(home, home.train(run_id), whole_home, whole)


def test_a_trainer_told_to_stop_saves_first(home: Home, plan: Plan, whole_home: Home, whole: Run) -> None:
    run_id = home.create(plan)
    assert home.train(run_id, at_look(30, home.place.stop.set)).status == "interrupted"
    assert not home.store.get(run_id).lost
    home.place.stop.clear()
    home.store.apply(run_id, ResumeRequested())
    assert_equal(home, home.train(run_id), whole_home, whole)


def test_a_torn_checkpoint_is_passed_over_for_the_one_before(
    home: Home, plan: Plan, whole_home: Home, whole: Run
) -> None:
    run_id = home.create(plan)
    home.train(run_id, at_look(40, kill))
    before, torn = home.steps_saved(run_id)
    path = home.store.checkpoints_folder(run_id) / f"step_{torn}" / checkpoints.OPTIMIZER
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    home.store.apply(run_id, ResumeRequested())
    assert_equal(home, home.train(run_id), whole_home, whole)
    assert ("resumed", before) in home.states(run_id)
    errors = [event.message for event in read_events(home.store.metrics_path(run_id)) if event.type == "error"]
    assert errors == [f"step_{torn} cannot be used: {checkpoints.OPTIMIZER} is not what was written"]


class DiskFails:
    """An fsync that reports an error from the `first` call to the `last`."""

    def __init__(self, number: int, first: int, last: int) -> None:
        self.number, self.first, self.last, self.calls = number, first, last, 0

    def __call__(self, path: Path) -> None:
        self.calls += 1
        if self.first <= self.calls <= self.last:
            raise OSError(self.number, "No space left on device" if self.number == 28 else "Input/output error")


@pytest.mark.parametrize("number", [28, 5], ids=["ENOSPC", "EIO"])
def test_a_save_that_fails_is_told_and_the_run_goes_on(
    home: Home, plan: Plan, whole_home: Home, whole: Run, number: int
) -> None:
    run_id = home.create(plan)
    run = home.train(run_id, fsync=DiskFails(number, 10, 12))
    assert_equal(home, run, whole_home, whole)
    errors = [event.message for event in read_events(home.store.metrics_path(run_id)) if event.type == "error"]
    assert len(errors) == 3
    assert all("was not saved" in error and "The one before is kept" in error for error in errors)


def test_after_a_failed_save_the_one_before_is_whole(home: Home, plan: Plan, whole_home: Home, whole: Run) -> None:
    run_id = home.create(plan)
    home.train(run_id, at_look(40, kill), fsync=DiskFails(5, 10, 1000))
    assert home.steps_saved(run_id) == [1]
    home.store.apply(run_id, ResumeRequested())
    assert_equal(home, home.train(run_id), whole_home, whole)
    assert ("resumed", 1) in home.states(run_id)


def test_two_checkpoints_are_kept(whole_home: Home, whole: Run) -> None:
    assert whole_home.steps_saved(whole.run_id) == [11, 12]


def test_a_run_on_other_rows_is_not_resumed(home: Home, plan: Plan, tmp_path: Path) -> None:
    rows = Path(plan.dataset_path).read_bytes().splitlines(keepends=True)
    own = tmp_path / "own.jsonl"
    own.write_bytes(b"".join(rows))
    run_id = home.create(plan.model_copy(update={"dataset_path": str(own)}))
    home.train(run_id, at_look(30, kill))
    own.write_bytes(b"".join(rows[:-1]))
    home.store.apply(run_id, ResumeRequested())
    run = home.train(run_id)
    assert (run.status, run.reason) == (
        "failed",
        "The dataset is not the one that the run began with. Start a new run.",
    )


def test_a_trainer_resumes_what_its_predecessor_lost_but_not_for_ever(home: Home, plan: Plan) -> None:
    run_id = home.create(plan)
    for loss in range(1, LOSSES_RESUMED + 1):
        with pytest.raises(Killed):
            work(replace(home.place, clock=at_look(9, kill)), poll_interval_s=0.01)
        assert home.store.get(run_id).losses == loss
    stop = at_look(1, home.place.stop.set)
    home.place.stop.wait = lambda timeout=None: bool(stop())  # type: ignore[method-assign]
    work(home.place, poll_interval_s=0.01)
    assert home.store.get(run_id).status == "interrupted"


def test_a_run_stopped_after_its_promotion_stays_promoted(home: Home, plan: Plan) -> None:
    class DiesAfterTheEnd(RunStore):
        """The trainer dies when it has promoted and has not said so."""

        def apply(self, run_id: str, event: RunEvent) -> Run:
            if isinstance(event, Ended):
                raise Killed
            return super().apply(run_id, event)

    run_id = home.create(plan.model_copy(update={"promote_if_improves": True}))
    home.train(run_id, store=DiesAfterTheEnd(home.place.home))
    home.store.apply(run_id, ResumeRequested())
    run = home.train(run_id)
    assert (run.status, run.promotion.promoted) == ("completed", True)
    assert len(json.loads(home.place.adapters.aliases_path.read_bytes())["bases"][plan.base]) == 1
