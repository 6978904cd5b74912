"""Text to tokens and back by the base that would answer. `tests/gateway/test_tokens.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from catalog.ids import ModelRef
from gateway import generation
from gateway.engine.requests import TokenizerInfo
from gateway.ports import AnswerEngine, Voice
from gateway.wire.fields import check_supported
from gateway.wire.request import ParsedChat
from gateway.wire.tokens import Detokenized, DetokenizeRequest, Tokenized, TokenizeRequest


async def tokenize(engine: AnswerEngine, ref: ModelRef, asked: TokenizeRequest) -> Tokenized:
    """What the model would read; raises NotFound, Unavailable, InvalidRequest."""
    voice = await engine.resolve(ref)
    if isinstance(asked.said, ParsedChat):
        tokens = await _read_of(voice, asked.said)
    else:
        tokens = await voice.text_tokens(asked.said, special=asked.add_special_tokens)
    strings = await asyncio.to_thread(_strings, voice, tokens) if asked.return_token_strs else None
    return Tokenized(count=len(tokens), max_model_len=voice.context, tokens=tokens, token_strs=strings)


async def detokenize(engine: AnswerEngine, ref: ModelRef, asked: DetokenizeRequest) -> Detokenized:
    """The text of tokens; raises InvalidRequest when one is none of this model's."""
    return Detokenized(await (await engine.resolve(ref)).text_of(asked.tokens, "tokens"))


async def info(engine: AnswerEngine, ref: ModelRef) -> TokenizerInfo:
    """The tokenizer's own words: its special tokens and its chat template."""
    return (await engine.resolve(ref)).tokenizer_info


def _strings(voice: Voice, tokens: Sequence[int]) -> list[str]:
    return [voice.token_text(token) for token in tokens]


async def _read_of(voice: Voice, chat: ParsedChat) -> tuple[int, ...]:
    check_supported(chat.request)
    thinking = generation.thinks(chat.request, generation.constraint(chat))
    return await voice.prompt_tokens(chat.messages, chat.tools, thinking=thinking)
