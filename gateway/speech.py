"""Splits a model's text into thoughts, words and tool calls while it comes, whatever pieces it comes in.

Nothing is shown before it is certain: half a marker is held back. A tool block that cannot be read is given back as
words, markers and all, and counted. Pure. `tests/gateway/test_speech.py`: any chunking gives the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from gateway.ports import Markers


@dataclass(frozen=True, slots=True)
class Words:
    """Text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """Text that the model thought before it answered."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call; `arguments` is JSON text."""

    name: str
    arguments: str


Part = Words | Thought | Call

ParseCalls = Callable[[str], list[dict[str, Any]]]
"""Text between the tool markers -> calls as {"name", "arguments"}; raises ValueError."""


class _Mode(Enum):
    START = "nothing but spaces so far"
    THINKING = "inside thoughts"
    WORDS = "in the answer"
    TOOL = "inside a tool block"


class Splitter:
    """One answer's text. `parse_calls` None means that no tool may be called and markers of tools are words."""

    def __init__(self, markers: Markers, parse_calls: ParseCalls | None) -> None:
        self._think = (markers.think_start, markers.think_end or "") if markers.think_start else None
        self._tool = (markers.tool_start, markers.tool_end or "") if markers.tool_start and parse_calls else None
        self._parse_calls = parse_calls
        self._mode = _Mode.START if self._think else _Mode.WORDS
        self._held = ""
        self._drops_spaces = False
        self.unreadable_calls = 0

    @property
    def is_thinking(self) -> bool:
        return self._mode is _Mode.THINKING

    @property
    def holds_back(self) -> bool:
        """Whether there is text of which it is not certain yet what it will be."""
        return bool(self._held)

    def feed(self, text: str) -> list[Part]:
        """What is certain after this text."""
        self._held += text
        parts: list[Part] = []
        while self._step(parts):
            pass
        return parts

    def finish(self) -> list[Part]:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, ""
        match self._mode:
            case _Mode.THINKING:
                return _if_any(Thought(held.rstrip()))
            case _Mode.TOOL:
                assert self._tool is not None
                return self._calls(held, "") if not self._tool[1] else self._unreadable(held, "")
        return _if_any(Words(held))

    def _step(self, parts: list[Part]) -> bool:
        """One move of the machine; False when it needs more text."""
        match self._mode:
            case _Mode.START:
                return self._start()
            case _Mode.THINKING:
                return self._thinking(parts)
            case _Mode.WORDS:
                return self._words(parts)
            case _Mode.TOOL:
                return self._tool_block(parts)

    def _start(self) -> bool:
        assert self._think is not None
        begun = self._held.lstrip()
        if begun.startswith(self._think[0]):
            self._enter(_Mode.THINKING, begun[len(self._think[0]) :])
            return True
        if self._think[0].startswith(begun):
            return False
        self._mode = _Mode.WORDS
        return True

    def _thinking(self, parts: list[Part]) -> bool:
        assert self._think is not None
        self._drop_spaces()
        before, end, after = self._held.partition(self._think[1]) if self._think[1] else (self._held, "", "")
        if end:
            parts += _if_any(Thought(before.rstrip()))
            self._enter(_Mode.WORDS, after)
            return True
        certain = self._held[: len(self._held) - overlap(self._held, self._think[1])].rstrip()
        parts += _if_any(Thought(certain))
        self._held = self._held[len(certain) :]
        return False

    def _words(self, parts: list[Part]) -> bool:
        self._drop_spaces()
        if self._tool is None:
            parts += _if_any(Words(self._held))
            self._held = ""
            return False
        before, start, after = self._held.partition(self._tool[0])
        if start:
            parts += _if_any(Words(before))
            self._mode, self._held = _Mode.TOOL, after
            return True
        certain = self._held[: len(self._held) - overlap(self._held, self._tool[0])]
        parts += _if_any(Words(certain))
        self._held = self._held[len(certain) :]
        return False

    def _tool_block(self, parts: list[Part]) -> bool:
        assert self._tool is not None
        block, end, after = self._held.partition(self._tool[1]) if self._tool[1] else (self._held, "", "")
        if not end:
            return False
        self._enter(_Mode.WORDS, after)
        parts += self._calls(block, end)
        return True

    def _calls(self, block: str, end: str) -> list[Part]:
        assert self._parse_calls is not None
        try:
            return [Call(call["name"], _arguments(call)) for call in self._parse_calls(block)]
        except ValueError:
            return self._unreadable(block, end)

    def _unreadable(self, block: str, end: str) -> list[Part]:
        assert self._tool is not None
        self.unreadable_calls += 1
        self._drops_spaces = False
        return [Words(f"{self._tool[0]}{block}{end}")]

    def _enter(self, mode: _Mode, rest: str) -> None:
        self._mode, self._held, self._drops_spaces = mode, rest, True

    def _drop_spaces(self) -> None:
        """Templates put line breaks around their markers; they are no part of what is said."""
        if self._drops_spaces:
            self._held = self._held.lstrip()
            self._drops_spaces = not self._held


def overlap(text: str, marker: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `marker`."""
    longest = min(len(text), len(marker) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(marker[:size])), 0)


def _arguments(call: Mapping[str, Any]) -> str:
    arguments = call.get("arguments") or {}
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def _if_any(part: Words | Thought) -> list[Part]:
    return [part] if part.text else []
