"""Caches of earlier conversations: a next turn prefills only what is new.

Keyed by the base, the adapter's content id and the tokens, so that a cache made under one adapter never serves another,
whatever names moved. Bounded in bytes for all bases together; what was unused for longest goes first. Nothing is copied
on a hit: a trimmed view is enough, and a row's first write copies it (mlx-lm's own prompt cache deep-copies, and
searches token by token in Python: 10 ms of a first token here). One token of a prompt is always left to decode from.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from catalog.base import blas
from catalog.ids import AdapterId, BaseId
from gateway.engine.caches import sharing

blas.preload()

import mlx.core as mx  # noqa: E402
from mlx_lm.models.cache import can_trim_prompt_cache, trim_prompt_cache  # noqa: E402

MAX_ENTRIES = 256
MIN_REUSED_TOKENS = 16

Tokens = npt.NDArray[np.int32]
Maker = tuple[BaseId, AdapterId | None]
"""Whose keys and values they are."""
Key = tuple[Maker, bytes]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A finished row's cache: layers that hold exactly these tokens."""

    maker: Maker
    tokens: Tokens
    layers: list[Any]
    nbytes: int

    def shared_with(self, prompt: Tokens) -> int:
        """How many of the prompt's first tokens are this entry's first tokens too."""
        length = min(len(self.tokens), len(prompt))
        differs = np.flatnonzero(self.tokens[:length] != prompt[:length])
        return int(differs[0]) if differs.size else length

    def view(self, length: int) -> list[Any]:
        """The layers as they were after `length` tokens, sharing their arrays."""
        layers = [sharing(layer) for layer in self.layers]
        if length < len(self.tokens):
            trim_prompt_cache(layers, len(self.tokens) - length)
        return layers


class PrefixCache:
    """Prefix caches of all bases, for the engine's thread only."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._nbytes = 0

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._nbytes = 0

    def forget(self, base: BaseId) -> None:
        """Drop what a base made."""
        for key in [key for key in self._entries if key[0][0] == base]:
            self._drop(key)

    def fetch(self, maker: Maker, prompt: Sequence[int]) -> tuple[list[Any] | None, int]:
        """Layers that hold the longest known beginning of the prompt, and its length; (None, 0) if there is none."""
        if not self._entries or len(prompt) <= MIN_REUSED_TOKENS:
            return None, 0
        wanted = np.array(prompt[:-1], dtype=np.int32)
        best: tuple[Key, int] | None = None
        for key, entry in self._entries.items():
            if entry.maker != maker:
                continue
            shared = entry.shared_with(wanted)
            usable = shared == len(entry.tokens) or can_trim_prompt_cache(entry.layers)
            if usable and shared >= MIN_REUSED_TOKENS and (best is None or shared > best[1]):
                best = key, shared
        if best is None:
            return None, 0
        self._entries.move_to_end(best[0])
        return self._entries[best[0]].view(best[1]), best[1]

    def keep(self, maker: Maker, tokens: Sequence[int], layers: list[Any]) -> None:
        """Keep a finished row's cache, which holds exactly `tokens`; it replaces those that it continues."""
        nbytes = sum(layer.nbytes for layer in layers)
        if nbytes > self._max_bytes or len(tokens) < MIN_REUSED_TOKENS:
            return
        mx.eval([layer.state for layer in layers])  # else they would hold on to the whole batch
        entry = _Entry(maker, np.array(tokens, dtype=np.int32), layers, nbytes)
        if can_trim_prompt_cache(layers):
            self._drop_continued(entry)
        self._drop((maker, entry.tokens.tobytes()))
        self._entries[maker, entry.tokens.tobytes()] = entry
        self._nbytes += nbytes
        while self._nbytes > self._max_bytes or len(self._entries) > MAX_ENTRIES:
            self._drop(next(iter(self._entries)))

    def _drop_continued(self, entry: _Entry) -> None:
        for key, old in list(self._entries.items()):
            if old.maker == entry.maker and old.shared_with(entry.tokens) == len(old.tokens):
                self._drop(key)

    def _drop(self, key: Key) -> None:
        if (old := self._entries.pop(key, None)) is not None:
            self._nbytes -= old.nbytes
