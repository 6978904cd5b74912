"""Text of a conversation as the model sees it: one function for serving and for training.

`prompt_tokens` is what a request prefills. `training_samples` builds from the same function exactly what a request at
each assistant turn would have prefilled, followed by what it should have answered; only the answer is supervised.
Where a template renders the history of a later turn alike, the turns share one sample; where it does not (Qwen3 drops
earlier thoughts), they stay apart, so that nothing is trained in a form that is never served.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from catalog.base import blas
from catalog.errors import InvalidRequest

blas.preload()

from mlx_lm.tokenizer_utils import TokenizerWrapper  # noqa: E402

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """Tokens of one training row; `supervised[i]` says whether tokens[i] is a token the model should produce."""

    tokens: tuple[int, ...]
    supervised: tuple[bool, ...]


def render(
    tokenizer: TokenizerWrapper,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    for_answer: bool,
    thinking: bool = True,
) -> str:
    """The template's text; with `for_answer` it ends where the assistant begins. Raises InvalidRequest."""
    try:
        text = tokenizer.apply_chat_template(
            [_for_template(message) for message in messages],
            tools=list(tools) or None,
            add_generation_prompt=for_answer,
            tokenize=False,
            enable_thinking=thinking,
        )
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        raise InvalidRequest(
            f"The model's chat template cannot render these messages: {error}", param="messages"
        ) from error
    return str(text)


def encode(tokenizer: TokenizerWrapper, text: str) -> list[int]:
    """Tokens of a rendered text; adds nothing."""
    return list(tokenizer.encode(text, add_special_tokens=False))


def prompt_tokens(
    tokenizer: TokenizerWrapper,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    thinking: bool = True,
) -> list[int]:
    """What a request prefills."""
    return encode(tokenizer, render(tokenizer, messages, tools, for_answer=True, thinking=thinking))


def training_samples(
    tokenizer: TokenizerWrapper, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
) -> list[Sample]:
    """One sample for each assistant turn whose weight is not 0, those that continue each other merged."""
    merged: list[Sample] = []
    for turn, message in enumerate(messages):
        if message["role"] == "assistant" and message.get("weight") != 0:
            sample = _turn_sample(tokenizer, messages, tools, turn)
            merged = [*merged[:-1], *_merge(merged[-1:], sample)]
    return merged


def _turn_sample(
    tokenizer: TokenizerWrapper, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], turn: int
) -> Sample:
    """Prompt as served before this turn, then the turn up to and including its end token.

    An answer without reasoning is prefilled as one with thinking off, so that data which shows no thoughts does not
    teach the model never to think.
    """
    thinking = bool(messages[turn].get("reasoning_content"))
    prompt = render(tokenizer, messages[:turn], tools, for_answer=True, thinking=thinking)
    whole = render(tokenizer, messages[: turn + 1], tools, for_answer=False, thinking=thinking)
    if not whole.startswith(prompt):
        prompt = render(tokenizer, messages[:turn], tools, for_answer=True, thinking=not thinking)
    if not whole.startswith(prompt):
        raise InvalidRequest(
            f"The chat template renders messages[{turn}] differently from how it is served.",
            hint="This model cannot be trained on it.",
            param="messages",
        )
    answer = _until_end_token(encode(tokenizer, whole[len(prompt) :]), tokenizer.eos_token_ids)
    context = encode(tokenizer, prompt)
    return Sample((*context, *answer), (False,) * len(context) + (True,) * len(answer))


def _until_end_token(tokens: Sequence[int], end_tokens: set[int]) -> list[int]:
    for position in range(len(tokens) - 1, -1, -1):
        if tokens[position] in end_tokens:
            return list(tokens[: position + 1])
    return list(tokens)


def _merge(last: list[Sample], sample: Sample) -> list[Sample]:
    if last and sample.tokens[: len(last[0].tokens)] == last[0].tokens:
        rest = sample.supervised[len(last[0].supervised) :]
        return [Sample(sample.tokens, (*last[0].supervised, *rest))]
    return [*last, sample]


def _for_template(message: Message) -> dict[str, Any]:
    """OpenAI's message in the form that templates read: text parts joined, a call's arguments as an object."""
    ready = dict(message)
    if isinstance(ready.get("content"), list):
        ready["content"] = "".join(part["text"] for part in ready["content"])
    elif ready.get("content") is None:
        ready["content"] = ""
    if ready["role"] == "developer":
        ready["role"] = "system"
    if ready.get("tool_calls"):
        ready["tool_calls"] = [_call_for_template(call) for call in ready["tool_calls"]]
    return ready


def _call_for_template(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call["function"])
    if isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"] or "{}")
        except json.JSONDecodeError as error:
            raise InvalidRequest(
                f"arguments of the call of {function.get('name')!r} are not JSON: {error}", param="messages"
            ) from error
    return {**call, "function": function}
