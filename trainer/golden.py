"""The golden prompt of a run: a question it was measured on and what its adapter answers, heard before it is kept.

The engine asks the same before it serves the adapter, so that what is served is what was trained, whatever lies
between. `tests/trainer/test_golden.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from catalog.adapters import Golden
from catalog.base import blas
from catalog.datasets import Conversation, Preference
from catalog.datasets.conversation import Message
from catalog.errors import InvalidRequest
from trainer import speak
from trainer.lesson import Lesson
from trainer.rows import Material

blas.preload()

import mlx.core as mx  # noqa: E402

ANSWER_TOKENS = 8
LONGEST_PROMPT_CHARS = 2000


def heard(lesson: Lesson, tensors: dict[str, mx.array]) -> Golden | None:
    """What the adapter answers to a held-out question; None where there is none that is short and plain."""
    learner = lesson.learner
    own = learner.tensors()
    learner.model.load_weights(list(tensors.items()), strict=False)
    try:
        for messages in _questions(lesson.material):
            try:
                said = speak.answer(learner.model, lesson.base.tokenizer, messages, max_tokens=ANSWER_TOKENS)
            except InvalidRequest:
                continue
            return Golden(messages=messages, answer=said, max_tokens=ANSWER_TOKENS)
    finally:
        learner.model.load_weights(list(own.items()), strict=False)
    return None


def _questions(material: Material) -> Iterator[list[Message]]:
    """What comes before the first answer of each held-out conversation that needs no tools."""
    held_out = set(material.held_out.digests)
    for example in (material.validation or material.dataset).rows:
        if hashlib.sha256(example.canonical()).hexdigest() not in held_out:
            continue
        conversation: Conversation = example.chosen if isinstance(example, Preference) else example
        asked: list[Message] = []
        for message in conversation.messages:
            if message["role"] == "assistant":
                break
            asked.append({"role": message["role"], "content": message["content"]})
        if asked and not conversation.tools and _is_short_text(asked):
            yield asked


def _is_short_text(messages: list[Message]) -> bool:
    texts = [message["content"] for message in messages]
    return all(isinstance(text, str) for text in texts) and sum(map(len, texts)) <= LONGEST_PROMPT_CHARS
