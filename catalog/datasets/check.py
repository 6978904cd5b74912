"""What a dataset would be to a run, without running: its defects, its counts for one base, and what would be learned.

Holds one conversation at a time and about a hundred bytes for each. Tokens are counted until `budget_s` is spent; the
defects and duplicates are always those of the whole file. `tests/catalog/test_datasets_check.py`.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from catalog.base import blas, locate, tokenizer
from catalog.base.rows import Row, Rows, TrainingRow, rows_of
from catalog.datasets import sides
from catalog.datasets.conversation import Example
from catalog.datasets.reading import Reader
from catalog.errors import InvalidRequest
from catalog.plan import Overlong, recommended_max_length

blas.preload()

from mlx_lm.tokenizer_utils import TokenizerWrapper  # noqa: E402

INLINE = "rows"
"""What stands for the file's name when the rows came in a request."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the counts depend on. `max_length` in tokens; None takes what a run on this base would."""

    base: str
    max_length: int | None = None
    overlong: Overlong = "drop"
    seed: int = 0
    show: int = 0
    """How many rows of tokens are shown."""
    budget_s: float = float("inf")


@dataclass(slots=True)
class SideCount:
    """One side of the split. `rows` are of tokens: a conversation makes one or several, a pair is one."""

    conversations: int = 0
    rows: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    over_max_length: int = 0
    """Rows dropped, or kept without their oldest exchanges."""
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """Text whose tokens are all learned, or all only read."""

    text: str
    supervised: bool


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One sequence of tokens as the model sees it; `answer` says which one of a pair it is."""

    line: int
    tokens: int
    supervised_tokens: int
    spans: tuple[Span, ...]
    answer: Literal["chosen", "rejected"] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Everything that was found."""

    file: str
    form: str | None
    base: str
    base_reason: str
    max_length: int
    overlong: Overlong
    seed: int
    conversations: int
    conversations_tokenised: int
    """Less than all when the time for counting tokens was spent."""
    train: SideCount
    held_out: SideCount
    nothing_to_learn: int
    """Conversations without a token to learn; each is a defect too."""
    duplicates: int
    """Conversations that equal an earlier one; they stand on its side of the split."""
    held_out_equal_to_train: int
    """Held-out rows of tokens that are also learned from, as when a conversation begins like another one."""
    defects_total: int
    defects: tuple[str, ...]
    shown: tuple[ShownRow, ...]

    @property
    def is_sound(self) -> bool:
        """Whether a run would start."""
        return self.defects_total == 0 and self.conversations > 0


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of a conversation. `rows` are fingerprints of its rows of tokens."""

    rank: float
    tokens: int = 0
    supervised_tokens: int = 0
    dropped: int = 0
    cut: int = 0
    rows: tuple[bytes, ...] = ()


@dataclass(slots=True)
class _Census:
    """The state of one check."""

    tokenizer: TokenizerWrapper
    terms: Terms
    max_length: int
    reader: Reader
    clock: Callable[[], float]
    deadline: float
    seen: list[_Seen] = field(default_factory=list)
    shown: list[ShownRow] = field(default_factory=list)
    rows_shown: int = 0
    tokenised: int = 0
    nothing_to_learn: int = 0

    def take(self, example: Example) -> None:
        place = sides.rank(example, self.terms.seed)
        if self.clock() > self.deadline:
            self.seen.append(_Seen(place))
            return
        self.tokenised += 1
        made = self._rows_of(example)
        for row in made.rows[: max(0, self.terms.show - self.rows_shown)]:
            self.shown += shown(self.tokenizer, row)
            self.rows_shown += 1
        self.seen.append(
            _Seen(
                place,
                sum(row.token_count for row in made.rows),
                sum(row.supervised_tokens for row in made.rows),
                made.dropped,
                made.cut,
                tuple(_fingerprint(row) for row in made.rows),
            )
        )

    def _rows_of(self, example: Example) -> Rows:
        try:
            made = rows_of(self.tokenizer, example, max_length=self.max_length, overlong=self.terms.overlong)
        except InvalidRequest as error:
            self.reader.defects.add(example.line, "", str(error))
            return Rows(())
        if made.has_nothing_to_learn:
            self.nothing_to_learn += 1
            self.reader.defects.add(example.line, "", "has no token to learn")
            return Rows(())
        return made


def check_file(path: Path, terms: Terms, clock: Callable[[], float] = time.monotonic) -> Check:
    """Check a file; raises InvalidDataset if it cannot be read, Unavailable if no base is here."""
    reader = Reader()
    return _check(path.name, reader, reader.file(path), terms, clock)


def check_rows(rows: Iterable[object], terms: Terms, clock: Callable[[], float] = time.monotonic) -> Check:
    """Check rows that were parsed elsewhere."""
    reader = Reader()
    return _check(INLINE, reader, reader.values(rows), terms, clock)


def _check(file: str, reader: Reader, rows: Iterator[Example], terms: Terms, clock: Callable[[], float]) -> Check:
    choice = locate.choose(terms.base)
    size = locate.size_of(choice.folder)
    max_length = min(terms.max_length or recommended_max_length(size.parameters, size.context), size.context)
    made = tokenizer.load(choice.base, choice.folder)
    census = _Census(made, terms, max_length, reader, clock, clock() + terms.budget_s)
    for example in rows:
        census.take(example)
    if not census.seen and not reader.defects.total:
        reader.defects.add(1, "", "has no rows")
    held_out_ranks = sides.held_out_ranks(one.rank for one in census.seen)
    train = [one for one in census.seen if one.rank not in held_out_ranks]
    held_out = [one for one in census.seen if one.rank in held_out_ranks]
    learned = {row for one in train for row in one.rows}
    return Check(
        file=file,
        form=reader.form.name if reader.form is not None else None,
        base=choice.base,
        base_reason=choice.reason,
        max_length=max_length,
        overlong=terms.overlong,
        seed=terms.seed,
        conversations=len(census.seen),
        conversations_tokenised=census.tokenised,
        train=_count(train),
        held_out=_count(held_out),
        nothing_to_learn=census.nothing_to_learn,
        duplicates=len(census.seen) - len({one.rank for one in census.seen}),
        held_out_equal_to_train=sum(row in learned for one in held_out for row in one.rows),
        defects_total=reader.defects.total,
        defects=reader.defects.lines(file),
        shown=tuple(census.shown),
    )


def _count(side: list[_Seen]) -> SideCount:
    return SideCount(
        conversations=len(side),
        rows=sum(len(one.rows) for one in side),
        tokens=sum(one.tokens for one in side),
        supervised_tokens=sum(one.supervised_tokens for one in side),
        over_max_length=sum(one.dropped + one.cut for one in side),
        dropped=sum(one.dropped for one in side),
    )


def shown(tokenizer: TokenizerWrapper, row: TrainingRow) -> list[ShownRow]:
    """The row's text, or the texts of a pair, cut where learning begins and ends."""
    if isinstance(row, Row):
        return [_shown(tokenizer, row)]
    chosen = [replace(_shown(tokenizer, part), answer="chosen") for part in row.chosen]
    return chosen + [replace(_shown(tokenizer, part), answer="rejected") for part in row.rejected]


def _shown(tokenizer: TokenizerWrapper, row: Row) -> ShownRow:
    pairs = itertools.groupby(zip(row.tokens, row.supervised, strict=True), key=lambda pair: pair[1])
    spans = tuple(Span(tokenizer.decode([token for token, _ in group]), learned) for learned, group in pairs)
    return ShownRow(row.line, len(row.tokens), row.supervised_tokens, spans)


def _fingerprint(row: TrainingRow) -> bytes:
    return hashlib.sha256(repr(row.content).encode()).digest()[:16]
