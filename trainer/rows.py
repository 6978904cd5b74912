"""Rows to learn from and rows to be measured on: what a dataset becomes for one base.

Promises that a row is used whole or dropped and counted, never cut; that a row without a supervised token is refused;
that every conversation the template cannot render is named with its line. Knows nothing of MLX arrays or batches.
`tests/trainer/test_rows.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from mlx_lm.tokenizer_utils import TokenizerWrapper

from catalog import datasets
from catalog.base.chat import training_samples
from catalog.datasets import Conversation, Dataset
from catalog.errors import InvalidDataset, InvalidRequest


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens of one sample, the dataset line it came from, and which tokens the model should produce."""

    line: int
    tokens: tuple[int, ...]
    supervised: tuple[bool, ...]

    @property
    def supervised_tokens(self) -> int:
        """Tokens that carry loss; the first one has nothing before it to be predicted from."""
        return sum(self.supervised[1:])


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the split: its rows, how many were too long, and the digest of each of its conversations."""

    rows: tuple[Row, ...]
    dropped: int
    digests: tuple[str, ...]

    @property
    def tokens(self) -> int:
        return sum(len(row.tokens) for row in self.rows)

    @property
    def supervised_tokens(self) -> int:
        return sum(row.supervised_tokens for row in self.rows)


@dataclass(frozen=True, slots=True)
class Material:
    """A dataset as rows, split by the seed."""

    dataset: Dataset
    train: Side
    held_out: Side


def prepare(tokenizer: TokenizerWrapper, dataset: Dataset, *, seed: int, max_length: int) -> Material:
    """Tokenise both sides of the split. Raises InvalidDataset with every row at fault, or when nothing is left."""
    split = datasets.split(dataset.rows, seed)
    defects: list[str] = []
    train = _side(tokenizer, split.train, max_length, dataset.path.name, defects)
    held_out = _side(tokenizer, split.held_out, max_length, dataset.path.name, defects)
    if defects:
        shown = "; ".join(defects[:3])
        raise InvalidDataset(
            f"{dataset.path.name} has {len(defects)} row(s) that cannot be learned from: {shown}.",
            defects=tuple(defects),
        )
    if not train.rows:
        raise InvalidDataset(
            f"All {train.dropped} training rows of {dataset.path.name} are longer than {max_length} tokens.",
            hint="Raise max_length.",
        )
    return Material(dataset, train, held_out)


def _side(
    tokenizer: TokenizerWrapper, conversations: Iterable[Conversation], max_length: int, file: str, defects: list[str]
) -> Side:
    rows: list[Row] = []
    dropped = 0
    digests = []
    for conversation in conversations:
        digests.append(hashlib.sha256(conversation.canonical()).hexdigest())
        for row in _rows_of(tokenizer, conversation, file, defects):
            if len(row.tokens) > max_length:
                dropped += 1
            else:
                rows.append(row)
    return Side(tuple(rows), dropped, tuple(digests))


def _rows_of(tokenizer: TokenizerWrapper, conversation: Conversation, file: str, defects: list[str]) -> list[Row]:
    where = f"{file}:{conversation.line}"
    try:
        samples = training_samples(tokenizer, conversation.messages, conversation.tools)
    except InvalidRequest as error:
        defects.append(f"{where}: {error}")
        return []
    rows = [Row(conversation.line, sample.tokens, sample.supervised) for sample in samples]
    if not rows or any(row.supervised_tokens == 0 for row in rows):
        defects.append(f"{where}: has no token to learn")
        return []
    return rows
