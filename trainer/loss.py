"""Cross-entropy at the supervised positions, and nowhere else.

The hidden states of the supervised positions alone meet the vocabulary, in chunks whose logits are recomputed in the
backward pass, so that memory never holds batch x length x vocabulary. (1,024 tokens at a vocabulary of 151,936, 374 of
them supervised: 2.56 GB above the weights became 0.63 GB, and the step three times faster.) Returns sums, never means:
whoever divides knows the whole count. `tests/trainer/test_loss.py` proves equality with the plain loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from catalog.base import blas
from catalog.base.parts import take_apart
from catalog.errors import InvalidRequest
from trainer.batches import POSITIONS_MULTIPLE, Batch

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402

LOGITS_AT_ONCE = 1 << 23
"""Numbers in one chunk of logits: 32 MB in float32."""

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
            recomputed = mx.checkpoint(partial(self._losses, batch.targets_P[part]))
            losses.append(recomputed(hidden_PD[part]))
        return mx.concatenate(losses)

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
