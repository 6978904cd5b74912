"""The probe has something to learn, is cheap, and is the same for the same run."""

from __future__ import annotations

import itertools
import math

import pytest

from catalog.base.rows import Row
from tests.trainer.conftest import MakePlan
from trainer import probe
from trainer.evaluate import Measurement
from trainer.probe import PASS_TOKENS, SHARE


def _rows(*lengths: int) -> list[Row]:
    return [Row(line, (1,) * length, (False,) + (True,) * (length - 1)) for line, length in enumerate(lengths)]


def _measured(losses: list[float], rows: list[Row]) -> dict[int, Measurement]:
    return {id(row): Measurement((loss * 10,), (10,)) for row, loss in zip(rows, losses, strict=True)}


def test_of_known_and_unknown_rows_the_unknown_ones_are_chosen() -> None:
    """What a base knows has next to no loss, and the mean of all lies between the two kinds."""
    rows = _rows(10, 10, 10, 10)
    measured = _measured([0.02, 0.03, 4.0, 0.01], rows)
    (only,) = probe.choose(rows, lambda row: measured[id(row)], affordable=10)
    assert only is rows[2]


def test_the_rows_nearest_above_the_loss_of_all_are_chosen_within_their_tokens() -> None:
    rows = _rows(10, 10, 10, 10, 10, 10)
    measured = _measured([0.0, 3.0, 2.1, 1.9, 5.0, 0.0], rows)
    chosen = probe.choose(rows, lambda row: measured[id(row)], affordable=20)
    assert [id(row) for row in chosen] == [id(rows[2]), id(rows[1])]


def test_a_row_that_is_known_already_is_not_the_only_one() -> None:
    rows = _rows(10, 10, 10)
    measured = _measured([0.0, 3.0, 4.0], rows)
    (only,) = probe.choose(rows, lambda row: measured[id(row)], affordable=1)
    assert only is rows[1]


def test_padding_counts_and_at_least_one_row_is_taken() -> None:
    rows = _rows(40, 10)
    measured = _measured([1.0, 1.0], rows)
    assert len(probe.choose(rows, lambda row: measured[id(row)], affordable=79)) == 1
    assert len(probe.choose(rows, lambda row: measured[id(row)], affordable=80)) == 2
    assert probe.choose([], lambda row: measured[id(row)], affordable=80) == ()


def test_a_row_without_a_finite_loss_comes_last() -> None:
    rows = _rows(10, 10)
    measured = {id(rows[0]): Measurement((math.nan,), (10,)), id(rows[1]): Measurement((10.0,), (10,))}
    (only,) = probe.choose(rows, lambda row: measured[id(row)], affordable=10)
    assert only is rows[1]


def test_a_surface_affords_more_rows(make_plan: MakePlan) -> None:
    without = make_plan(surface_grid=0, telemetry_interval_steps=2)
    with_one = make_plan(surface_grid=9, surface_share=0.05, telemetry_interval_steps=2)
    assert probe.affordable_tokens(without, 5000) == pytest.approx(120 - PASS_TOKENS)
    assert probe.affordable_tokens(with_one, 5000) == pytest.approx(620 - PASS_TOKENS)


def test_without_a_surface_the_probe_keeps_to_its_share_by_being_rare(make_plan: MakePlan) -> None:
    """Of whatever size steps and probe are; with one it is measured at each point."""
    for tokens_a_step, tokens in itertools.product((1, 50, 2000, 1e6), (2, 30, 1000)):
        plan = make_plan(surface_grid=0, telemetry_interval_steps=2)
        points = probe.spacing(plan, tokens_a_step, tokens)
        work_tokens = points * plan.telemetry_interval_steps * tokens_a_step
        assert (PASS_TOKENS + tokens) / 2 <= SHARE * work_tokens
        assert probe.spacing(make_plan(surface_grid=9), tokens_a_step, tokens) == 1


def test_the_drawn_rows_depend_on_the_seed_alone() -> None:
    rows = _rows(*range(2, 42))
    assert probe.draw(rows, 1) == probe.draw(rows, 1) != probe.draw(rows, 2)
    assert len(probe.draw(rows, 1)) == probe.DRAWN
