"""Body and head together are the model, or it is not taken apart."""

from __future__ import annotations

from catalog.base import blas
from catalog.base.parts import take_apart
from tests.tiny_base import CONFIG

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx_lm.models import qwen3  # noqa: E402
from mlx_lm.models.cache import make_prompt_cache  # noqa: E402

TOKENS = mx.array([[3, 1, 4, 1, 5]])


def tiny(**changes: object) -> nn.Module:
    return qwen3.Model(qwen3.ModelArgs.from_dict(CONFIG | {"vocab_size": 96} | changes))


def test_parts_give_the_logits_of_the_model_with_and_without_an_output_layer_of_its_own() -> None:
    for tied in (True, False):
        model = tiny(tie_word_embeddings=tied)
        parts = take_apart(model)
        assert parts is not None and parts.vocabulary == 96
        ours = parts.head(parts.body(TOKENS, cache=make_prompt_cache(model))[:, -1])
        assert mx.allclose(ours, model(TOKENS)[:, -1], atol=1e-5).item()


def test_a_model_that_does_more_after_its_head_is_not_taken_apart() -> None:
    class Doubled(qwen3.Model):  # type: ignore[misc]
        def __call__(self, inputs: mx.array, cache: object = None) -> mx.array:
            return 2 * super().__call__(inputs, cache)

    assert take_apart(Doubled(qwen3.ModelArgs.from_dict(CONFIG | {"vocab_size": 96}))) is None


def test_a_model_whose_body_is_called_otherwise_is_not_taken_apart() -> None:
    class Bare(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Embedding(4, 4)
            self.lm_head = nn.Linear(4, 4)

    assert take_apart(Bare()) is None
