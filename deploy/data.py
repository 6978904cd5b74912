"""`ragweld data check`: a dataset's defects, counts and first rows, for a person at a terminal.

Learned text stands between marks, so that it is seen without colour too; control characters of the file are escaped.
Imports nothing heavy before it is called. `tests/deploy/test_data.py`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from catalog.datasets.check import Check, ShownRow, SideCount
    from catalog.settings import Loaded

Say = Callable[[str], None]
OPEN, CLOSE = "⟦", "⟧"
GREEN, PLAIN = "\x1b[32m", "\x1b[0m"


def arguments(top: argparse.ArgumentParser) -> None:
    """The words after `ragweld data`."""
    words = top.add_subparsers(dest="act", required=True, metavar="ACT")
    summary = "defects, counts, and which tokens would be learned; starts nothing"
    check = words.add_parser("check", help=summary, description=summary)
    check.add_argument(
        "file", metavar="FILE", type=Path, help="JSONL: OpenAI chat, ShareGPT, prompt/completion, evals, preferences"
    )
    check.add_argument("--base", metavar="MODEL", help="base whose tokens are counted (default: the one in use)")
    check.add_argument("--max-length", metavar="N", type=_count, help="tokens of the longest row (default: as a run)")
    check.add_argument("--overlong", choices=("drop", "cut_oldest"), default="drop", help="what becomes of longer ones")
    check.add_argument(
        "--seed", metavar="N", type=_count, default=0, help="decides which rows are held out (default: 0)"
    )
    check.add_argument("--show", metavar="N", type=_count, default=1, help="how many rows are shown (default: 1)")
    # Said before or after the word; only where it is said does it count.
    check.add_argument("--home", metavar="DIR", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def check(words: argparse.Namespace, loaded: Loaded, say: Say, *, colour: bool) -> int:
    """Look and say; returns EX_DATAERR if a run would not start. Raises RagweldError."""
    from catalog.datasets.check import Terms, check_file

    terms = Terms(
        base=loaded.settings.training.ragweld_agent_base_model,
        max_length=words.max_length,
        overlong=words.overlong,
        seed=words.seed,
        show=words.show,
    )
    found = check_file(words.file.expanduser().absolute(), terms)
    for line in in_words(found):
        say(line)
    for row in found.shown:
        say(f"\n{heading(found.file, row)}")
        say(view(row, colour=colour))
    return os.EX_OK if found.is_sound else os.EX_DATAERR


def in_words(found: Check) -> Iterator[str]:
    """Defects first, then the counts as a table."""
    yield from map(_safe, found.defects)
    if found.defects_total > len(found.defects):
        yield f"... and {found.defects_total - len(found.defects)} more"
    form = found.form or "no known form"
    yield f"{found.file}: {form}, {found.conversations:,} good, {found.defects_total:,} defects"
    yield f"On {found.base} ({found.base_reason}), rows of at most {found.max_length:,} tokens:"
    if found.conversations_tokenised < found.conversations:
        yield f"Tokens are those of the first {found.conversations_tokenised:,} conversations."
    yield f"{'':24}{'to learn':>12}{'held out':>12}"
    rows: dict[str, Callable[[SideCount], int]] = {
        "conversations": lambda side: side.conversations,
        "rows": lambda side: side.rows,
        "tokens": lambda side: side.tokens,
        "learned tokens": lambda side: side.supervised_tokens,
        "longer rows": lambda side: side.over_max_length,
        "of these dropped": lambda side: side.dropped,
    }
    for name, count in rows.items():
        yield f"{name:24}{count(found.train):>12,}{count(found.held_out):>12,}"
    yield (
        f"{found.duplicates:,} conversations equal an earlier one, {found.nothing_to_learn:,} have nothing to learn; "
        f"{found.held_out_equal_to_train:,} held-out rows are also learned from."
    )


def heading(file: str, row: ShownRow) -> str:
    """Where the row stands and how much of it is learned, or weighed against the other answer of its pair."""
    act = f"tokens of the {row.answer} answer weighed" if row.answer else "tokens learned"
    return f"{file}:{row.line}: {row.supervised_tokens} of {row.tokens} {act}, {OPEN}so marked{CLOSE}"


def view(row: ShownRow, *, colour: bool) -> str:
    """The row's text with what is learned between marks, in green where there is colour."""
    before, after = (GREEN + OPEN, CLOSE + PLAIN) if colour else (OPEN, CLOSE)
    return "".join(before + _safe(span.text) + after if span.supervised else _safe(span.text) for span in row.spans)


def _safe(text: str) -> str:
    """The file's text without what a terminal would obey."""
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text)
