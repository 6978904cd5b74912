"""OpenAI's metadata: sixteen short labels that whoever made a thing put on it, and by which it is found again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints

Metadata = Annotated[
    dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]],
    Field(max_length=16),
]


def bears(metadata: Mapping[str, str] | None, wanted: Mapping[str, str] | None) -> bool:
    """Whether a thing bears all of the wanted labels; None asks for one that bears none."""
    if wanted is None:
        return not metadata
    return wanted.items() <= (metadata or {}).items()
