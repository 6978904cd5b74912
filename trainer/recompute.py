"""Gradient checkpointing: a block keeps what goes in and computes the rest again in the backward pass.

The second time it must draw the dropout of the first time, or its gradients are of another function (mlx-lm's
`grad_checkpoint` draws anew, and changes the class of all models in the process): so a block draws a seed and starts
from it both times. Source: Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016.
`tests/trainer/test_recompute.py`.
"""

from __future__ import annotations

from typing import Any

from catalog.base import blas
from trainer.learner import number

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402

SEEDS = 1 << 31


def recompute_blocks(model: nn.Module) -> None:
    """Make every block of `model` recompute itself while it is trained; names and numbers stay as they are."""
    classes = {kind: _recomputing(kind) for kind in {type(block) for block in model.layers}}
    for block in model.layers:
        block.__class__ = classes[type(block)]


def _recomputing(kind: type[nn.Module]) -> type[nn.Module]:
    def call(self: nn.Module, *inputs: Any, **named: Any) -> Any:
        if not self.training:
            return kind.__call__(self, *inputs, **named)
        seed = int(number(mx.random.randint(0, SEEDS)))

        def begin_from_seed(*inputs: Any, **named: Any) -> Any:
            mx.random.seed(seed)
            return kind.__call__(self, *inputs, **named)

        return nn.utils.checkpoint(self, begin_from_seed)(*inputs, **named)

    return type(f"Recomputing{kind.__name__}", (kind,), {"__call__": call})
