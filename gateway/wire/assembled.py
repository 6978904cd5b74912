"""Answers of any server as the one completion object that can be kept: a stream's chunks put together, shapes judged.

What an upstream sent is not trusted: where it is not of OpenAI's shape there is no completion. Pure.
`tests/gateway/wire/test_assembled.py` streams what is also asked for whole, and compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from gateway.wire.foreign import UNREADABLE

_DATA = b"data:"
_DONE = b"[DONE]"

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
Time = Annotated[int, Meta(ge=0, le=1 << 53)]


class _Function(Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _Call(Struct, frozen=True):
    index: int = 0
    id: str | None = None
    function: _Function = _Function()


class _Delta(Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Logprobs(Struct, frozen=True):
    content: list[Any] | None = None


class _Part(Struct, frozen=True):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Chunk(Struct, frozen=True):
    id: str = ""
    created: int = 0
    model: str = ""
    system_fingerprint: str | None = None
    choices: list[_Part] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


class _Choice(Struct, frozen=True):
    message: dict[str, Any]
    finish_reason: str


class _Completion(Struct, frozen=True):
    """What whoever reads a kept completion may rely on."""

    id: Id
    choices: Annotated[list[_Choice], Meta(min_length=1)]
    created: Time = 0
    model: str = ""


_CHUNKS = msgspec.json.Decoder(_Chunk)
_SAID = ("content", "reasoning_content", "reasoning", "refusal")


def completion_of(body: bytes, *, is_stream: bool) -> dict[str, Any] | None:
    """The completion that was sent; None when it broke off, or is none."""
    try:
        plain = _of_stream(body) if is_stream else msgspec.json.decode(body, type=dict[str, Any])
        msgspec.convert(plain, _Completion)
    except UNREADABLE:
        return None
    return plain


def _of_stream(body: bytes) -> dict[str, Any] | None:
    chunks: list[_Chunk] = []
    for text in _events(body):
        if text == _DONE:
            return _put_together(chunks)
        chunks.append(_CHUNKS.decode(text))
        if chunks[-1].error is not None:
            return None
    return None


def _events(body: bytes) -> Iterator[bytes]:
    for line in body.split(b"\n"):
        if line.startswith(_DATA) and (text := line[len(_DATA) :].strip()):
            yield text


def _put_together(chunks: Sequence[_Chunk]) -> dict[str, Any] | None:
    if not chunks:
        return None
    parts: dict[int, list[_Part]] = {}
    for chunk in chunks:
        for part in chunk.choices or ():
            parts.setdefault(part.index, []).append(part)
    first = chunks[0]
    return {
        "id": first.id,
        "object": "chat.completion",
        "created": first.created,
        "model": first.model,
        "system_fingerprint": first.system_fingerprint,
        "choices": [_choice(index, parts[index]) for index in sorted(parts)],
        "usage": next((chunk.usage for chunk in reversed(chunks) if chunk.usage), None),
    }


def _choice(index: int, parts: Sequence[_Part]) -> dict[str, Any]:
    deltas = [part.delta for part in parts if part.delta is not None]
    said = {name: [text for delta in deltas if (text := getattr(delta, name)) is not None] for name in _SAID}
    message: dict[str, Any] = {"role": "assistant", "content": "".join(said.pop("content"))}
    message |= {name: "".join(texts) for name, texts in said.items() if texts}
    if calls := _calls([call for delta in deltas for call in delta.tool_calls or ()]):
        message |= {"content": message["content"] or None, "tool_calls": calls}
    logprobs = [one for part in parts if part.logprobs is not None for one in part.logprobs.content or ()]
    finishes = [part.finish_reason for part in parts if part.finish_reason is not None]
    return {
        "index": index,
        "message": message,
        "logprobs": {"content": logprobs} if logprobs else None,
        "finish_reason": finishes[-1] if finishes else None,
    }


def _calls(parts: Sequence[_Call]) -> list[dict[str, Any]]:
    """Calls in order; the id comes once, name and arguments in pieces."""
    indices = sorted({part.index for part in parts})
    return [_call([part for part in parts if part.index == index]) for index in indices]


def _call(parts: Sequence[_Call]) -> dict[str, Any]:
    return {
        "id": next((part.id for part in parts if part.id), ""),
        "type": "function",
        "function": {
            "name": "".join(part.function.name or "" for part in parts),
            "arguments": "".join(part.function.arguments or "" for part in parts),
        },
    }
