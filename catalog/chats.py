"""Chats that were kept to be learned from: `data/chats/<n>.jsonl`, a line for each, oldest first, bounded in bytes.

Promises that a line is there whole or not at all, that a change is of the one chat that is found, that a deleted chat
is gone from the disk, and that beyond the bound the oldest go. There is no index: a question reads the files through,
some hundred megabytes a second, so that nothing can disagree with them. Readable by their owner alone.
`tests/catalog/test_chats.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from catalog import files
from catalog.errors import NotFound

CHATS_FOLDER = Path("data/chats")
SEGMENTS = 16
"""Files that the bound is spread over: the oldest goes whole, and a change writes one anew."""
MOST_CHAT_BYTES = 4 << 20

Rating = Literal["good", "bad"]


class Chat(Struct, frozen=True, kw_only=True):
    """A request and its whole answer."""

    id: str
    """The completion's own, which no other chat has."""
    created: int
    """Unix seconds."""
    model: str
    """Who answered."""
    metadata: dict[str, str] = {}
    rating: Rating | None = None
    comment: str = ""
    request: dict[str, Any]
    completion: dict[str, Any]


class _Named(Struct, frozen=True):
    id: str


_IDS = msgspec.json.Decoder(_Named)
_CHATS = msgspec.json.Decoder(Chat)


class ChatStore:
    """Chats of one home. Safe between threads and processes; blocking, so keep it off an event loop."""

    def __init__(self, home: Path) -> None:
        self.root = home / CHATS_FOLDER

    def append(self, chat: Chat, max_bytes: int) -> None:
        """Keep a chat and forget the oldest beyond `max_bytes`; raises OSError and has kept nothing."""
        line = msgspec.json.encode(chat) + b"\n"
        with self._lock():
            segments = self._segments()
            newest = segments[-1] if segments else self._segment(1)
            if newest.exists() and newest.stat().st_size + len(line) > max_bytes // SEGMENTS:
                newest = self._segment(int(newest.stem) + 1)
            files.append_line(newest, line, mode=0o600)
            self._forget_beyond(max_bytes)

    def chats(self) -> Iterator[Chat]:
        """Every chat, oldest first; a line that cannot be read is passed over."""
        for segment in self._segments():
            for line in _lines(segment):
                try:
                    yield _CHATS.decode(line)
                except msgspec.DecodeError:
                    continue

    def get(self, chat_id: str) -> Chat:
        """The newest with this id; raises NotFound."""
        return _CHATS.decode(self._find(chat_id).line)

    def change(self, chat_id: str, **fields: Any) -> Chat:
        """Put `fields` in the place of those of a chat; raises NotFound."""
        with self._lock():
            found = self._find(chat_id)
            changed = msgspec.structs.replace(_CHATS.decode(found.line), **fields)
            _rewrite(found, [msgspec.json.encode(changed)])
        return changed

    def delete(self, chat_id: str) -> None:
        """Erase a chat; raises NotFound."""
        with self._lock():
            _rewrite(self._find(chat_id), [])

    def _find(self, chat_id: str) -> _Found:
        """The newest chat with this id; raises NotFound. Text first: it is quick."""
        text = msgspec.json.encode(chat_id)
        for segment in reversed(self._segments()):
            fitting = [(number, line) for number, line in enumerate(_lines(segment)) if text in line]
            for number, line in reversed(fitting):
                if _id_of(line) == chat_id:
                    return _Found(segment, number, line)
        raise NotFound(
            f"There is no stored completion {chat_id!r}.",
            hint="Only what was asked for with store: true is kept, and the oldest go; see chat_log in the settings.",
            param="completion_id",
        )

    def _forget_beyond(self, max_bytes: int) -> None:
        segments = self._segments()
        total = sum(segment.stat().st_size for segment in segments)
        for oldest in segments[:-1]:
            if total <= max_bytes:
                return
            total -= oldest.stat().st_size
            oldest.unlink()

    def _segments(self) -> list[Path]:
        """Oldest first; somebody's own copy of one beside them is none."""
        return sorted(path for path in self.root.glob("[0-9]*.jsonl") if path.stem.isdecimal())

    def _segment(self, number: int) -> Path:
        return self.root / f"{number:08}.jsonl"

    def _lock(self) -> AbstractContextManager[None]:
        return files.exclusive_lock(self.root / ".lock")


@dataclass(frozen=True, slots=True)
class _Found:
    """Where a chat stands: the line of this number, from 0, of a file."""

    segment: Path
    number: int
    line: bytes


def _rewrite(found: _Found, instead: Sequence[bytes]) -> None:
    """Put lines in the place of one; two chats of one id, which an upstream once chose, stay two."""
    lines = list(_lines(found.segment))
    lines[found.number : found.number + 1] = instead
    files.write_bytes(found.segment, b"".join(line + b"\n" for line in lines), mode=0o600)


def _lines(segment: Path) -> Iterator[bytes]:
    """Whole lines of a file; one that was forgotten meanwhile has none."""
    try:
        with segment.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]
    except FileNotFoundError:
        return


def _id_of(line: bytes) -> str | None:
    try:
        return _IDS.decode(line).id
    except msgspec.DecodeError:
        return None
