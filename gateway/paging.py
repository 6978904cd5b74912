"""Pages of OpenAI's lists: a cursor is the id of the last thing seen. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from catalog.errors import InvalidRequest


def page(things: Sequence[dict[str, Any]], after: str | None, limit: int) -> dict[str, Any]:
    """What comes after the thing with the id `after`; raises InvalidRequest when it is none of them."""
    start = 0
    if after is not None:
        ids = [thing["id"] for thing in things]
        if after not in ids:
            raise InvalidRequest(f"{after!r} is not in this list.", param="after", code="invalid_value")
        start = ids.index(after) + 1
    shown = list(things[start : start + limit])
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": start + limit < len(things),
    }
