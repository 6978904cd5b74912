"""A row: one answer being produced, its news, and what the engine's thread counts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from catalog.base.lora import Adapter
from catalog.errors import RagweldError
from catalog.ids import AdapterId, BaseId
from gateway.engine.grammar import GrammarProcessor
from gateway.engine.requests import Finish, Generation, Piece, TokenLogprob
from gateway.engine.sampling import Draws, Penalties
from gateway.engine.text import AnswerText

News = Piece | Finish | RagweldError


@dataclass(slots=True, eq=False)
class Row:
    """One answer being produced, and the queue on its own event loop where its news go.

    `unread` are tokens of its prompt that are not in its caches yet, `tokens` those that are.
    """

    base: BaseId
    generation: Generation
    adapter: Adapter | None
    loop: asyncio.AbstractEventLoop
    news: asyncio.Queue[News]
    draws: Draws
    slot: int = 0
    passed: int = 0
    """Rows that were let in while it waited for a slot."""
    unread: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    layers: list[Any] = field(default_factory=list)
    """Its own caches, until others' are merged with them."""
    text: AnswerText | None = None
    penalties: Penalties | None = None
    held_by: GrammarProcessor | None = None
    cached_tokens: int = 0
    produced: int = 0
    unsent: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    """Of what was read of its prompt and not told yet."""

    @property
    def adapter_id(self) -> AdapterId | None:
        return self.adapter.adapter_id if self.adapter is not None else None

    @property
    def is_at_its_last(self) -> bool:
        """Whether its next token is the last that it may produce."""
        return self.produced + 1 >= self.generation.max_tokens

    def take_layers(self) -> list[Any]:
        layers, self.layers = self.layers, []
        return layers


Outbox = list[tuple[Row, News]]


@dataclass(slots=True)
class Counters:
    """What the thread did, read by the metrics as it is; only the thread writes."""

    steps: int = 0
    prompt_tokens: int = 0
    produced_tokens: int = 0
    cached_tokens: int = 0
    cancelled: int = 0
    rows: int = 0
    waiting: int = 0
    swaps: int = 0
    swap_s: float = 0.0
    slots: frozenset[tuple[BaseId, AdapterId]] = frozenset()
    """Adapters in a slot of their base."""
    waiting_slots: frozenset[tuple[BaseId, AdapterId]] = frozenset()
    """Adapters that rows wait for a slot for."""

    @property
    def resident(self) -> tuple[AdapterId, ...]:
        return tuple(sorted({adapter_id for _, adapter_id in self.slots}))
