"""A chat as token ids with a weight for each, the way pretraining sees it.

Promises that the text of the `served` form is byte for byte what the chat template renders (a test compares them). The
`dense` form differs in one thing only: every assistant turn has its empty think block, so that every turn can be
learned from; in the served form only the last one has, and earlier turns do not teach how an answer begins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from trainer.nano.corpus import Chat

EMPTY_THOUGHT = "<think>\n\n</think>\n\n"
_TOOLS_HEAD = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
_TOOLS_TAIL = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n'
    "</tool_call><|im_end|>\n"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text and whether the model is to learn to write it."""

    text: str
    supervised: bool


def _head(chat: Chat) -> Iterator[Piece]:
    first = chat.messages[0]
    system = first["content"] if first["role"] == "system" else None
    if chat.tools:
        schemas = "".join("\n" + json.dumps(tool, ensure_ascii=False) for tool in chat.tools)
        lead = "" if system is None else f"{system}\n\n"
        yield Piece(f"<|im_start|>system\n{lead}{_TOOLS_HEAD}{schemas}{_TOOLS_TAIL}", False)
    elif system is not None:
        yield Piece(f"<|im_start|>system\n{system}<|im_end|>\n", False)


def call_text(call: dict[str, Any]) -> str:
    """One tool call as Qwen3 writes it."""
    function = call["function"]
    return f'<tool_call>\n{{"name": "{function["name"]}", "arguments": {function["arguments"]}}}\n</tool_call>'


def answer_text(message: dict[str, Any]) -> str:
    """All that an assistant message says, calls included, without its thought."""
    calls = message.get("tool_calls") or []
    written = [call_text(call) for call in calls]
    return "\n".join(([message["content"]] if message["content"] else []) + written)


def pieces(chat: Chat, *, dense: bool) -> Iterator[Piece]:
    """The chat's text, in order, cut where supervision changes."""
    yield from _head(chat)
    last = len(chat.messages) - 1
    for i, message in enumerate(chat.messages):
        match message["role"]:
            case "user":
                yield Piece(f"<|im_start|>user\n{message['content']}<|im_end|>\n", False)
            case "tool":
                yield Piece(
                    f"<|im_start|>user\n<tool_response>\n{message['content']}\n</tool_response><|im_end|>\n", False
                )
            case "assistant":
                yield Piece("<|im_start|>assistant\n", False)
                thought = dense or i == last
                yield Piece((EMPTY_THOUGHT if thought else "") + answer_text(message) + "<|im_end|>", thought)
                yield Piece("\n", False)


@dataclass(frozen=True, slots=True)
class Rendered:
    """Token ids and, for each, the weight of its loss (0 for the first, which nothing predicts)."""

    ids: list[int]
    weights: list[float]


def render(chat: Chat, tokenizer: Tokenizer, *, dense: bool, rest_weight: float) -> Rendered:
    """`chat` as ids: weight 1 on what the assistant writes, `rest_weight` on everything else."""
    ids: list[int] = []
    weights: list[float] = []
    for piece in pieces(chat, dense=dense):
        encoded = tokenizer.encode(piece.text, add_special_tokens=False).ids
        ids += encoded
        weights += [1.0 if piece.supervised else rest_weight] * len(encoded)
    weights[0] = 0.0
    return Rendered(ids, weights)
