"""Caches of earlier conversations: a next turn prefills only what is new.

Keyed by the adapter's content id and the tokens, so that a cache made under one adapter never serves another, whatever
names moved. Bounded in bytes. mlx-lm's trie does the search; it must never be asked for a whole prompt, since at least
one token has to be left to decode from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx_lm.models.cache import LRUPromptCache

from catalog.ids import AdapterId

MAX_ENTRIES = 256
MIN_REUSED_TOKENS = 16


class PrefixCache:
    """Prefix caches of one base, for the engine's thread only."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._entries = LRUPromptCache(max_size=MAX_ENTRIES, max_bytes=self._max_bytes)

    def fetch(self, adapter_id: AdapterId | None, prompt: Sequence[int]) -> tuple[list[Any] | None, int]:
        """A copy of the longest fitting cache and how many of the prompt's tokens it holds; (None, 0) if none."""
        if self._max_bytes == 0 or len(prompt) <= MIN_REUSED_TOKENS:
            return None, 0
        wanted = list(prompt[:-1])
        caches, rest = self._entries.fetch_nearest_cache(adapter_id, wanted)
        cached = len(wanted) - len(rest)
        return (caches, cached) if caches is not None and cached >= MIN_REUSED_TOKENS else (None, 0)

    def keep(self, adapter_id: AdapterId | None, tokens: Sequence[int], caches: list[Any]) -> None:
        """Keep a finished row's cache, which holds exactly `tokens`."""
        if self._max_bytes > 0:
            self._entries.insert_cache(adapter_id, list(tokens), caches)
