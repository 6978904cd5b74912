"""A model that recomputes its blocks learns the same as one that keeps everything, dropout too, in less memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from catalog.base.load import load
from catalog.base.lora import LoraSettings, add_lora
from catalog.ids import BaseId
from tests.trainer.test_loss import rows
from trainer.batches import Batch, make_batch
from trainer.learner import number
from trainer.loss import scorer
from trainer.recompute import recompute_blocks

SEED = 11


class Student:
    """A base with LoRA whose B is not zero, its loss on a batch and the gradient of that, from a fixed seed."""

    def __init__(self, base_folder: Path, *, recomputes: bool, dropout: float) -> None:
        self.model = load(BaseId("tiny"), base_folder).model
        parts = scorer(self.model)
        add_lora(self.model, LoraSettings(4, 8.0, dropout, ("q_proj", "v_proj")), seed=1)
        mx.random.seed(2)
        self.model.update(tree_map(lambda value: mx.random.normal(value.shape), self.model.trainable_parameters()))
        if recomputes:
            recompute_blocks(self.model)
        self.model.train()
        self._both: Callable[..., tuple[mx.array, object]] = nn.value_and_grad(self.model, parts.loss_sum)

    def learn(self, batch: Batch) -> tuple[float, dict[str, np.ndarray]]:
        mx.random.seed(SEED)
        loss, found = self._both(batch)
        return number(loss), {name: np.array(value, np.float64) for name, value in tree_flatten(found)}

    def peak_bytes(self, batch: Batch) -> int:
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        self.learn(batch)
        return mx.get_peak_memory() - before


def test_loss_and_gradients_are_those_of_a_model_that_keeps_everything(base_folder: Path) -> None:
    batch = make_batch(rows(6))
    kept, recomputed = (Student(base_folder, recomputes=flag, dropout=0.0).learn(batch) for flag in (False, True))
    assert recomputed[0] == kept[0]
    for name, value in kept[1].items():
        np.testing.assert_allclose(recomputed[1][name], value, rtol=1e-4, atol=1e-4, err_msg=name)


def test_the_gradient_is_that_of_the_loss_told_with_dropout_too(base_folder: Path) -> None:
    """Along the gradient the loss changes by the gradient's length, if both see the same numbers dropped."""
    student, batch = Student(base_folder, recomputes=True, dropout=0.3), make_batch(rows(3))
    _, found = student.learn(batch)
    size = np.sqrt(sum((value**2).sum() for value in found.values()))
    start = dict(tree_flatten(student.model.trainable_parameters()))

    def loss_at(distance: float) -> float:
        moved = [(name, start[name] + mx.array((distance / size * found[name]).astype(np.float32))) for name in start]
        student.model.load_weights(moved, strict=False)
        return student.learn(batch)[0]

    slope = (loss_at(0.01) - loss_at(-0.01)) / 0.02
    assert slope == pytest.approx(size, rel=0.02)


def test_it_needs_less_memory(base_folder: Path) -> None:
    batch = make_batch(rows(12))
    kept, recomputed = (Student(base_folder, recomputes=flag, dropout=0.1).peak_bytes(batch) for flag in (False, True))
    assert recomputed < 0.8 * kept


def test_other_models_of_the_class_and_measuring_are_left_alone(base_folder: Path) -> None:
    student, other = (Student(base_folder, recomputes=flag, dropout=0.1) for flag in (True, False))
    assert type(other.model.layers[0]) is not type(student.model.layers[0])
    student.model.eval()
    mx.random.seed(5)
    expected = mx.random.normal((4,)).tolist()
    mx.random.seed(5)
    mx.eval(student.model(mx.array([[1, 2, 3]])))
    assert mx.random.normal((4,)).tolist() == expected
