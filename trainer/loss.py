"""Cross-entropy at the supervised positions, and nowhere else.

The hidden states of the supervised positions alone meet the vocabulary, in chunks whose logits are made again in the
backward pass, so that memory never holds batch x length x vocabulary. A chunk's gradient is written out (softmax, less
one at the target): what would be derived from the loss holds six arrays of the logits' size, this one three. (1,024
tokens at a vocabulary of 151,936, 242 of them supervised: a peak of 0.90 GB above the weights, `mlx_lm.lora` 3.32;
`tests/bench/training_memory.py`.) Returns sums, never means: whoever divides knows the whole count.
`tests/trainer/test_loss.py` proves equality with the plain loss, gradients too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from catalog.base import blas
from catalog.base.parts import take_apart
from catalog.errors import InvalidRequest
from trainer.batches import POSITIONS_MULTIPLE, Batch

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402

LOGITS_AT_ONCE = 1 << 24
"""Numbers in one chunk of logits: 64 MB in float32."""

Forward = Callable[[mx.array], mx.array]


@dataclass(frozen=True, slots=True)
class Scorer:
    """A causal model taken apart where the vocabulary begins: tokens -> hidden states -> logits."""

    body: Forward
    head: Forward
    vocabulary: int

    def token_losses(self, batch: Batch, logits_at_once: int = LOGITS_AT_ONCE) -> mx.array:
        """Nats of each supervised token, [P] float32; padded positions hold what their weight removes."""
        hidden_BLD = self.body(batch.inputs_BL)
        hidden_PD = hidden_BLD.reshape(-1, hidden_BLD.shape[-1])[batch.positions_P]
        chunk = max(POSITIONS_MULTIPLE, logits_at_once // self.vocabulary)
        if hidden_PD.shape[0] <= chunk:
            return self._losses(batch.targets_P, hidden_PD)
        losses = []
        for start in range(0, hidden_PD.shape[0], chunk):
            part = slice(start, start + chunk)
            losses.append(self._recomputing(batch.targets_P[part])(hidden_PD[part]))
        return mx.concatenate(losses)

    def _recomputing(self, targets_P: mx.array) -> Forward:
        """`_losses` for a chunk that keeps no logits; the head is taken to learn nothing, as LoRA leaves it."""

        @mx.custom_function
        def losses(hidden_PD: mx.array) -> mx.array:
            return self._losses(targets_P, hidden_PD)

        @losses.vjp
        def gradient(hidden_PD: mx.array, weights_P: mx.array, _losses_P: mx.array) -> mx.array:
            logits_PV = self.head(hidden_PD)
            probabilities_PV = mx.softmax(logits_PV.astype(mx.float32), axis=-1)
            error_PV = probabilities_PV.at[mx.arange(targets_P.size), targets_P].add(-1.0) * weights_P[:, None]
            _, (gradient_PD,) = mx.vjp(self.head, [hidden_PD], [error_PV.astype(logits_PV.dtype)])
            return gradient_PD

        return cast(Forward, losses)

    def loss_sum(self, batch: Batch) -> mx.array:
        """Sum of nats over the batch's supervised tokens."""
        return (self.token_losses(batch) * batch.weights_P).sum()

    def _losses(self, targets_P: mx.array, hidden_PD: mx.array) -> mx.array:
        logits_PV = self.head(hidden_PD).astype(mx.float32)
        chosen_P = mx.take_along_axis(logits_PV, targets_P[:, None], axis=-1).squeeze(-1)
        return mx.logsumexp(logits_PV, axis=-1) - chosen_P


def scorer(model: nn.Module) -> Scorer:
    """Take `model` apart; raises InvalidRequest when body and head together are not the model (tried on two tokens)."""
    if (parts := take_apart(model)) is not None:
        return Scorer(parts.body, parts.head, parts.vocabulary)
    kind = getattr(model, "model_type", type(model).__name__)
    raise InvalidRequest(f"Bases of type {kind!r} cannot be trained yet.", hint="Qwen3 and Llama can.", param="base")
