"""Asks a chat question from inside, on the very path that a client's request takes: routing, fallback, limits, counts.

`ask_among` streams and says when what was heard, and who really answered.
`tests/gateway/test_benchmark.py` and `test_knowledge.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.types import Message

from catalog.errors import UpstreamFailed
from gateway import chat
from gateway.context import Context
from gateway.guard import Visit
from gateway.lifecycle import Connection
from gateway.routing import Choice
from gateway.wire import request as wire

_DATA = b"data: "


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer, who gave it, and when; seconds since it was asked."""

    text: str
    model: str
    """The id that really answered."""
    provider: str
    fallback: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    answer_tokens: int | None
    first_content_s: float | None
    last_content_s: float | None
    total_s: float

    @property
    def tokens_per_s(self) -> float | None:
        """Pace after the first token; None where it cannot be told."""
        if self.first_content_s is None or self.last_content_s is None or not self.answer_tokens:
            return None
        spent_s = self.last_content_s - self.first_content_s
        return (self.answer_tokens - 1) / spent_s if self.answer_tokens > 1 and spent_s > 0 else None


async def ask_among(context: Context, body: Mapping[str, Any], choice: Choice, visit: Visit) -> Heard:
    """The answer to a chat body by the first candidate that can; raises RagweldError, also where it breaks off."""
    streaming = {**body, "stream": True, "stream_options": {"include_usage": True}}
    parsed = wire.parse(msgspec.json.encode(streaming))
    if context.watch is not None:
        await context.watch.before_request()
    ear = _Ear(context.clock)
    await chat.converse(context, parsed, choice, visit, Connection(), ear.send)
    return ear.heard()


class _Ear:
    """Takes an ASGI answer of server-sent events apart as it comes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._headers: dict[str, str] = {}
        self._texts: list[str] = []
        self._model = ""
        self._finish: str | None = None
        self._usage: dict[str, Any] = {}
        self._first_s: float | None = None
        self._last_s: float | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
        elif message["type"] == "http.response.body":
            for line in message["body"].splitlines():
                if line.startswith(_DATA) and line != b"data: [DONE]":
                    self._take(msgspec.json.decode(line[len(_DATA) :]))

    def heard(self) -> Heard:
        return Heard(
            text="".join(self._texts),
            model=self._model,
            provider=self._headers.get("x-ragweld-provider", ""),
            fallback=self._headers.get("x-ragweld-fallback"),
            finish_reason=self._finish,
            prompt_tokens=self._usage.get("prompt_tokens"),
            answer_tokens=self._usage.get("completion_tokens"),
            first_content_s=self._first_s,
            last_content_s=self._last_s,
            total_s=self._clock() - self._began,
        )

    def _take(self, chunk: dict[str, Any]) -> None:
        if error := chunk.get("error"):
            raise UpstreamFailed(str(error.get("message")), code=str(error.get("code")))
        self._model = chunk.get("model") or self._model
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            if delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"):
                self._last_s = self._clock() - self._began
                self._first_s = self._first_s if self._first_s is not None else self._last_s
            self._texts.append(delta.get("content") or "")
            self._finish = choice.get("finish_reason") or self._finish
