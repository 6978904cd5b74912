"""A stream of chunks put together to the completion that it was, as OpenAI's object. Pure.

`tests/gateway/wire/test_assembled.py` streams what is also asked for whole, and compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

_DATA = b"data:"
_DONE = b"[DONE]"
_SAID = ("content", "reasoning_content", "reasoning", "refusal")


def completion_of(body: bytes) -> dict[str, Any] | None:
    """The completion of a whole stream; None when it broke off, or is no stream of chunks."""
    chunks: list[dict[str, Any]] = []
    for text in _events(body):
        if text == _DONE:
            return _completion(chunks)
        try:
            chunk = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if chunk.get("error"):
            return None
        chunks.append(chunk)
    return None


def _events(body: bytes) -> Iterator[bytes]:
    for line in body.split(b"\n"):
        if line.startswith(_DATA) and (text := line[len(_DATA) :].strip()):
            yield text


def _completion(chunks: list[dict[str, Any]]) -> dict[str, Any] | None:
    if not chunks:
        return None
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for part in chunk.get("choices") or ():
            _add(choices.setdefault(part.get("index", 0), _empty(part.get("index", 0))), part)
    head = {name: chunks[0].get(name) for name in ("id", "created", "model", "system_fingerprint")}
    usage = next((chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage")), None)
    listed = [_whole(choices[index]) for index in sorted(choices)]
    if any(choice["finish_reason"] is None for choice in listed):
        return None
    return {"object": "chat.completion", **head, "choices": listed, "usage": usage}


def _empty(index: int) -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", "content": None}, "logprobs": None, "finish_reason": None}


def _add(choice: dict[str, Any], part: Mapping[str, Any]) -> None:
    message, delta = choice["message"], part.get("delta") or {}
    for name in _SAID:
        if delta.get(name) is not None:
            message[name] = (message.get(name) or "") + delta[name]
    for call in delta.get("tool_calls") or ():
        _add_call(message.setdefault("tool_calls", {}), call)
    if logprobs := (part.get("logprobs") or {}).get("content"):
        choice["logprobs"] = {"content": [*((choice["logprobs"] or {}).get("content") or ()), *logprobs]}
    choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]


def _add_call(calls: dict[int, dict[str, Any]], part: Mapping[str, Any]) -> None:
    call = calls.setdefault(
        part.get("index", 0), {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    )
    call["id"] = part.get("id") or call["id"]
    function = part.get("function") or {}
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""


def _whole(choice: dict[str, Any]) -> dict[str, Any]:
    """With its calls in order, and no words where there are only calls."""
    message = choice["message"]
    if calls := message.pop("tool_calls", None):
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
        message["content"] = message["content"] or None
    return choice
