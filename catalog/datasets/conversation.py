"""What every form of dataset becomes: one conversation a row, or one pair of them, in OpenAI's form.

`tests/catalog/test_datasets.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
Tool = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row: messages for the chat template, the tools it may call, and where it stands."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    line: int

    def canonical(self) -> bytes:
        """The same bytes for the same content, whatever the file's spacing and key order."""
        content = {"messages": self.messages, "tools": self.tools}
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Preference:
    """Two endings of one conversation, the first preferred. What both share is read and not learned (weight 0)."""

    chosen: Conversation
    rejected: Conversation

    @property
    def line(self) -> int:
        return self.chosen.line

    def canonical(self) -> bytes:
        """As a conversation's."""
        return self.chosen.canonical() + b"\n" + self.rejected.canonical()


Example = Conversation | Preference
"""What a line of a dataset holds."""
