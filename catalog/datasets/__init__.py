"""Datasets of conversations and of preferences: six forms, every defect with file, line and field, split so that rows
keep their side.

`read` for who learns from the rows, `verify` for who only wants them sound, `check` (which knows tokens, and so MLX)
for who wants to see them. A file is JSONL and has one form.
"""

from __future__ import annotations

import re
from pathlib import Path

from catalog.datasets import lines
from catalog.datasets.conversation import Conversation, Example, Message, Preference, Tool
from catalog.datasets.defects import Defects
from catalog.datasets.reading import Dataset, Reader, digest_of, read, verify
from catalog.datasets.sides import Split, split

__all__ = [
    "Conversation",
    "Dataset",
    "Defects",
    "Example",
    "Message",
    "Preference",
    "Reader",
    "Split",
    "Tool",
    "count_rows",
    "digest_of",
    "read",
    "sample_path",
    "split",
    "verify",
]

SAMPLE_FILE = "harbour.jsonl"
_PAIR = re.compile(rb'"(?:rejected|non_preferred_output)"\s*:')
_ASSISTANT_TURN = re.compile(rb'"(?:role|from)"\s*:\s*"(?:assistant|gpt|function_call)"')


def sample_path() -> Path:
    """The dataset that ships with ragweld, in the trainer's folder beside this package."""
    return Path(__file__).parents[2] / "trainer" / "samples" / SAMPLE_FILE


def count_rows(path: Path) -> int:
    """Rows that training makes of a dataset that was not checked: one for each assistant turn, or pair of answers.

    Where the template renders a later turn as a continuation of earlier ones, they share a row, and this is too many.
    Raises InvalidDataset if it cannot be read.
    """
    with lines.open_file(path) as file:
        return sum(_rows_in(line or b"") for _, line in lines.numbered(file, len))


def _rows_in(line: bytes) -> int:
    return 1 if _PAIR.search(line) else max(1, len(_ASSISTANT_TURN.findall(line)))
