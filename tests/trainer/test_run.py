"""A run from its plan to its end, in this process: everything it writes, says, keeps and decides."""

from __future__ import annotations

import itertools
import json
import math
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from catalog import events
from catalog.adapters import WEIGHTS_FILE, AdapterStore, short
from catalog.events import Event
from catalog.ids import AdapterId, BaseId
from catalog.plan import Plan
from catalog.run_life import CancelRequested, PauseRequested, ResumeRequested, Run
from catalog.runs import RunStore
from catalog.settings import Settings
from tests.tiny_base import write_adapter, write_base
from tests.trainer.conftest import MakePlan, WriteRows, fact
from trainer import lesson
from trainer.main import mirror, train_next
from trainer.projection import held_points
from trainer.run import Workplace
from trainer.schedule import learning_rate
from trainer.telemetry import PICTURE_STATES

STEPS = 12


class Home:
    """A home folder with a trainer that takes one run when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.place = Workplace(
            home=folder,
            mirror=lambda scope, base: folder / "models" / scope,
            store=RunStore(folder),
            adapters=AdapterStore(folder),
        )
        self.store = self.place.store
        self.adapters = self.place.adapters

    def train(self, plan: Plan, **seams: object) -> Run:
        """Queue a run, train it, return it as it ended."""
        run = self.store.create("default", plan)
        assert self.take(**seams).run_id == run.run_id
        return self.store.get(run.run_id)

    def take(self, **seams: object) -> Run:
        """Take the oldest queued run and return it as it left the trainer."""
        waiting = [run for run in self.store.list() if run.status == "queued"]
        assert train_next(replace(self.place, **seams))
        return self.store.get(waiting[-1].run_id)

    def events(self, run: Run) -> list[Event]:
        return events.read_events(self.store.metrics_path(run.run_id))

    def of_type(self, run: Run, kind: str) -> list[Event]:
        return [event for event in self.events(run) if event.type == kind]

    def weights(self, run: Run) -> bytes:
        return (self.store.model_folder(run.run_id) / WEIGHTS_FILE).read_bytes()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def after_looks(count: int, act: Callable[[], object]) -> Callable[[], float]:
    """A clock that does something once it has been looked at `count` times."""
    looks = itertools.count(1)

    def clock() -> float:
        look = next(looks)
        if look == count:
            act()
        return look / 10

    return clock


def test_a_run_learns_measures_keeps_and_promotes(home: Home, make_plan: MakePlan) -> None:
    plan = make_plan()
    run = home.train(plan)
    assert (run.status, run.reason) == ("completed", None)

    telemetry = home.of_type(run, "telemetry")
    assert [event.step for event in telemetry] == list(range(1, STEPS + 1))
    for event in telemetry:
        rate = learning_rate(event.step, total_steps=STEPS, peak=plan.lr, warmup_ratio=plan.warmup_ratio)
        assert event.lr == float(np.float32(rate))
        measured = (event.loss, event.probe_loss, event.grad_norm, event.param_norm, event.update_norm)
        assert all(value > 0 for value in (*measured, event.step_time_ms, event.tokens_per_s))
        assert 0 <= event.proj_share <= 1 + 1e-9
        assert math.isclose(
            (event.proj_x**2 + event.proj_y**2) * (1 - event.proj_share),
            event.proj_off_plane**2 * event.proj_share,
            rel_tol=1e-6,
            abs_tol=1e-9,
        )
    assert len({event.proj_digest for event in telemetry}) == 1
    assert telemetry[-1].sample_count == 4 * 18
    assert telemetry[-1].loss < telemetry[0].loss

    measured = home.of_type(run, "metrics")
    assert [event.step for event in measured] == [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12]
    assert set(measured[0].metrics) == {"eval_loss"}
    assert all(set(event.metrics) == {"train_loss", "eval_loss"} for event in measured[1:])
    losses = [event.metrics["eval_loss"] for event in measured[1:]]
    best = min(range(len(losses)), key=losses.__getitem__)
    assert run.summary.primary_best == losses[best]
    assert run.summary.best_step == measured[1:][best].step
    assert run.summary.primary_final == losses[-1]
    assert run.summary.stability_stddev == pytest.approx(np.std(losses[-5:]))

    assert run.promotion.promoted
    assert run.promotion.candidate_loss == pytest.approx(run.summary.primary_best, rel=1e-5)
    assert run.promotion.base_loss == measured[0].metrics["eval_loss"] == run.promotion.active_loss
    assert home.adapters.active(BaseId(plan.base)) == run.adapter_id
    assert home.adapters.resolve(BaseId(plan.base), run.run_id) == run.adapter_id
    assert (home.place.home / "models/default" / WEIGHTS_FILE).read_bytes() == home.weights(run)

    kinds = [event.type for event in home.events(run)]
    assert kinds[-2:] == ["complete", "state"]
    states = [event.status for event in home.of_type(run, "state")]
    assert [status for status in states if status not in PICTURE_STATES] == ["queued", "running", "completed"]
    assert states.count("plane_frozen") == 1
    assert home.of_type(run, "progress")[-1].percent == 100
    said = " ".join(event.message for event in home.of_type(run, "log"))
    for words in ("18 rows to learn from", "2 held out by seed 3", "0 dropped", "12 steps: 4 epochs", "Promoted:"):
        assert words in said


def test_the_folder_that_is_watched_takes_the_default_bases_adapters_only(home: Home, make_plan: MakePlan) -> None:
    folder = home.place.home
    run = home.train(make_plan(epochs=1), mirror=partial(mirror, Settings(), folder))
    assert run.promotion.promoted, run.promotion.reason
    assert not (folder / "models").exists()
    default = Settings.model_validate({"training": {"ragweld_agent_base_model": run.plan.base}})
    watched = folder / default.training.ragweld_agent_model_path
    assert mirror(default, folder, "default", BaseId(run.plan.base)) == watched


def test_a_probe_that_is_rare_is_told_where_it_was_measured_and_shown_until_the_next(
    home: Home, make_plan: MakePlan
) -> None:
    plan = make_plan(surface_grid=0, promote_if_improves=False, epochs=20)
    steps, spacing = 60, lesson.prepare(plan, home.place.home).probe_spacing
    assert 1 < spacing < steps
    told = home.of_type(home.train(plan), "telemetry")
    measured = [event.step for event in told if event.probe_loss is not None]
    assert measured == sorted({*range(spacing, steps + 1, spacing), steps})
    assert home.place.board.snapshot.runs[0].probe_loss == told[-1].probe_loss


def test_points_wait_for_their_plane_and_then_come_in_order(home: Home, make_plan: MakePlan) -> None:
    told = [event for event in home.events(home.train(make_plan())) if event.type in ("telemetry", "progress")]
    kinds, held = [event.type for event in told], held_points(STEPS)
    assert kinds[: held - 1] == ["progress"] * (held - 1)
    assert kinds[held - 1 : 2 * held - 1] == ["telemetry"] * held


def test_two_runs_with_one_seed_are_bit_equal_and_another_seed_is_not(home: Home, make_plan: MakePlan) -> None:
    plans = [make_plan(), make_plan(), make_plan(seed=4)]
    first, second, other = (home.train(plan.model_copy(update={"promote_if_improves": False})) for plan in plans)
    assert home.weights(first) == home.weights(second) != home.weights(other)
    assert first.adapter_id == second.adapter_id
    paths = [
        [(event.loss, event.proj_x, event.proj_y, event.proj_digest) for event in home.of_type(run, "telemetry")]
        for run in (first, second, other)
    ]
    assert paths[0] == paths[1] != paths[2]


def test_the_best_step_is_kept_and_not_the_last(home: Home, make_plan: MakePlan, write_rows: WriteRows) -> None:
    plan = make_plan(dataset_path=str(riddles(write_rows)), epochs=25, lora_rank=16)
    run = home.train(plan)
    assert run.summary.best_step < run.plan.epochs * 3
    assert run.summary.primary_best < run.summary.primary_final
    assert run.promotion.candidate_loss == pytest.approx(run.summary.primary_best, rel=1e-5)
    manifest = json.loads((home.store.model_folder(run.run_id) / "manifest.json").read_bytes())
    assert manifest["best_step"] == run.summary.best_step


def riddles(write_rows: WriteRows) -> Path:
    """Answers without a rule, which can only be learned by heart: that makes the held-out ones worse."""
    letters = np.random.default_rng(0).choice(list("abcdefghij"), (20, 12))
    rows = [fact(number) for number in range(20)]
    for row, answer in zip(rows, letters, strict=True):
        row["messages"][1]["content"] = " ".join(answer)
    return write_rows(rows, "riddles.jsonl")


def test_a_run_that_gets_no_better_is_complete_when_patience_is_over(
    home: Home, make_plan: MakePlan, write_rows: WriteRows
) -> None:
    plan = make_plan(
        dataset_path=str(riddles(write_rows)),
        epochs=25,
        lora_rank=16,
        eval_interval_steps=4,
        early_stopping_patience=3,
    )
    run = home.train(plan)
    measured = [(event.step, event.metrics["eval_loss"]) for event in home.of_type(run, "metrics")][1:]
    last = measured[-1][0]
    assert (run.status, last % 4) == ("completed", 0)
    assert run.reason.startswith(f"Stopped after step {last} of 75: 3 measurements in a row")
    assert min(measured, key=lambda pair: pair[1])[0] == run.summary.best_step == measured[-4][0]
    assert home.of_type(run, "telemetry")[-1].step == last
    assert home.of_type(run, "complete")[0].message == run.reason
    assert run.promotion is not None


@pytest.mark.parametrize(("interval", "steps"), [(5, [0, 5, 10, 12]), (100, [0, 12]), (6, [0, 6, 12])])
def test_held_out_rows_are_measured_as_often_as_asked(
    home: Home, make_plan: MakePlan, interval: int, steps: list[int]
) -> None:
    run = home.train(make_plan(eval_interval_steps=interval, promote_if_improves=False))
    assert [event.step for event in home.of_type(run, "metrics")] == steps


def test_every_setting_of_the_steps_is_honoured(home: Home, make_plan: MakePlan) -> None:
    """Each alone changes what is learned, but recomputing, which only changes how."""
    settings: list[dict[str, object]] = [
        {},
        {"optimizer": "adafactor"},
        {"weight_decay": 0.5},
        {"lr_schedule": "linear"},
        {"lr_schedule": "constant"},
        {"max_grad_norm": 0.01},
        {"grad_checkpoint": True},
    ]
    losses = []
    for changes in settings:
        run = home.train(make_plan(epochs=2, lora_dropout=0.0, promote_if_improves=False, **changes))
        manifest = json.loads((home.store.model_folder(run.run_id) / "manifest.json").read_bytes())
        assert changes.items() <= manifest["plan"].items()
        losses.append(home.of_type(run, "telemetry")[-1].loss)
    assert losses.pop() == pytest.approx(losses[0], rel=1e-4)
    assert len(set(losses)) == len(losses)


def test_without_asking_nothing_is_promoted(home: Home, make_plan: MakePlan) -> None:
    plan = make_plan(promote_if_improves=False)
    run = home.train(plan)
    assert run.status == "completed"
    assert run.promotion is None
    assert home.adapters.active(BaseId(plan.base)) is None
    assert home.adapters.folder(run.adapter_id).is_dir()


def test_what_is_not_better_than_the_active_adapter_stays_out(home: Home, make_plan: MakePlan) -> None:
    plan = make_plan()
    first = home.train(plan)
    worse = home.train(make_plan(lr=1e-5))
    assert not worse.promotion.promoted
    assert "of the active adapter" in worse.promotion.reason
    assert home.adapters.active(BaseId(plan.base)) == first.adapter_id
    assert home.place.board.snapshot.decisions == {"promoted": 1, "refused": 1}


def test_an_active_adapter_that_cannot_be_measured_closes_the_gate(
    home: Home, make_plan: MakePlan, base_folder: Path, tmp_path: Path
) -> None:
    plan = make_plan()
    broken = write_adapter(tmp_path / "broken", base_folder, seed=1, size=math.nan)
    broken_id = home.adapters.put(broken)
    home.adapters.move(BaseId(plan.base), broken_id, expected=None, reason="test")
    run = home.train(plan)
    assert run.status == "completed"
    assert not run.promotion.promoted
    assert "could not be measured" in run.promotion.reason
    assert home.adapters.active(BaseId(plan.base)) == broken_id


def test_an_alias_that_moved_meanwhile_is_not_overrun(
    home: Home, make_plan: MakePlan, base_folder: Path, tmp_path: Path
) -> None:
    class Raced(AdapterStore):
        """Somebody else promotes right after the gate looked."""

        def active(self, base: BaseId) -> AdapterId | None:
            seen = super().active(base)
            other = self.put(write_adapter(tmp_path / "other", base_folder, seed=2))
            self.move(base, other, expected=seen, reason="a person")
            return seen

    run = home.train(make_plan(), adapters=Raced(home.place.home))
    assert not run.promotion.promoted
    assert "is now" in run.promotion.reason
    assert home.adapters.active(BaseId(run.plan.base)) != run.adapter_id


def test_a_cancelled_run_ends_between_two_micro_batches_and_keeps_its_best(home: Home, make_plan: MakePlan) -> None:
    run = home.store.create("default", make_plan())
    cancel = after_looks(17, lambda: home.store.apply(run.run_id, CancelRequested()))
    assert train_next(replace(home.place, clock=cancel))
    ended = home.store.get(run.run_id)
    assert (ended.status, ended.reason) == ("cancelled", "Cancelled on request.")
    assert 1 <= len(home.of_type(ended, "telemetry")) < STEPS
    assert ended.promotion is None
    assert ended.adapter_id is not None
    assert home.adapters.active(BaseId(run.plan.base)) is None


@pytest.mark.parametrize("looks", range(1, 8))
def test_a_run_cancelled_before_its_first_step_is_cancelled_and_has_not_failed(
    home: Home, make_plan: MakePlan, looks: int
) -> None:
    run = home.store.create("default", make_plan())
    cancel = after_looks(looks, lambda: home.store.apply(run.run_id, CancelRequested()))
    assert train_next(replace(home.place, clock=cancel))
    ended = home.store.get(run.run_id)
    assert (ended.status, ended.reason) == ("cancelled", "Cancelled on request.")


class AtLook(threading.Event):
    """A stop that is never asked for, and does something when it is looked at for the `count`-th time."""

    def __init__(self, count: int, act: Callable[[], object]) -> None:
        super().__init__()
        self._left, self._act = count, act

    def is_set(self) -> bool:
        self._left -= 1
        if self._left == 0:
            self._act()
        return super().is_set()


@pytest.mark.parametrize("look", [1, 3, 25])
def test_a_cancel_is_heeded_while_a_run_is_prepared(home: Home, make_plan: MakePlan, look: int) -> None:
    """Before its base is loaded, between its rows, and while its memory is measured."""
    run_id = home.store.create("default", make_plan()).run_id
    run = home.take(stop=AtLook(look, lambda: home.store.apply(run_id, CancelRequested())))
    assert (run.status, run.reason, run.summary) == ("cancelled", "Cancelled on request.", None)
    assert home.of_type(run, "metrics") == home.of_type(run, "progress") == []


def test_a_run_paused_again_while_it_is_prepared_keeps_what_it_had_come_to(home: Home, make_plan: MakePlan) -> None:
    plan = make_plan(promote_if_improves=False)
    whole = home.train(plan)
    run_id = home.store.create("default", plan).run_id
    first = home.take(clock=after_looks(20, lambda: home.store.apply(run_id, PauseRequested())))
    assert first.status == "paused" and first.summary is not None and first.adapter_id is not None
    home.store.apply(run_id, ResumeRequested())
    second = home.take(stop=AtLook(3, lambda: home.store.apply(run_id, PauseRequested())))
    assert (second.status, second.summary, second.adapter_id) == ("paused", first.summary, first.adapter_id)
    home.store.apply(run_id, ResumeRequested())
    assert home.take().adapter_id == whole.adapter_id


def test_a_run_cancelled_in_the_queue_is_not_taken(home: Home, make_plan: MakePlan) -> None:
    run = home.store.create("default", make_plan())
    home.store.apply(run.run_id, CancelRequested())
    assert not train_next(home.place)
    assert home.store.get(run.run_id).status == "cancelled"


def test_a_trainer_told_to_stop_ends_its_run_as_interrupted(home: Home, make_plan: MakePlan) -> None:
    run = home.train(make_plan(), clock=after_looks(9, home.place.stop.set))
    assert run.status == "interrupted"
    assert run.reason == "The trainer was stopped during the run; resume it to go on."


def test_a_run_whose_numbers_break_ends_diverged(home: Home, make_plan: MakePlan, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "poisoned")
    weights = mx.load(str(folder / "model.safetensors"))
    weights["model.norm.weight"] = weights["model.norm.weight"] * mx.nan
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    run = home.train(make_plan(base=str(folder)))
    assert run.status == "diverged"
    assert "Lower the learning rate" in run.reason
    assert home.of_type(run, "error")[0].message == run.reason
    assert run.promotion is None
    skipped = [event for event in home.of_type(run, "log") if "changed nothing" in event.message]
    assert len(skipped) == run.plan.max_skipped_steps
    assert all(math.isfinite(value) for event in home.of_type(run, "telemetry") for value in [event.proj_x, event.lr])
    assert not home.store.model_folder(run.run_id).exists()


def test_a_rate_far_too_high_ends_diverged_with_the_last_good_adapter(home: Home, make_plan: MakePlan) -> None:
    run = home.train(make_plan(lr=1e3, epochs=30))
    assert run.status == "diverged"
    assert "6 steps could not be learned from" in run.reason
    assert run.promotion is None
    weights = mx.load(str(home.store.model_folder(run.run_id) / WEIGHTS_FILE))
    assert all(mx.isfinite(value).all().item() for value in weights.values())


def test_a_run_that_needs_more_memory_than_it_may_take_is_refused_before_it_starts(
    home: Home, make_plan: MakePlan
) -> None:
    run = home.train(make_plan(), memory_bytes=1000)
    assert run.status == "failed"
    assert re.match(r"oom: The run needs 0\.0\d GB at the peak, for 2 row\(s\) of up to 56 tokens at once", run.reason)
    assert "set grad_checkpoint" in run.reason
    assert home.of_type(run, "metrics") == []
    assert home.train(make_plan(epochs=1)).status == "completed"


def test_the_time_left_and_the_memory_are_told(home: Home, make_plan: MakePlan) -> None:
    seconds = itertools.count()
    run = home.train(make_plan(promote_if_improves=False), clock=lambda: float(next(seconds)))
    left = [event.eta_s for event in home.of_type(run, "progress")]
    assert left[-1] == 0 < min(left[:-1])
    assert left[4:] == sorted(left[4:], reverse=True)
    for event in home.of_type(run, "telemetry"):
        assert 0 < event.memory_active_bytes <= event.memory_peak_bytes < event.resident_bytes
    assert (run.progress.steps, run.progress.eta_s) == (STEPS, None)
    assert 0 < run.progress.step <= STEPS
    assert run.progress.memory_bytes > 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dataset_path": "/nowhere/facts.jsonl"}, "The dataset /nowhere/facts.jsonl cannot be read"),
        ({"lora_target_modules": ["w_proj"]}, "The base has no layer w_proj. It has"),
        ({"base": "/nowhere"}, "/nowhere"),
        ({"max_length": 16}, "longer than 16 tokens. Raise max_length."),
    ],
)
def test_what_cannot_be_done_fails_with_what_to_change(
    home: Home, make_plan: MakePlan, changes: dict[str, object], reason: str
) -> None:
    run = home.train(make_plan(**changes))
    assert run.status == "failed"
    assert reason in run.reason
    assert "\n" not in run.reason
    assert "Traceback" not in run.reason
    assert home.of_type(run, "error")[0].message == run.reason
    following = home.train(make_plan(epochs=1))
    assert following.status == "completed"


def test_defects_of_a_dataset_are_named_in_one_line(home: Home, make_plan: MakePlan, write_rows: WriteRows) -> None:
    bad = {"messages": [{"role": "asistant", "content": "hello"}]}
    path = write_rows([fact(1), bad, bad], "bad.jsonl")
    run = home.train(make_plan(dataset_path=str(path)))
    assert run.reason.startswith("The dataset has 2 defect(s): bad.jsonl:2: messages[0].role: 'asistant' is not one of")
    assert run.reason.endswith("Mend the rows and start again.")


def test_a_validation_file_is_what_the_run_is_measured_on(
    home: Home, make_plan: MakePlan, write_rows: WriteRows
) -> None:
    validation = write_rows([fact(number) for number in range(30, 33)], "validation.jsonl")
    run = home.train(make_plan(epochs=1, validation_path=str(validation), promote_if_improves=False))
    assert run.status == "completed"
    dataset = json.loads((home.store.model_folder(run.run_id) / "manifest.json").read_bytes())["dataset"]
    assert (dataset["train_rows"], dataset["held_out_rows"]) == (20, 3)


def test_one_row_is_learned_but_never_promoted(home: Home, make_plan: MakePlan, write_rows: WriteRows) -> None:
    run = home.train(make_plan(dataset_path=str(write_rows([fact(1)], "one.jsonl"))))
    assert run.status == "completed"
    assert run.summary.primary_best is None
    assert run.adapter_id is not None
    assert run.promotion.reason == "Not promoted: no row was held out, so nothing was measured."


def test_runs_are_taken_oldest_first(home: Home, make_plan: MakePlan) -> None:
    queued = [home.store.create("default", make_plan(epochs=1, seed=seed)).run_id for seed in (1, 2)]
    assert train_next(home.place)
    assert [home.store.get(run_id).status for run_id in queued] == ["completed", "queued"]
    assert short(home.store.get(queued[0]).adapter_id)
