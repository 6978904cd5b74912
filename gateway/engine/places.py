"""Where in a text each of its tokens begins, told token by token. Pure.

A character that several tokens make up begins, and ends, with all of them. `tests/gateway/engine/test_places.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

HALF = "\ufffd"
"""How half a character is decoded."""
LONGEST_CHARACTER = 4
"""Tokens that one character is made of at most: its bytes in UTF-8."""


class Places:
    """The text so far and its next token's place in it. Each token is decoded behind those before it: some decoders
    drop the space that a text begins with."""

    def __init__(self, decode: Callable[[list[int]], str], specials: Collection[int]) -> None:
        self._decode = decode
        self._specials = specials
        self._before: list[int] = []
        self._open: list[int] = []
        self._at = 0

    def of_prompt(self, tokens: Sequence[int], text: str) -> list[int]:
        """Of the tokens that `text` was read as; what the tokenizer puts before it has no text there."""
        places = []
        for token in tokens:
            places.append(min(self._at, len(text)))
            added = self._added(token)
            if token not in self._specials or text.startswith(added, self._at):
                self._at += len(added)
        self._at = len(text)  # a tokenizer may have written it otherwise, as with an accent apart from its letter
        return places

    def next(self, token: int) -> int:
        """Of the token that comes next."""
        at = self._at
        self._at += len(self._added(token))
        return at

    def _added(self, token: int) -> str:
        """The text that a token completes."""
        self._open.append(token)
        text = self._decode([*self._before, *self._open])
        if text.endswith(HALF) and len(self._open) < LONGEST_CHARACTER:
            return ""
        added = text[len(self._decode(self._before)) :]
        self._before, self._open = self._open, []
        return added
