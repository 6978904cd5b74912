"""Measuring says the truth about every row and leaves no trace in the model."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from catalog.base.load import Base, load
from catalog.base.lora import LoraSettings, add_lora, linear_shapes, read_adapter
from catalog.ids import BaseId
from tests.tiny_base import write_adapter
from trainer.batches import Part, make_batch
from trainer.evaluate import Measurement, exam, measure, wearing
from trainer.learner import Learner
from trainer.loss import scorer
from trainer.objective import Imitation
from trainer.rows import Row


def rows(count: int) -> list[Row]:
    return [
        Row(n, tuple((5 * n + 11 * place) % 2000 for place in range(9 + 3 * n)), (False,) * 5 + (True,) * (4 + 3 * n))
        for n in range(count)
    ]


def learner(folder: Path) -> tuple[Learner, Imitation]:
    base = load(BaseId("tiny"), folder)
    parts = Imitation(scorer(base.model))
    add_lora(base.model, LoraSettings(4, 8.0, 0.3, ("q_proj", "v_proj")), seed=1)
    return Learner(base.model, parts, seed=1), parts


def test_training_is_bit_equal_with_and_without_measuring(base_folder: Path) -> None:
    results = []
    for measured in (False, True):
        trained, parts = learner(base_folder)
        for step in range(1, 4):
            looked = [measure(trained.model, parts, exam(rows(5))).loss for _ in range(2 * measured)]
            assert len(set(looked)) <= 1
            trained.step(step, [Part(0, make_batch(rows(6)))], 0.01, lambda: None)
        results.append(np.array(trained.flat()))
    assert np.array_equal(*results)


def test_dropout_is_off_and_the_mode_is_given_back(base_folder: Path) -> None:
    trained, parts = learner(base_folder)
    trained.step(1, [Part(0, make_batch(rows(6)))], 0.05, lambda: None)
    assert trained.model.training
    first = measure(trained.model, parts, exam(rows(5)))
    mx.random.seed(12345)
    assert measure(trained.model, parts, exam(rows(5))) == first
    assert trained.model.training


def test_each_row_gets_its_own_loss(base: Base) -> None:
    made = rows(11)
    measured = measure(base.model, Imitation(scorer(base.model)), exam(made))
    for row, nats, tokens in zip(made, measured.nats, measured.counts, strict=True):
        losses = nn.losses.cross_entropy(base.model(mx.array([row.tokens[:-1]]))[0], mx.array(row.tokens[1:]))
        assert nats == pytest.approx((losses * mx.array(row.supervised[1:])).sum().item(), rel=1e-4)
        assert tokens == row.supervised_tokens
    assert measured.loss == pytest.approx(sum(measured.nats) / sum(measured.counts))


def test_the_loss_is_weighted_by_tokens_and_nothing_is_not_a_number() -> None:
    assert Measurement((9.0, 1.0), (3, 1)).loss == 2.5
    assert np.isnan(Measurement((), ()).loss)


def test_a_model_wears_an_adapter_only_for_the_block(base: Base, base_folder: Path, tmp_path: Path) -> None:
    keys = ("self_attn.q_proj", "mlp.up_proj")
    folder = write_adapter(tmp_path / "adapter", base_folder, seed=5, keys=keys)
    shapes, parts, paper = linear_shapes(base.model), Imitation(scorer(base.model)), exam(rows(4))
    bare = measure(base.model, parts, paper)
    with wearing(base.model, read_adapter(folder, shapes)):
        worn = measure(base.model, parts, paper)
    assert abs(worn.loss - bare.loss) > 0.01
    assert measure(base.model, parts, paper) == bare
    assert linear_shapes(base.model) == shapes
