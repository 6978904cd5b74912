"""A run is judged by checks and by a regression set too, with a real model's answers and losses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.trainer.conftest import MakePlan, WriteRows, fact
from tests.trainer.test_run import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def checks_file(folder: Path, *lines: dict[str, object]) -> str:
    path = folder / "checks.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return str(path)


def test_an_answer_is_judged_and_recorded(home: Home, make_plan: MakePlan, tmp_path: Path) -> None:
    asked = {"prompt": "What is berth 3 for?", "max_tokens": 8}
    good = checks_file(tmp_path, asked | {"regex": "(?s)^.*$"})
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
