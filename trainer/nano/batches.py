"""Training batches as a pure function of (seed, shard): chats, rendered, sorted by length, padded to the right.

Promises that a resumed run sees exactly the batches it would have seen. A chat never shares a row with another, so
positions and context are what serving will show; the sort keeps padding at a few percent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from trainer.nano.corpus import training_chat
from trainer.nano.rendering import Rendered, render

CHATS_PER_SHARD: Final = 1536
DENSE_SHARE: Final = 0.8
REST_WEIGHT: Final = 0.05
LONGEST_ROW_TOKENS: Final = 1024
RECALL_SHARE_START: Final = 0.30
RECALL_SHARE_END: Final = 0.12
RECALL_CURRICULUM_TOKENS: Final = 5_000_000


@dataclass(frozen=True, slots=True)
class Batch:
    """ids [rows, length] and weights [rows, length]; `tokens` counts the real ones."""

    ids: NDArray[np.int64]
    weights: NDArray[np.float32]
    tokens: int


def recall_share(tokens_seen: int) -> float:
    """The share of copying tasks: high at first, so that the copying behaviour forms early, then falling linearly."""
    done = min(1.0, tokens_seen / RECALL_CURRICULUM_TOKENS)
    return RECALL_SHARE_START + (RECALL_SHARE_END - RECALL_SHARE_START) * done


def _padded(rows: list[Rendered]) -> Batch:
    length = max(len(row.ids) for row in rows)
    ids = np.zeros((len(rows), length), np.int64)
    weights = np.zeros((len(rows), length), np.float32)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = row.ids
        weights[i, : len(row.ids)] = row.weights
    return Batch(ids, weights, sum(len(row.ids) for row in rows))


def _grouped(rows: list[Rendered], batch_tokens: int) -> Iterator[list[Rendered]]:
    group: list[Rendered] = []
    for row in sorted(rows, key=lambda row: len(row.ids)):
        if group and (len(group) + 1) * len(row.ids) > batch_tokens:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def shard(seed: int, index: int, tokens_seen: int, tokenizer: Tokenizer, batch_tokens: int) -> list[Batch]:
    """The batches of shard `index`; `tokens_seen` (at its start) sets the curriculum."""
    rows = []
    for chat_index in range(CHATS_PER_SHARD):
        rng = Random(f"corpus {seed} {index} {chat_index}")
        chat = training_chat(rng, recall_share(tokens_seen))
        row = render(chat, tokenizer, dense=rng.random() < DENSE_SHARE, rest_weight=REST_WEIGHT)
        if len(row.ids) <= LONGEST_ROW_TOKENS:
            rows.append(row)
    batches = [_padded(group) for group in _grouped(rows, batch_tokens)]
    Random(f"order {seed} {index}").shuffle(batches)
    return batches
