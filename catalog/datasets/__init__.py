"""Datasets of conversations: five forms, every defect with file, line and field, split so that rows keep their side.

`read` for who learns from the rows, `verify` for who only wants them sound, `check` (which knows tokens, and so MLX)
for who wants to see them. A file is JSONL and has one form.
"""

from __future__ import annotations

import re
from pathlib import Path

from catalog.datasets import lines
from catalog.datasets.conversation import Conversation, Message, Tool
from catalog.datasets.defects import Defects
from catalog.datasets.reading import Dataset, Reader, read, verify
from catalog.datasets.sides import Split, split

__all__ = [
    "Conversation",
    "Dataset",
    "Defects",
    "Message",
    "Reader",
    "Split",
    "Tool",
    "count_rows",
    "read",
    "sample_path",
    "split",
    "verify",
]

SAMPLE_FILE = "harbour.jsonl"
_ASSISTANT_TURN = re.compile(rb'"(?:role|from)"\s*:\s*"(?:assistant|gpt|function_call)"')


def sample_path() -> Path:
    """The dataset that ships with ragweld, in the trainer's folder beside this package."""
    return Path(__file__).parents[2] / "trainer" / "samples" / SAMPLE_FILE


def count_rows(path: Path) -> int:
    """Rows that training makes of a dataset that was not checked: one for each assistant turn. For recommendations.

    Where the template renders a later turn as a continuation of earlier ones, they share a row, and this is too many.
    Raises InvalidDataset if it cannot be read.
    """
    with lines.open_file(path) as file:
        return sum(max(1, len(_ASSISTANT_TURN.findall(line or b""))) for _, line in lines.numbered(file, len))
