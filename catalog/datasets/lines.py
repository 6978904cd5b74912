"""Lines of a file of any size: one at a time, each bounded."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from catalog.errors import InvalidDataset

MAX_LINE_BYTES = 4 << 20
"""A conversation of 131,072 tokens has about half a megabyte; parsed JSON takes up to 60 times its text."""


def open_file(path: Path) -> BinaryIO:
    """A regular file, opened; raises InvalidDataset for what is none, so that no pipe or device is waited for."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidDataset(f"The dataset {path} is not a file.", hint="Give dataset_path of a JSONL file.")
        return path.open("rb")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its path holds a NUL"
        raise InvalidDataset(
            f"The dataset {path} cannot be read: {reason}.", hint="Give dataset_path of a JSONL file."
        ) from error


def numbered(file: BinaryIO, seen: Callable[[bytes], object]) -> Iterator[tuple[int, bytes | None]]:
    """Number and content of every line that is not blank; None for one that is too long. `seen` gets every byte."""
    number = 0
    while piece := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        seen(piece)
        if len(piece) > MAX_LINE_BYTES and not piece.endswith(b"\n"):
            while (piece := file.readline(MAX_LINE_BYTES)) and not piece.endswith(b"\n"):
                seen(piece)
            seen(piece)
            yield number, None
        elif piece.strip():
            yield number, piece
