"""A causal model taken apart where the vocabulary begins, so that only the positions that matter meet it.

`tests/catalog/base/test_parts.py`: body and head together are the model, or it is not taken apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from catalog.base import blas

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402

Head = Callable[[mx.array], mx.array]


@dataclass(frozen=True, slots=True)
class Parts:
    """tokens [B, L], cache=the layers' caches -> hidden states [B, L, D]; hidden states [..., D] -> logits [..., V]."""

    body: Callable[..., mx.array]
    head: Head
    vocabulary: int


def take_apart(model: nn.Module) -> Parts | None:
    """The parts of a model as it is now; None when body and head together are not the model (tried on two tokens)."""
    body, head = getattr(model, "model", None), _head(model)
    if body is None or head is None:
        return None
    tokens = mx.array([[0, 1]])
    try:
        parts = head(body(tokens, cache=None))
    except TypeError:  # its body is called in another way
        return None
    whole = model(tokens)
    if whole.shape != parts.shape or not mx.allclose(whole, parts, rtol=1e-3, atol=1e-3, equal_nan=True).item():
        return None
    return Parts(cast(Callable[..., mx.array], body), head, int(whole.shape[-1]))


def _head(model: nn.Module) -> Head | None:
    head: Any = getattr(model, "lm_head", None)
    return head or getattr(getattr(getattr(model, "model", None), "embed_tokens", None), "as_linear", None)
