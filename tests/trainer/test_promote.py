"""A run is judged by checks and by a regression set too, with a real model's answers and losses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.adapters import AdapterStore, AliasMove
from catalog.base.load import Base
from catalog.ids import AdapterId, BaseId
from catalog.run_life import CancelRequested, PauseRequested, ResumeRequested
from tests.trainer.conftest import MakePlan, WriteRows, fact
from tests.trainer.test_run import Home
from trainer import speak
from trainer.watch import Halted


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def checks_file(folder: Path, *lines: dict[str, object]) -> str:
    path = folder / "checks.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return str(path)


def test_an_answer_is_judged_and_recorded(home: Home, make_plan: MakePlan, tmp_path: Path) -> None:
    asked = {"prompt": "What is berth 3 for?", "max_tokens": 8}
    good = checks_file(tmp_path, asked | {"regex": r"^[\s\S]*$"})
    run = home.train(make_plan(gate_checks_path=good))
    assert run.promotion is not None and run.promotion.decision is not None
    (result,) = run.promotion.decision.checks
    assert run.promotion.promoted and result.passed and result.answer
    bad = checks_file(tmp_path, asked | {"exact": "something it was never taught"})
    refused = home.train(make_plan(gate_checks_path=bad)).promotion
    assert refused is not None
    assert "check 1 (exact): it is not 'something it was never taught'" in refused.reason


def test_what_must_not_get_worse_is_measured(home: Home, make_plan: MakePlan, write_rows: WriteRows) -> None:
    strange = [fact(number) for number in range(20)]
    for chat in strange:
        chat["messages"][1]["content"] = "zq xw " * 9
    kept = str(write_rows(strange, "kept.jsonl"))
    assert home.train(make_plan(dataset_path=kept, gate_min_rows=1)).promotion.promoted
    worse = home.train(make_plan(gate_regression_path=kept)).promotion
    assert worse is not None and worse.decision is not None
    assert not worse.promoted
    assert worse.decision.comparisons[-1].against == "regression"
    assert worse.decision.comparisons[-1].difference > 0.02
    same = str(write_rows([fact(number) for number in range(20)], "same.jsonl"))
    better = home.train(make_plan(gate_regression_path=same)).promotion
    assert better is not None and better.promoted


@pytest.mark.parametrize("what", ["gate_checks_path", "gate_regression_path"])
def test_a_file_that_is_gone_closes_the_gate(home: Home, make_plan: MakePlan, what: str) -> None:
    run = home.train(make_plan(**{what: "/nowhere.jsonl"}))
    assert run.status == "completed"
    assert run.promotion is not None and not run.promotion.promoted
    assert "/nowhere.jsonl cannot be read" in run.promotion.reason


def test_few_held_out_rows_close_the_gate(home: Home, make_plan: MakePlan) -> None:
    promotion = home.train(make_plan(gate_min_rows=5)).promotion
    assert promotion is not None
    assert promotion.reason.startswith("Not promoted: 2 rows are too few")


class Asked(AdapterStore):
    """Lets somebody ask something of the run once, at the moment when its gate begins to measure."""

    def __init__(self, folder: Path, ask: Callable[[], object]) -> None:
        super().__init__(folder)
        self._asks = [ask]

    def active(self, base: BaseId) -> AdapterId | None:
        while self._asks:
            self._asks.pop()()
        return super().active(base)


def test_a_cancel_while_the_gate_measures_promotes_nothing(home: Home, make_plan: MakePlan) -> None:
    run_id = home.store.create("default", make_plan()).run_id
    asked = Asked(home.place.home, lambda: home.store.apply(run_id, CancelRequested()))
    run = home.take(adapters=asked)
    assert (run.run_id, run.status, run.reason) == (run_id, "cancelled", "Cancelled on request.")
    assert run.promotion is None and run.adapter_id is not None and run.summary is not None
    assert home.adapters.active(BaseId(run.plan.base)) is None
    assert home.of_type(run, "complete") == []
    assert not (home.place.home / "models").exists()


@pytest.mark.parametrize("wish", ["pause", "stop"])
def test_a_pause_and_a_stop_while_the_gate_measures_let_it_measure_again_and_nothing_is_told_twice(
    home: Home, make_plan: MakePlan, wish: str
) -> None:
    whole = home.train(make_plan(promote_epsilon=0.001))
    home.adapters.move(BaseId(whole.plan.base), None, expected=whole.adapter_id, reason="test")
    run_id = home.store.create("default", whole.plan).run_id
    ask = {"pause": lambda: home.store.apply(run_id, PauseRequested()), "stop": home.place.stop.set}[wish]
    run = home.take(adapters=Asked(home.place.home, ask))
    assert run.status == {"pause": "paused", "stop": "interrupted"}[wish]
    assert run.promotion is None and home.adapters.active(BaseId(run.plan.base)) is None
    home.place.stop.clear()
    home.store.apply(run_id, ResumeRequested())
    done = home.take()
    assert (done.run_id, done.status, done.adapter_id) == (run_id, "completed", whole.adapter_id)
    assert done.promotion is not None and whole.promotion is not None
    assert done.promotion.decision == whole.promotion.decision and done.promotion.promoted
    (base,) = home.adapters.aliases().bases.values()
    assert [move.adapter_id for move in base] == [whole.adapter_id, None, whole.adapter_id]
    for kind in ("telemetry", "metrics", "progress", "complete"):
        told = [[(one.step, one.message) for one in home.of_type(life, kind)] for life in (whole, done)]
        assert told[0] == told[1]
    said = [one.message for one in home.of_type(done, "log")]
    assert [sum(words in line for line in said) for words in ("Kept step", "Promoted:")] == [1, 1]


class Killed(BaseException):
    """Takes the trainer away as `kill -9` does."""


def test_killed_right_after_it_was_promoted_a_run_ends_promoted_once_with_its_numbers(
    home: Home, make_plan: MakePlan
) -> None:
    class Deadly(AdapterStore):
        """The trainer dies once the alias has moved."""

        def move(self, *where: object, **how: object) -> AliasMove:
            super().move(*where, **how)
            raise Killed

    first = home.train(make_plan())
    run_id = home.store.create("default", make_plan(epochs=8)).run_id
    with pytest.raises(Killed):
        home.take(adapters=Deadly(home.place.home))
    assert home.store.get(run_id).status == "interrupted"
    home.store.apply(run_id, ResumeRequested())
    done = home.take()
    assert done.status == "completed" and done.promotion is not None and done.promotion.decision is not None
    against = {one.against: one.other_loss for one in done.promotion.decision.comparisons}
    assert against["active"] == pytest.approx(first.summary.primary_best, rel=1e-5)
    moves = home.adapters.aliases().bases[done.plan.base]
    assert [move.adapter_id for move in moves] == [first.adapter_id, done.adapter_id]


def test_an_answer_can_be_given_up_at_any_token(base: Base) -> None:
    looks = iter(range(100))

    def give_up() -> None:
        if next(looks) == 3:
            raise Halted("cancelled", "enough")

    asked = [{"role": "user", "content": "What is berth 3 for?"}]
    with pytest.raises(Halted):
        speak.answer(base.model, base.tokenizer, asked, max_tokens=64, between=give_up)
    assert next(looks) == 4
