"""How one thing is said in many ways: a tiny pattern language, surface noise, and the key that splits the corpus.

Promises that `spell` is a pure function of its generator, and that `split_key` is the same for every surface form
(case, punctuation, spacing) of one prompt, so that a held-out prompt never trains under another spelling.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from random import Random

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_NOT_WORD = re.compile(r"[\W_]+")
HELD_OUT_TENTHS = 1

LEAD_INS = (
    "Please tell me: ", "Hi! ", "Hello, ", "Hey, ", "Hi, ", "Quick question: ", "I was wondering, ", "OK, ", "So, ",
    "Tell me, ", "Well, ", "Hello! ", "Question: ", "One more: ", "Now, ", "Please: ", "Excuse me, ", "Hm, ",
)  # fmt: skip
LEAD_OUTS = (" Thanks!", " Please.", " I forgot.", " Thank you.", " Just curious.", " Do you know?", " I need to know.")


def spell(rng: Random, pattern: str, slots: Mapping[str, str] | None = None) -> str:
    """One spelling of `pattern`: `[a|b|]` is a choice (innermost first), `{x}` a slot."""
    while (match := _CHOICE.search(pattern)) is not None:
        pattern = pattern[: match.start()] + rng.choice(match[1].split("|")) + pattern[match.end() :]
    return pattern.format(**slots) if slots else pattern


def split_key(*parts: str) -> str:
    """The identity of a prompt for the split: its parts casefolded, without punctuation or spacing."""
    return "\x1f".join(_NOT_WORD.sub(" ", part.casefold()).strip() for part in parts)


def is_held_out(key: str, tenths: int = HELD_OUT_TENTHS) -> bool:
    """Whether `key` belongs to the held-out share; stable across processes, machines and seeds."""
    return hashlib.sha256(key.encode()).digest()[0] < tenths * 256 // 10


def surround(rng: Random, text: str) -> str:
    """`text` with, sometimes, a few polite words before or after it."""
    roll = rng.random()
    if roll < 0.18:
        return rng.choice(LEAD_INS) + (text if rng.random() < 0.5 else text[0].lower() + text[1:])
    if roll < 0.26:
        return text + rng.choice(LEAD_OUTS)
    return text


def roughen(rng: Random, text: str) -> str:
    """`text` as people really type it: sometimes lower case, capitals, no punctuation, stray spaces."""
    roll = rng.random()
    if roll < 0.60:
        return text
    if roll < 0.72:
        return text.lower()
    if roll < 0.84:
        return text.lower().rstrip("?.!")
    if roll < 0.91:
        return text.rstrip("?.!")
    if roll < 0.96:
        return text.upper()
    if roll < 0.98:
        return text.replace(" ", "  ", 1)
    return text + rng.choice((" ", "?", "!", "...", "\n"))


def capitalised(text: str) -> str:
    """`text` with its first letter raised and the rest untouched."""
    return text[:1].upper() + text[1:]
