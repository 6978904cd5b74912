"""Rows to learn from and rows to be measured on: what a dataset becomes for one base.

Promises that a row is used whole, or cut or dropped by the run's policy and counted; that a row without a supervised
token is refused; that every conversation the template cannot render is named with its line; that held-out rows which
are also learned from are counted. Knows nothing of MLX arrays or batches. `tests/trainer/test_rows.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from catalog import datasets
from catalog.base import blas
from catalog.base.rows import Pair, Row, Rows, TrainingRow, rows_of
from catalog.datasets import Dataset, Example, Split
from catalog.errors import InvalidDataset, InvalidRequest
from catalog.plan import Overlong

blas.preload()

from mlx_lm.tokenizer_utils import TokenizerWrapper  # noqa: E402

__all__ = ["Material", "Pair", "Row", "Side", "TrainingRow", "prepare"]


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the split: its rows, how many were too long or cut, and the digest of each of its lines."""

    rows: tuple[TrainingRow, ...]
    dropped: int
    digests: tuple[str, ...]
    cut: int = 0

    @property
    def tokens(self) -> int:
        return sum(row.token_count for row in self.rows)

    @property
    def supervised_tokens(self) -> int:
        return sum(row.supervised_tokens for row in self.rows)


@dataclass(frozen=True, slots=True)
class Material:
    """A dataset as rows, split by the seed, or with rows of another file held out."""

    dataset: Dataset
    train: Side
    held_out: Side
    validation: Dataset | None = None
    """What the held-out rows are, where they are not a part of the dataset."""

    @property
    def rows_sha256(self) -> str:
        """Tells whether other rows are the same ones on the same sides."""
        return datasets.digest_of(self.dataset, self.validation)

    @property
    def leaked(self) -> int:
        """Held-out rows that are also learned from, as when a conversation begins like another one."""
        learned = {row.content for row in self.train.rows}
        return sum(row.content in learned for row in self.held_out.rows)


def prepare(
    tokenizer: TokenizerWrapper,
    dataset: Dataset,
    *,
    seed: int,
    max_length: int,
    overlong: Overlong = "drop",
    validation: Dataset | None = None,
    between: Callable[[], None] = lambda: None,
) -> Material:
    """Tokenise both sides: those of the split, or all of `dataset` and of `validation`.

    `between` is called before each row and may raise to give up. Raises InvalidDataset with every row at fault, or when
    nothing is left.
    """
    split = Split(dataset.rows, validation.rows) if validation else datasets.split(dataset.rows, seed)
    held_out_file = (validation or dataset).path.name
    defects: list[str] = []

    def side(examples: Iterable[Example], file: str) -> Side:
        rows: list[TrainingRow] = []
        dropped, cut, digests = 0, 0, []
        for example in examples:
            between()
            digests.append(hashlib.sha256(example.canonical()).hexdigest())
            made = _rows_of(tokenizer, example, max_length, overlong, file, defects)
            rows += made.rows
            dropped += made.dropped
            cut += made.cut
        return Side(tuple(rows), dropped, tuple(digests), cut)

    train, held_out = side(split.train, dataset.path.name), side(split.held_out, held_out_file)
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
    return Material(dataset, train, held_out, validation)


def _rows_of(
    tokenizer: TokenizerWrapper,
    example: Example,
    max_length: int,
    overlong: Overlong,
    file: str,
    defects: list[str],
) -> Rows:
    where = f"{file}:{example.line}"
    try:
        made = rows_of(tokenizer, example, max_length=max_length, overlong=overlong)
    except InvalidRequest as error:
        defects.append(f"{where}: {error}")
        return Rows(())
    if made.has_nothing_to_learn:
        defects.append(f"{where}: has no token to learn")
        return Rows(())
    return made
