"""What a model in this process answers, greedily: for the gate's checks and the golden prompt.

`tests/trainer/test_golden.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from catalog.base import blas, chat

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx_lm.generate import generate_step  # noqa: E402
from mlx_lm.tokenizer_utils import TokenizerWrapper  # noqa: E402


def answer(
    model: nn.Module,
    tokenizer: TokenizerWrapper,
    messages: Sequence[Mapping[str, Any]],
    *,
    max_tokens: int,
    between: Callable[[], None] = lambda: None,
) -> str:
    """The most likely answer, without thinking, of at most so many tokens. Raises InvalidRequest.

    `between` is called before each token and may raise to give up.
    """
    prompt = mx.array(chat.prompt_tokens(tokenizer, messages, thinking=False))
    was_training = model.training
    model.eval()
    tokens: list[int] = []
    between()
    try:
        for token, _ in generate_step(prompt, model, max_tokens=max_tokens):
            between()
            if int(token) in tokenizer.eos_token_ids:
                break
            tokens.append(int(token))
    finally:
        model.train(was_training)
    return str(tokenizer.decode(tokens))
