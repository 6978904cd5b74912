"""The n answers to one request while they come: rows of the engine side by side, each with its own splitter.

Knows the engine only by its pieces, and nothing of OpenAI's shapes but the reasons of a finish.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from gateway.engine.requests import Finish, Piece, TokenLogprob
from gateway.probation import TAIL_CHARS, goes_in_circles
from gateway.speech import Call, Part, Splitter, Words
from gateway.wire.answer import FinishReason

Item = tuple[int, Piece | Finish]
"""Which of the n, and what came."""


@dataclass(slots=True)
class Choice:
    """One of the n answers while it comes."""

    splitter: Splitter
    calls: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    """Of words that were shown; each goes out with the next of them."""
    held_logprobs: list[TokenLogprob] = field(default_factory=list)
    """Of text that may become words: what a marker, a call or the spaces around them were made of has none."""
    tokens: int = 0
    thought_tokens: int = 0
    finish: FinishReason | None = None
    tail: str = ""
    """The end of what was said."""

    @property
    def is_bad(self) -> bool:
        """Whether not a word was said, or the answer went round in circles."""
        return not self.tokens or (self.finish == "length" and goes_in_circles(self.tail))

    def take(self, item: Piece | Finish, *, one_call: bool) -> list[Part]:
        """What an item shows; sets `finish` at the end."""
        if isinstance(item, Finish):
            parts = self.splitter.finish()
            self.tokens = item.completion_tokens
        else:
            was_thinking = self.splitter.is_thinking
            parts = self.splitter.feed(item.text)
            self.tokens += item.tokens
            self.tail = (self.tail + item.text)[-TAIL_CHARS:]
            if was_thinking or self.splitter.is_thinking:
                self.thought_tokens += item.tokens
                self.held_logprobs.clear()
            else:
                self.held_logprobs += item.logprobs
        self._settle_logprobs(parts)
        parts = self._count_calls(parts, one_call)
        if isinstance(item, Finish):
            self.finish = "tool_calls" if self.calls and item.reason == "stop" else item.reason
        elif one_call and self.calls:
            self.finish = "tool_calls"
        return parts

    def _settle_logprobs(self, parts: Sequence[Part]) -> None:
        if any(isinstance(part, Words) for part in parts):
            self.logprobs += self.held_logprobs
            self.held_logprobs.clear()
        elif not self.splitter.holds_back:
            self.held_logprobs.clear()

    def _count_calls(self, parts: list[Part], one_call: bool) -> list[Part]:
        kept: list[Part] = []
        for part in parts:
            if isinstance(part, Call):
                if one_call and self.calls:
                    break
                self.calls += 1
            kept.append(part)
        return kept

    def take_logprobs(self) -> list[TokenLogprob]:
        taken, self.logprobs = self.logprobs, []
        return taken


async def side_by_side(
    generators: Sequence[AsyncGenerator[Piece | Finish, None]], enough: set[int]
) -> AsyncGenerator[Item, None]:
    """Items of all generators as they come; one whose index is in `enough` is stopped. Closing closes them all."""
    if len(generators) == 1:
        async with aclosing(generators[0]) as items:
            async for item in items:
                yield 0, item
                if enough:
                    return
        return
    arrived: asyncio.Queue[Item | int] = asyncio.Queue()
    tasks = [asyncio.ensure_future(_pump(i, g, enough, arrived)) for i, g in enumerate(generators)]
    for index, task in enumerate(tasks):
        task.add_done_callback(partial(_tell_end, arrived, index))
    running = len(tasks)
    try:
        while running:
            news = await arrived.get()
            if isinstance(news, int):
                tasks[news].result()
                running -= 1
            else:
                yield news
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _tell_end(arrived: asyncio.Queue[Item | int], index: int, task: asyncio.Task[None]) -> None:
    arrived.put_nowait(index)


async def _pump(
    index: int, generator: AsyncGenerator[Piece | Finish, None], enough: set[int], arrived: asyncio.Queue[Item | int]
) -> None:
    async with aclosing(generator) as items:
        async for item in items:
            arrived.put_nowait((index, item))
            if index in enough:
                return
