"""Pages of OpenAI's lists: a cursor is the id of the last thing seen. Pure. `tests/gateway/test_paging.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, TypeVar

from catalog.errors import InvalidRequest

T = TypeVar("T")


def page(things: Sequence[dict[str, Any]], after: str | None, limit: int) -> dict[str, Any]:
    """What comes after the thing with the id `after`; raises InvalidRequest when it is none of them."""
    return page_of(things, after, limit, itemgetter("id"), lambda thing: thing)


def page_of(
    found: Sequence[T], after: str | None, limit: int, id_of: Callable[[T], str], show: Callable[[T], dict[str, Any]]
) -> dict[str, Any]:
    """The same of what costs something to show, which only the things of the page do."""
    start = 0
    if after is not None:
        ids = [id_of(thing) for thing in found]
        if after not in ids:
            raise not_in_list(after)
        start = ids.index(after) + 1
    return shown([show(thing) for thing in found[start : start + limit]], has_more=start + limit < len(found))


def shown(things: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A page of exactly these."""
    return {
        "object": "list",
        "data": list(things),
        "first_id": things[0]["id"] if things else None,
        "last_id": things[-1]["id"] if things else None,
        "has_more": has_more,
    }


def not_in_list(after: str) -> InvalidRequest:
    """What a cursor is told that belongs to nothing of the list."""
    return InvalidRequest(f"{after!r} is not in this list.", param="after", code="invalid_value")
