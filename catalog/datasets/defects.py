"""Defects as they are found: each a line, a field's path and what is wrong, bounded in number and in length."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_KEPT = 1000
MAX_SHOWN = 50
MAX_QUOTED_CHARS = 60
MAX_PATH_CHARS = 200

Report = Callable[[str, str], None]
"""Told of each defect of one row: the field's path, empty for the whole row, and what is wrong with it."""

_QUOTE = reprlib.Repr()
_QUOTE.maxstring = _QUOTE.maxother = MAX_QUOTED_CHARS


def quoted(value: object) -> str:
    """A value of the file for a person to read: short, with control characters escaped."""
    return _QUOTE.repr(value)


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong, and where; `field` is empty when it is the whole line."""

    line: int
    field: str
    what: str


@dataclass(slots=True)
class Defects:
    """The first MAX_KEPT defects; the rest are only counted."""

    kept: list[Defect] = field(default_factory=list)
    total: int = 0

    def add(self, line: int, path: str, what: str) -> None:
        self.total += 1
        if not self.is_full:
            shown = path if path.isprintable() and len(path) <= MAX_PATH_CHARS else quoted(path)
            self.kept.append(Defect(line, shown, what))

    @property
    def is_full(self) -> bool:
        """Whether another one would only be counted."""
        return len(self.kept) >= MAX_KEPT

    def lines(self, file: str) -> tuple[str, ...]:
        """Lines like `train.jsonl:17: messages[2].role: ...`."""
        return tuple(": ".join(filter(None, (f"{file}:{one.line}", one.field, one.what))) for one in self.kept)

    def summary(self, file: str) -> str:
        """The first MAX_SHOWN lines under a heading, and how many there are besides."""
        shown = "\n".join(self.lines(file)[:MAX_SHOWN])
        more = f"\n... and {self.total - MAX_SHOWN} more" if self.total > MAX_SHOWN else ""
        return f"{file} has {self.total} defect(s), nothing was started:\n{shown}{more}"
