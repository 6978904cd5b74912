"""The loss at supervised positions, chunked and recomputed, is the plain loss, and so are its gradients."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from catalog.base.load import Base
from catalog.base.lora import LoraSettings, add_lora
from catalog.errors import InvalidRequest
from trainer.batches import Batch, make_batch
from trainer.loss import Scorer, scorer
from trainer.rows import Row

VOCABULARY = 2057


def rows(count: int) -> list[Row]:
    made = []
    for number in range(count):
        length = 20 + 7 * number
        tokens = tuple((31 * number + 17 * place) % 2000 for place in range(length))
        made.append(Row(number, tokens, tuple(place % 3 == 1 or place > length - 9 for place in range(length))))
    return made


def plain_loss(model: nn.Module, made: list[Row]) -> mx.array:
    """Row by row, all logits at once: the definition."""
    total = mx.array(0.0)
    for row in made:
        logits = model(mx.array([row.tokens[:-1]])).astype(mx.float32)
        losses = nn.losses.cross_entropy(logits[0], mx.array(row.tokens[1:]))
        total = total + (losses * mx.array(row.supervised[1:])).sum()
    return total


def gradients(model: nn.Module, loss: object) -> dict[str, mx.array]:
    _, found = nn.value_and_grad(model, loss)()
    return dict(tree_flatten(found))


@pytest.fixture
def model(base: Base) -> nn.Module:
    """The base with LoRA whose B is not zero, so that every gradient counts."""
    add_lora(base.model, LoraSettings(4, 8.0, 0.0, ("q_proj", "v_proj")), seed=1)
    mx.random.seed(2)
    for name, value in tree_flatten(base.model.trainable_parameters()):
        if name.endswith("lora_b"):
            base.model.load_weights([(name, mx.random.normal(value.shape) * 0.1)], strict=False)
    return base.model


@pytest.mark.parametrize("logits_at_once", [1 << 23, 1], ids=["one chunk", "sixteen positions a chunk"])
def test_the_loss_is_the_plain_one_and_its_gradients_too(model: nn.Module, logits_at_once: int) -> None:
    made, parts = rows(6), scorer(model)
    batch = make_batch(made)
    assert logits_at_once > 1 or batch.positions_P.size > 48

    def chunked() -> mx.array:
        return (parts.token_losses(batch, logits_at_once) * batch.weights_P).sum()

    expected = plain_loss(model, made)
    assert mx.allclose(chunked(), expected, rtol=1e-5).item()
    found, wanted = gradients(model, chunked), gradients(model, lambda: plain_loss(model, made))
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert mx.abs(wanted[name]).max().item() > 0, name
        assert mx.allclose(found[name], wanted[name], rtol=1e-3, atol=1e-4).item(), name


def test_micro_batches_sum_to_one_big_batch(model: nn.Module) -> None:
    made, parts = rows(6), scorer(model)
    whole = parts.loss_sum(make_batch(made))
    pieces = sum(parts.loss_sum(make_batch(made[start : start + 2])) for start in (0, 2, 4))
    assert mx.allclose(whole, pieces, rtol=1e-5).item()
    assert sum(make_batch([row]).supervised_tokens for row in made) == make_batch(made).supervised_tokens


def test_only_supervised_positions_meet_the_vocabulary_and_never_all_at_once(model: nn.Module) -> None:
    parts = scorer(model)
    seen: list[int] = []

    def head(hidden: mx.array) -> mx.array:
        seen.append(hidden.shape[0])
        return parts.head(hidden)

    batch = make_batch(rows(6))
    mx.eval(replace(parts, head=head).token_losses(batch, logits_at_once=32 * VOCABULARY))
    assert sum(seen) == batch.positions_P.size < batch.inputs_BL.size / 2
    assert max(seen) == 32


def test_padding_changes_nothing(model: nn.Module) -> None:
    short, long = rows(6)[0], rows(6)[5]
    parts = scorer(model)
    alone = parts.token_losses(make_batch([short]))[: short.supervised_tokens]
    padded = parts.token_losses(make_batch([short, long]))[: short.supervised_tokens]
    assert mx.allclose(alone, padded, atol=1e-4).item()


def test_a_model_that_cannot_be_taken_apart_is_refused() -> None:
    class Capped(nn.Module):
        model_type = "capped"

        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Embedding(8, 4)
            self.lm_head = nn.Linear(4, 8)

        def __call__(self, tokens: mx.array) -> mx.array:
            return 30 * mx.tanh(self.lm_head(self.model(tokens)))

    with pytest.raises(InvalidRequest, match="'capped' cannot be trained"):
        scorer(Capped())


def test_the_scorer_finds_the_vocabulary(base: Base) -> None:
    parts: Scorer = scorer(base.model)
    batch: Batch = make_batch(rows(1))
    assert parts.vocabulary == VOCABULARY
    assert mx.all(parts.token_losses(batch) > 0).item()
