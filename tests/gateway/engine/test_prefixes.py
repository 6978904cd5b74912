"""Prefix caches: the longest beginning, its own adapter's only, within bytes, and never changed by who uses it."""

from __future__ import annotations

import numpy as np

from catalog.base import blas
from catalog.ids import AdapterId, BaseId
from gateway.engine.prefixes import MIN_REUSED_TOKENS, Maker, PrefixCache

blas.preload()

import mlx.core as mx  # noqa: E402
from mlx_lm.models.cache import KVCache  # noqa: E402

BASE = BaseId("base")
A: Maker = (BASE, AdapterId("a" * 64))
B: Maker = (BASE, AdapterId("b" * 64))
BARE: Maker = (BASE, None)
ELSEWHERE: Maker = (BaseId("other"), A[1])
LAYER_BYTES = 2 * 4 * 2


def layers(tokens: list[int]) -> list[KVCache]:
    """One layer whose keys are the tokens."""
    cache = KVCache()
    keys = mx.array(tokens, dtype=mx.float32).reshape(1, 1, -1, 1) * mx.ones((1, 1, 1, 2))
    cache.keys, cache.values, cache.offset = keys, keys, len(tokens)
    return [cache]


def held(found: list[KVCache] | None) -> list[int]:
    assert found is not None
    keys, _, offset = found[0].state
    return [int(token) for token in np.array(keys)[0, 0, :offset, 0]]


FIRST = list(range(100, 150))


def test_the_longest_beginning_is_found_and_one_token_is_left() -> None:
    cache = PrefixCache(1 << 20)
    cache.keep(A, FIRST[:20] + [1] * 30, layers(FIRST[:20] + [1] * 30))
    cache.keep(A, FIRST, layers(FIRST))
    found, length = cache.fetch(A, [*FIRST[:40], 7, 8])
    assert (held(found), length) == (FIRST[:40], 40)
    found, length = cache.fetch(A, FIRST)
    assert (held(found), length) == (FIRST[:-1], len(FIRST) - 1)


def test_another_adapter_and_a_short_beginning_find_nothing() -> None:
    cache = PrefixCache(1 << 20)
    cache.keep(A, FIRST, layers(FIRST))
    assert cache.fetch(B, FIRST) == (None, 0)
    assert cache.fetch(BARE, FIRST) == cache.fetch(ELSEWHERE, FIRST) == (None, 0)
    assert cache.fetch(A, [*FIRST[: MIN_REUSED_TOKENS - 1], *[1] * 30]) == (None, 0)


def test_who_uses_a_view_changes_nothing_for_the_next() -> None:
    cache = PrefixCache(1 << 20)
    cache.keep(A, FIRST, layers(FIRST))
    found, _ = cache.fetch(A, [*FIRST[:30], 9, 9])
    assert found is not None
    found[0].update_and_fetch(mx.zeros((1, 1, 1, 2)), mx.zeros((1, 1, 1, 2)))
    again, length = cache.fetch(A, [*FIRST, 5])
    assert (held(again), length) == (FIRST, len(FIRST))


def test_a_continued_conversation_replaces_its_beginning() -> None:
    cache = PrefixCache(1 << 20)
    cache.keep(A, FIRST, layers(FIRST))
    longer = [*FIRST, *range(20)]
    cache.keep(A, longer, layers(longer))
    assert len(cache._entries) == 1
    assert cache._nbytes == len(longer) * LAYER_BYTES


def test_bytes_are_bounded_and_what_was_unused_for_longest_goes() -> None:
    cache = PrefixCache(3 * len(FIRST) * LAYER_BYTES)
    rows = [[n] * 20 + FIRST[:30] for n in range(4)]
    for row in rows[:3]:
        cache.keep(A, row, layers(row))
    cache.fetch(A, [*rows[0], 1])
    cache.keep(A, rows[3], layers(rows[3]))
    assert cache.fetch(A, [*rows[1], 1]) == (None, 0)
    assert cache.fetch(A, [*rows[0], 1])[1] == len(rows[0])
    assert cache._nbytes <= 3 * len(FIRST) * LAYER_BYTES
    cache.clear()
    assert cache.fetch(A, [*rows[0], 1]) == (None, 0)


def test_no_bytes_keep_nothing() -> None:
    cache = PrefixCache(0)
    cache.keep(A, FIRST, layers(FIRST))
    assert cache.fetch(A, FIRST) == (None, 0)
