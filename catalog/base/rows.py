"""Rows of tokens that a line of a dataset becomes for one base: used whole, or by a stated policy.

A row longer than the run's maximum is dropped and counted, or the oldest exchanges of its conversation are left out
whole until it fits, as a chat that outgrew its context is continued; a turn is never cut. Then each assistant turn is
still learned once, with as much of what came before it as fits; the two answers of a pair lose the same exchanges.
`tests/trainer/test_rows.py`, `tests/trainer/test_pairs.py`.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from catalog.base import blas
from catalog.base.chat import training_samples
from catalog.datasets import Conversation, Example, Message, Preference
from catalog.plan import Overlong

blas.preload()

from mlx_lm.tokenizer_utils import TokenizerWrapper  # noqa: E402


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens of one sample, the dataset line it came from, and which tokens the model should produce."""

    line: int
    tokens: tuple[int, ...]
    supervised: tuple[bool, ...]
    reference: ClassVar[float] = 0.0

    @property
    def answers(self) -> tuple[tuple[Row, ...], ...]:
        """The one thing that is learned, in the one sequence that it is."""
        return ((self,),)

    @property
    def content(self) -> tuple[tuple[int, ...], ...]:
        """What another row must have to be the same."""
        return (self.tokens,)

    @property
    def length(self) -> int:
        return len(self.tokens)

    @property
    def token_count(self) -> int:
        return len(self.tokens)

    @property
    def supervised_tokens(self) -> int:
        """Tokens that carry loss; the first one has nothing before it to be predicted from."""
        return sum(self.supervised[1:])


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, the first preferred; each is one sequence, or several where its turns stay apart."""

    chosen: tuple[Row, ...]
    rejected: tuple[Row, ...]
    reference: float = 0.0
    """How much likelier the model from which learning began holds the chosen one, in nats."""

    @property
    def answers(self) -> tuple[tuple[Row, ...], ...]:
        return (self.chosen, self.rejected)

    @property
    def line(self) -> int:
        return self.chosen[0].line

    @property
    def content(self) -> tuple[tuple[int, ...], ...]:
        """What another pair must have to be the same."""
        return tuple(row.tokens for answer in self.answers for row in answer)

    @property
    def length(self) -> int:
        """Of the longest sequence."""
        return max(row.length for answer in self.answers for row in answer)

    @property
    def token_count(self) -> int:
        return sum(row.token_count for answer in self.answers for row in answer)

    @property
    def supervised_tokens(self) -> int:
        return sum(row.supervised_tokens for answer in self.answers for row in answer)


TrainingRow = Row | Pair


@dataclass(frozen=True, slots=True)
class Rows:
    """What a line became: rows that fit, how many were dropped as too long, how many lost oldest turns."""

    rows: tuple[TrainingRow, ...]
    dropped: int = 0
    cut: int = 0

    @property
    def has_nothing_to_learn(self) -> bool:
        """Whether the line is a defect: no row came of it, or one without a supervised token."""
        answers = [answer for row in self.rows for answer in row.answers]
        mute = any(not sum(part.supervised_tokens for part in answer) for answer in answers)
        return mute or not (self.rows or self.dropped)


def rows_of(tokenizer: TokenizerWrapper, example: Example, *, max_length: int, overlong: Overlong) -> Rows:
    """Rows of at most `max_length` tokens; raises InvalidRequest where the chat template cannot render."""
    if isinstance(example, Preference):
        return _pair_of(tokenizer, example, max_length, overlong)
    whole = _samples(tokenizer, example, example.messages)
    fitting = tuple(row for row in whole if len(row.tokens) <= max_length)
    if len(fitting) == len(whole) or overlong == "drop":
        return Rows(fitting, dropped=len(whole) - len(fitting))
    return _cut_oldest(tokenizer, example, max_length)


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


def _pair_of(tokenizer: TokenizerWrapper, pair: Preference, max_length: int, overlong: Overlong) -> Rows:
    """The pair behind as much of its prompt as fits for both answers; none where an answer would not fit at all."""

    def side(conversation: Conversation, start: int) -> tuple[Row, ...]:
        return _samples(tokenizer, conversation, _from_exchange(conversation, start))

    def behind(start: int) -> Pair:
        return Pair(side(pair.chosen, start), side(pair.rejected, start))

    whole = behind(0)
    if not (whole.chosen and whole.rejected):
        return Rows(())
    if whole.length <= max_length:
        return Rows((whole,))
    last = len(_exchanges(pair.chosen.messages)[1]) - 1
    start = last + 1
    if overlong == "cut_oldest":
        start = bisect.bisect_left(range(last + 1), True, key=lambda first: behind(first).length <= max_length)
    return Rows((), dropped=1) if start > last else Rows((behind(start),), cut=1)


def _from_exchange(conversation: Conversation, start: int) -> list[Message]:
    opening, exchanges = _exchanges(conversation.messages)
    return [*opening, *(message for exchange in exchanges[start:] for message in exchange)]


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
