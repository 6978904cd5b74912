"""Who answers a request: a base and an adapter, fixed once they were resolved, and how that base writes text.

Holds the base's tokenizer, none of its arrays; everything that takes time runs off the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.base import chat
from catalog.errors import InvalidRequest
from catalog.ids import AdapterId, BaseId
from gateway.engine import grammar
from gateway.engine.places import Places
from gateway.engine.requests import Constraint, Grammar, Sampling, TokenizerInfo
from gateway.engine.residence import Served


@dataclass(frozen=True, slots=True)
class ChatMarkers:
    """How a base marks thoughts and tool calls in its text; None where it has none."""

    think_start: str | None
    think_end: str | None
    tool_start: str | None
    tool_end: str | None


@dataclass(frozen=True, slots=True)
class EngineVoice:
    """A base with one adapter (None is bare). `context` is in tokens."""

    served: Served
    adapter_id: AdapterId | None
    context: int

    @property
    def base(self) -> BaseId:
        return self.served.base

    @property
    def sampling(self) -> Sampling:
        """How an answer is drawn when the request does not say: the base's own generation_config.json."""
        return self.served.sampling

    @property
    def markers(self) -> ChatMarkers:
        tokenizer = self.served.tokenizer
        return ChatMarkers(
            think_start=tokenizer.think_start,
            think_end=tokenizer.think_end,
            tool_start=tokenizer.tool_call_start,
            tool_end=tokenizer.tool_call_end,
        )

    async def prompt_tokens(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], *, thinking: bool
    ) -> tuple[int, ...]:
        """The prompt of these messages; raises InvalidRequest."""
        tokens = await asyncio.to_thread(chat.prompt_tokens, self.served.tokenizer, messages, tools, thinking=thinking)
        return tuple(tokens)

    async def text_tokens(self, text: str, *, special: bool = True) -> tuple[int, ...]:
        """A text as the model reads it, without a chat template; `special` with what every text begins with."""
        return tuple(await asyncio.to_thread(self.served.tokenizer.encode, text, add_special_tokens=special))

    async def text_of(self, tokens: Sequence[int], param: str) -> str:
        """Tokens as text; raises InvalidRequest, which names the field `param`, when one is none of this model's."""
        if max(tokens) >= self.served.vocabulary:
            raise InvalidRequest(f"The model has no token {max(tokens)}.", param=param, code="invalid_value")
        return str(await asyncio.to_thread(self.served.tokenizer.decode, list(tokens)))

    async def grammar(self, wanted: Constraint, *, may_think: bool) -> Grammar:
        """A constraint that a generation can be held to; raises InvalidRequest."""
        markers = self.served.tool_markers
        return await asyncio.to_thread(grammar.compile_constraint, wanted, markers, may_think=may_think)

    def parse_tool_call(self, text: str, tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The calls inside a tool block, as {"name", "arguments"}; raises ValueError when it is none."""
        try:
            parsed = self.served.tokenizer.tool_parser(text, list(tools))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, SyntaxError, RecursionError) as error:
            raise ValueError(f"not a tool call: {error}") from error
        calls = parsed if isinstance(parsed, list) else [parsed]
        if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
            raise ValueError("a tool call has no name")
        return calls

    @property
    def tokenizer_info(self) -> TokenizerInfo:
        tokenizer = self.served.tokenizer
        return TokenizerInfo(
            tokenizer_class=type(tokenizer._tokenizer).__name__,
            bos_token=tokenizer.bos_token,
            eos_token=tokenizer.eos_token,
            pad_token=tokenizer.pad_token,
            unk_token=tokenizer.unk_token,
            chat_template=tokenizer.chat_template,
        )

    def places(self) -> Places:
        """Where in a text each of its tokens begins."""
        tokenizer = self.served.tokenizer
        return Places(tokenizer.decode, frozenset(tokenizer.all_special_ids))

    def token_text(self, token_id: int) -> str:
        """One token as text, for logprobs."""
        return str(self.served.tokenizer.decode([token_id]))
