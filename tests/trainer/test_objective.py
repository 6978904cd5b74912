"""Whatever is learned, the sum of a batch is the sum of its examples, and counts add up over micro-batches."""

from __future__ import annotations

import pytest

from catalog.base.load import Base
from tests.trainer.test_loss import rows
from trainer.batches import make_batch
from trainer.loss import scorer
from trainer.objective import Imitation


def test_imitation_counts_supervised_tokens_and_grades_row_by_row(base: Base) -> None:
    objective, made = Imitation(scorer(base.model)), rows(5)
    whole = make_batch(made)
    grades = objective.grade(whole)
    assert grades.counts.tolist() == [row.supervised_tokens for row in made]
    assert objective.count(whole) == sum(objective.count(make_batch([row])) for row in made) == grades.counts.sum()
    assert grades.nats.sum() == pytest.approx(objective.loss_sum(whole).item(), rel=1e-5)
    for row, nats in zip(made, grades.nats, strict=True):
        assert objective.loss_sum(make_batch([row])).item() == pytest.approx(nats, rel=1e-4)
