"""What the application needs of an engine, so that it knows neither MLX nor the thread behind it.

`gateway.engine.engine.Engine` is one; the tests have a scripted one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from catalog.ids import AdapterId, BaseId, ModelRef
from gateway.engine.places import Places
from gateway.engine.requests import Constraint, EngineState, Finish, Generation, Grammar, Piece, Sampling, TokenizerInfo


class Markers(Protocol):
    """How a base marks thoughts and tool calls in its text; None where it has none."""

    @property
    def think_start(self) -> str | None: ...
    @property
    def think_end(self) -> str | None: ...
    @property
    def tool_start(self) -> str | None: ...
    @property
    def tool_end(self) -> str | None: ...


class Voice(Protocol):
    """Who answers a request, fixed once it was resolved: a base and an adapter (None is bare)."""

    @property
    def base(self) -> BaseId: ...
    @property
    def adapter_id(self) -> AdapterId | None: ...
    @property
    def context(self) -> int:
        """Tokens of prompt and answer together."""

    @property
    def sampling(self) -> Sampling:
        """How an answer is drawn when the request does not say."""

    @property
    def markers(self) -> Markers: ...

    @property
    def tokenizer_info(self) -> TokenizerInfo: ...

    async def prompt_tokens(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], *, thinking: bool
    ) -> tuple[int, ...]:
        """Raises InvalidRequest."""

    async def text_tokens(self, text: str, *, special: bool = True) -> tuple[int, ...]:
        """A text as the model reads it, without a chat template; `special` with what every text begins with."""

    async def text_of(self, tokens: Sequence[int], param: str) -> str:
        """Tokens as text; raises InvalidRequest, which names the field `param`, when one is none of this model's."""

    async def grammar(self, wanted: Constraint, *, may_think: bool) -> Grammar:
        """What a generation can be held to; raises InvalidRequest."""

    def parse_tool_call(self, text: str, tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Raises ValueError."""

    def places(self) -> Places:
        """Where in a text each of its tokens begins, for one text."""

    def token_text(self, token_id: int) -> str: ...


class EngineCounters(Protocol):
    """What the engine's thread did so far."""

    steps: int
    prompt_tokens: int
    produced_tokens: int
    cached_tokens: int
    cancelled: int
    rows: int
    waiting: int
    swaps: int
    swap_s: float
    slots: frozenset[tuple[BaseId, AdapterId]]
    waiting_slots: frozenset[tuple[BaseId, AdapterId]]

    @property
    def resident(self) -> tuple[AdapterId, ...]: ...


class AnswerEngine(Protocol):
    """The default base, others as they are asked for, and their adapters. Errors are of `catalog.errors`."""

    @property
    def counters(self) -> EngineCounters: ...
    @property
    def admitted_tokens(self) -> int:
        """Prompt and answer tokens of every request that has not ended."""

    @property
    def waiting_for_memory(self) -> int:
        """Requests that wait for memory which other bases use."""

    @property
    def refused_swaps(self) -> int:
        """Active adapters that could not be made resident."""

    def on_failed_trial(self, tell: Callable[[BaseId, AdapterId, str], Awaitable[None]]) -> None:
        """Have `tell` told of every active adapter that fails the golden prompt, and how."""

    async def look(self) -> None:
        """See which adapters were promoted or named since, by any process; cheap, for every request."""

    async def look_for_bases(self) -> None:
        """See which bases were fetched since; for those who list them."""

    def adapter_names(self) -> Collection[str]:
        """Names given to adapters when it last looked; each can be asked for as a model."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    def state(self) -> EngineState:
        """What is serving now; cheap."""

    async def resolve(self, ref: ModelRef) -> Voice:
        """Who answers `ref` now; raises NotFound, InvalidAdapter, Unavailable."""

    async def check_adapter(self, folder: Path, base: BaseId) -> AdapterId:
        """Raises InvalidAdapter naming the tensor, NotFound or Unavailable for the base."""

    async def load(self, base: BaseId) -> None:
        """Bring a base into memory, unless it is there; raises Unavailable, Overloaded."""

    async def unload(self, base: BaseId) -> bool:
        """Let a base leave memory, unless something is decoded in it; whether it is gone."""

    def forget_prefixes(self) -> None:
        """Drop every cached prefix."""

    def generate(self, generation: Generation) -> AsyncGenerator[Piece | Finish, None]:
        """Pieces, then one Finish; admission is refused at the first item."""
