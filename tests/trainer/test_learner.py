"""A step happens whole or leaves no trace, and says what it really did."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from catalog.base.load import Base, load
from catalog.base.lora import LoraSettings, add_lora
from catalog.ids import BaseId
from trainer.batches import Part, make_batch
from trainer.learner import Learner, UpdateRule
from trainer.loss import scorer
from trainer.objective import Imitation
from trainer.rows import Row
from trainer.steadiness import Bounds
from trainer.watch import Halted

Tensors = dict[str, mx.array]


def rows(count: int) -> list[Row]:
    return [
        Row(n, tuple((13 * n + 7 * place) % 2000 for place in range(12 + n)), (False,) * 4 + (True,) * (8 + n))
        for n in range(count)
    ]


def parts(size: int, made: list[Row]) -> Iterator[Part]:
    cut = (make_batch(made[start : start + size]) for start in range(0, len(made), size))
    return (Part(number, batch) for number, batch in enumerate(cut))


@pytest.fixture
def make_learner(base_folder: object) -> Callable[..., Learner]:
    def make(dropout: float = 0.0, seed: int = 0, **rule: object) -> Learner:
        base: Base = load(BaseId("tiny"), base_folder)
        objective = Imitation(scorer(base.model))
        add_lora(base.model, LoraSettings(4, 8.0, dropout, ("q_proj", "v_proj")), seed)
        return Learner(base.model, objective, seed, UpdateRule(**rule))

    return make


def nothing() -> None:
    pass


def equal(left: Tensors, right: Tensors) -> bool:
    return left.keys() == right.keys() and all(mx.array_equal(left[name], right[name]).item() for name in left)


def test_how_rows_are_cut_into_micro_batches_does_not_matter(make_learner: Callable[..., Learner]) -> None:
    whole, pieces = make_learner(), make_learner()
    for step in (1, 2):
        one = whole.step(step, parts(8, rows(8)), 0.01, nothing)
        many = pieces.step(step, parts(3, rows(8)), 0.01, nothing)
        assert many.loss == pytest.approx(one.loss, rel=1e-5)
        assert many.grad_norm == pytest.approx(one.grad_norm, rel=1e-4)
        assert (many.rows, many.tokens, many.supervised_tokens) == (one.rows, one.tokens, one.supervised_tokens)
    assert np.abs(np.array(whole.flat()) - np.array(pieces.flat())).max() < 1e-3


def test_equal_seeds_give_equal_bits_with_dropout(make_learner: Callable[..., Learner]) -> None:
    first, second, other = make_learner(0.2), make_learner(0.2), make_learner(0.2, seed=1)
    mx.random.seed(99)  # what happened before is no matter
    for step in (1, 2, 3):
        results = [learner.step(step, parts(2, rows(6)), 0.01, nothing) for learner in (first, second, other)]
        assert results[0] == results[1]
        mx.random.normal((7,))
    assert equal(first.tensors(), second.tensors())
    assert not equal(first.tensors(), other.tensors())


def test_the_rate_told_is_the_rate_used(make_learner: Callable[..., Learner]) -> None:
    """AdamW's first step moves every number by the rate: with zero B, weight decay cannot add to it."""
    learner = make_learner()
    before = learner.tensors()
    result = learner.step(1, parts(4, rows(8)), 0.0123, nothing)
    assert result.lr == float(np.float32(0.0123))
    moved = [mx.abs(after - before[name]) for name, after in learner.tensors().items() if name.endswith("lora_b")]
    assert max(part.max().item() for part in moved) == pytest.approx(result.lr, rel=1e-3)


def test_the_norm_told_is_that_before_clipping(make_learner: Callable[..., Learner]) -> None:
    learner, whole = make_learner(), make_batch(rows(8))
    learner.model.load_weights(  # large enough that clipping must act
        [(name, mx.ones_like(value)) for name, value in learner.tensors().items() if name.endswith("lora_b")],
        strict=False,
    )
    _, found = nn.value_and_grad(learner.model, scorer(learner.model).loss_sum)(whole)
    parts = [np.array(part).ravel() / whole.supervised_tokens for _, part in tree_flatten(found)]
    expected = np.linalg.norm(np.concatenate(parts))
    assert expected > UpdateRule().max_grad_norm
    assert learner.step(1, [Part(0, whole)], 0.01, nothing).grad_norm == pytest.approx(expected, rel=1e-4)


def test_a_step_that_is_not_finite_changes_nothing(make_learner: Callable[..., Learner]) -> None:
    poisoned, clean = make_learner(), make_learner()
    norm = poisoned.model.model.norm
    healthy = norm.weight
    for learner in (poisoned, clean):
        learner.step(1, parts(4, rows(8)), 0.01, nothing)
    before = poisoned.tensors()
    norm.weight = healthy * mx.nan
    result = poisoned.step(2, parts(4, rows(8)), 0.01, nothing)
    assert not result.applied
    assert equal(before, poisoned.tensors())
    norm.weight = healthy
    for learner in (poisoned, clean):
        learner.step(3, parts(4, rows(8)), 0.01, nothing)
    assert equal(poisoned.tensors(), clean.tensors())


def test_a_step_given_up_half_way_leaves_no_trace(make_learner: Callable[..., Learner]) -> None:
    stopped, clean = make_learner(0.2), make_learner(0.2)
    looks = iter([None, None])

    def give_up() -> None:
        if next(looks, "over") == "over":
            raise Halted("cancelled", "for the test")

    with pytest.raises(Halted):
        stopped.step(1, list(parts(2, rows(8))), 0.01, give_up)
    for learner in (stopped, clean):
        learner.step(1, parts(2, rows(8)), 0.01, nothing)
    assert equal(stopped.tensors(), clean.tensors())


def test_a_gradient_or_loss_beyond_what_is_expected_changes_nothing(make_learner: Callable[..., Learner]) -> None:
    learner = make_learner()
    before = learner.tensors()
    norm = learner.step(1, parts(4, rows(8)), 0.01, nothing, Bounds(norm=0.0)).grad_norm
    assert not learner.step(1, parts(4, rows(8)), 0.01, nothing, Bounds(norm=norm * 0.999)).applied
    assert not learner.step(1, parts(4, rows(8)), 0.01, nothing, Bounds(loss=0.1)).applied
    assert equal(before, learner.tensors())
    assert learner.step(1, parts(4, rows(8)), 0.01, nothing, Bounds(norm=norm)).applied


def first_step(learner: Learner, lr: float = 0.01) -> Tensors:
    """What the first step changed, by tensor."""
    before = learner.tensors()
    learner.step(1, parts(4, rows(8)), lr, nothing)
    return {name: after - before[name] for name, after in learner.tensors().items()}


def test_weight_decay_takes_its_share(make_learner: Callable[..., Learner]) -> None:
    """B is zero at first, so that A has no gradient: what changes A is the decay alone."""
    start = make_learner().tensors()
    for decay in (0.0, 0.3):
        for optimizer in ("adamw", "adafactor"):
            moved = first_step(make_learner(optimizer=optimizer, weight_decay=decay))
            for name, change in moved.items():
                if name.endswith("lora_a"):
                    assert mx.allclose(change, -0.01 * decay * start[name], atol=1e-7).item()


def test_adafactor_uses_the_rate_told_and_keeps_rows_and_columns_alone(make_learner: Callable[..., Learner]) -> None:
    """Its update has a root mean square of at most one before the rate."""
    learner = make_learner(optimizer="adafactor")
    moved = first_step(learner, 0.0123)
    sizes = [mx.sqrt((change**2).mean()).item() for name, change in moved.items() if name.endswith("lora_b")]
    assert max(sizes) == pytest.approx(0.0123, rel=1e-3)
    held = sum(value.size for value in learner.state().optimizer.values())
    assert held < 0.7 * sum(value.size for value in learner.tensors().values())


def test_clipping_is_to_the_length_asked_for_and_zero_is_none(make_learner: Callable[..., Learner]) -> None:
    """After one step AdamW's first moments are a tenth of the gradient that it was given."""

    def used(most: float) -> float:
        learner = make_learner(max_grad_norm=most)
        learner.step(1, parts(4, rows(8)), 0.01, nothing)
        first_moments = [value for name, value in learner.state().optimizer.items() if name.endswith(".m")]
        return 10 * mx.sqrt(sum((value**2).sum() for value in first_moments)).item()

    norm = make_learner().step(1, parts(4, rows(8)), 0.01, nothing).grad_norm
    assert used(norm / 3) == pytest.approx(norm / 3, rel=1e-3)
    assert used(0.0) == pytest.approx(norm, rel=1e-3)
    assert used(norm * 2) == pytest.approx(norm, rel=1e-3)
