"""Who answers: named in every answer's headers, and the labels under which it is counted."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from gateway.routing import FallbackReason


@dataclass(frozen=True, slots=True)
class Speaker:
    """`label` is the model for metrics: from the settings, never from a client's text."""

    provider: str
    label: str
    adapter: str | None = None
    """Full content id or `base`; None where another server answers."""
    fallback: FallbackReason | None = None

    def instead_of(self, reason: FallbackReason) -> Speaker:
        return replace(self, fallback=reason)

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return _headers(self.provider, self.adapter, self.fallback)


@lru_cache(256)
def _headers(provider: str, adapter: str | None, fallback: str | None) -> tuple[tuple[bytes, bytes], ...]:
    named = {"x-ragweld-provider": provider, "x-ragweld-adapter": adapter, "x-ragweld-fallback": fallback}
    return tuple((name.encode(), _printable(value)) for name, value in named.items() if value is not None)


@dataclass(slots=True)
class Count:
    """What an answer took, filled while it is given. Times are of the gateway's clock."""

    first_piece_at: float | None = None
    last_piece_at: float | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    unreadable_calls: int = 0
    is_bad: bool = False
    """Whether nothing was said, or the same again and again."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A complete answer's body."""

    body: bytes
    content_type: bytes = b"application/json"


class Answer(Protocol):
    """An answer that somebody has begun to give."""

    speaker: Speaker
    count: Count

    async def whole(self) -> Whole:
        """All of it; raises RagweldError."""

    def events(self) -> AsyncGenerator[bytes, None]:
        """Blocks of server-sent events with `[DONE]` last; raises RagweldError where it breaks off."""

    async def aclose(self) -> None:
        """Stop whoever answers, at once."""


def _printable(text: str) -> bytes:
    return "".join(char if char.isprintable() else "?" for char in text).encode("latin-1", "replace")
