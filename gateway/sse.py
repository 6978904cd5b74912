"""Server-sent events of an upstream, cut and looked into without being changed.

`EventCutter` hands on whole events only, byte for byte, so that a stream which dies inside one never shows its half.
`look` says what a block of events means. Pure. `tests/gateway/test_sse.py`: any cut into pieces gives the same bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from gateway.wire.foreign import UNREADABLE

MAX_EVENT_BYTES = 4 << 20


class EventTooLong(ValueError):
    """More than MAX_EVENT_BYTES without the end of an event."""


class EventCutter:
    """Holds back what is not yet a whole event."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """All whole events so far, as they came."""
        pending = self._held + piece
        end = max(
            pending.rfind(b"\n\n") + 2 if b"\n\n" in pending else 0,
            pending.rfind(b"\r\n\r\n") + 4 if b"\r\n\r\n" in pending else 0,
        )
        self._held = pending[end:]
        if len(self._held) > MAX_EVENT_BYTES:
            raise EventTooLong
        return pending[:end]


class Tokens(Struct, frozen=True):
    """The usage of an answer by somebody else; None is not said."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Delta(Struct, frozen=True):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None


class _Choice(Struct, frozen=True):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(Struct, frozen=True):
    choices: list[_Choice] | None = None
    error: Any = None
    usage: Tokens | None = None


@dataclass(slots=True)
class Seen:
    """What a block of events held. `error` is the upstream's own object, `unreadable` an event that is no chunk."""

    content: bool = False
    finished: bool = False
    done: bool = False
    error: Any = None
    unreadable: bool = False
    usage: Tokens | None = None


_EVENT_END = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")
_NO_DELTA = _Delta()
_DECODER = msgspec.json.Decoder(_Chunk)


def look(block: bytes) -> Seen:
    """Read every event of a block of whole events, up to `[DONE]`: what comes after it is no part of the answer."""
    seen = Seen()
    for line in block.split(b"\n"):
        if seen.done:
            break
        if line.startswith(b"data:") and (text := line[5:].strip()):
            _look_at(text, seen)
    return seen


def before_fault(block: bytes) -> bytes:
    """The events of a block that came before its error, or before what is no chunk."""
    kept = b""
    for event in _EVENT_END.split(block):
        seen = look(event)
        if seen.error is not None or seen.unreadable:
            break
        kept += event
    return kept


def until_done(block: bytes) -> bytes:
    """The events of a block up to `[DONE]`, with it."""
    if block.endswith(b"data: [DONE]\n\n") and block.count(b"[DONE]") == 1:
        return block  # nearly always; reading it all again would cost a stream a third more
    kept = b""
    for event in _EVENT_END.split(block):
        kept += event
        if look(event).done:
            break
    return kept


def renamed(block: bytes, chunk_id: str) -> bytes:
    """The events of a block with another `id` in each chunk; all the rest of them as it came."""
    return b"\n".join(_renamed(line, chunk_id) for line in block.split(b"\n"))


def _renamed(line: bytes, chunk_id: str) -> bytes:
    text = line[5:].strip()
    if not line.startswith(b"data:") or not text or text == b"[DONE]":
        return line
    return b"data: " + with_id(text, chunk_id) + (b"\r" if line.endswith(b"\r") else b"")


def with_id(text: bytes, own_id: str) -> bytes:
    """An object of JSON with another `id`; raises one of UNREADABLE where it is none."""
    fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({**fields, "id": own_id})


def _look_at(text: bytes, seen: Seen) -> None:
    if text == b"[DONE]":
        seen.done = True
        return
    try:
        chunk = _DECODER.decode(text)
    except UNREADABLE:
        seen.unreadable = True
        return
    seen.error = seen.error or chunk.error
    seen.usage = chunk.usage or seen.usage
    for choice in chunk.choices or ():
        delta = choice.delta or _NO_DELTA
        seen.finished |= choice.finish_reason is not None
        seen.content |= bool(delta.content or delta.reasoning_content or delta.reasoning or delta.tool_calls)
