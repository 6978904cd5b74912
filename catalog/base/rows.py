"""Rows of tokens that a conversation becomes for one base: used whole, or by a stated policy.

A row longer than the run's maximum is dropped and counted, or the oldest exchanges of its conversation are left out
whole until it fits, as a chat that outgrew its context is continued; a turn is never cut. Then each assistant turn is
still learned once, with as much of what came before it as fits. `tests/trainer/test_rows.py`.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from mlx_lm.tokenizer_utils import TokenizerWrapper

from catalog.base.chat import training_samples
from catalog.datasets import Conversation, Message
from catalog.plan import Overlong


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens of one sample, the dataset line it came from, and which tokens the model should produce."""

    line: int
    tokens: tuple[int, ...]
    supervised: tuple[bool, ...]

    @property
    def supervised_tokens(self) -> int:
        """Tokens that carry loss; the first one has nothing before it to be predicted from."""
        return sum(self.supervised[1:])


@dataclass(frozen=True, slots=True)
class Rows:
    """What a conversation became: rows that fit, how many were dropped as too long, how many lost oldest turns."""

    rows: tuple[Row, ...]
    dropped: int = 0
    cut: int = 0


def rows_of(tokenizer: TokenizerWrapper, conversation: Conversation, *, max_length: int, overlong: Overlong) -> Rows:
    """Rows of at most `max_length` tokens; raises InvalidRequest where the chat template cannot render."""
    whole = _samples(tokenizer, conversation, conversation.messages)
    fitting = tuple(row for row in whole if len(row.tokens) <= max_length)
    if len(fitting) == len(whole) or overlong == "drop":
        return Rows(fitting, dropped=len(whole) - len(fitting))
    return _cut_oldest(tokenizer, conversation, max_length)


def _samples(tokenizer: TokenizerWrapper, conversation: Conversation, messages: Sequence[Message]) -> tuple[Row, ...]:
    samples = training_samples(tokenizer, messages, conversation.tools)
    return tuple(Row(conversation.line, sample.tokens, sample.supervised) for sample in samples)


def _cut_oldest(tokenizer: TokenizerWrapper, conversation: Conversation, max_length: int) -> Rows:
    """As many exchanges from the beginning as fit together; then each alone, behind as many before it as fit."""
    opening, exchanges = _exchanges(conversation.messages)

    def window(start: int, end: int, learned_from: int) -> tuple[Row, ...]:
        context = [_unlearned(message) for exchange in exchanges[start:learned_from] for message in exchange]
        learned = [message for exchange in exchanges[learned_from:end] for message in exchange]
        return _samples(tokenizer, conversation, [*opening, *context, *learned])

    def too_long(rows: tuple[Row, ...]) -> bool:
        return any(len(row.tokens) > max_length for row in rows)

    count = len(exchanges)
    head = bisect.bisect_left(range(count), True, key=lambda last: too_long(window(0, last + 1, 0)))
    rows, dropped, cut = list(window(0, head, 0)) if head else [], 0, 0
    for index in range(head, count):
        fits = bisect.bisect_left(
            range(index + 1), True, key=lambda start: not too_long(window(start, index + 1, index))
        )
        start = min(fits, index)
        made = window(start, index + 1, index)
        kept = [row for row in made if len(row.tokens) <= max_length]
        rows += kept
        cut += len(kept) if start else 0
        dropped += len(made) - len(kept)
    return Rows(tuple(rows), dropped, cut)


def _exchanges(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """What opens the conversation and always stays, and the rest cut before each user message."""
    opening: list[Message] = []
    exchanges: list[list[Message]] = []
    for message in messages:
        if not exchanges and message["role"] in ("system", "developer"):
            opening.append(message)
        elif message["role"] == "user" and not (exchanges and exchanges[-1][-1]["role"] == "user"):
            exchanges.append([message])
        else:
            (exchanges[-1] if exchanges else opening).append(message)
    return opening, exchanges


def _unlearned(message: Message) -> Message:
    return {**message, "weight": 0} if message["role"] == "assistant" else message
