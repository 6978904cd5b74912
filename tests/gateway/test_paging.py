"""Pages: whatever is asked for, each thing is seen once, in order; and only what is seen is made."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.errors import InvalidRequest
from gateway import paging


def view(number: int) -> dict[str, Any]:
    return {"id": str(number)}


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_page_after_page_everything_is_seen_once(limit: int) -> None:
    things, seen, after = [view(number) for number in range(7)], [], None
    while True:
        page = paging.page(things, after, limit)
        seen += page["data"]
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert seen == things


def test_only_what_is_shown_is_made() -> None:
    made: list[int] = []

    def show(number: int) -> dict[str, Any]:
        made.append(number)
        return view(number)

    page = paging.page_of(range(1000), "10", 2, str, show)
    assert [thing["id"] for thing in page["data"]] == ["11", "12"] and page["has_more"]
    assert made == [11, 12]


def test_nothing_comes_after_what_is_not_there() -> None:
    with pytest.raises(InvalidRequest):
        paging.page([view(1)], "2", 10)
    assert paging.page([], None, 10)["first_id"] is None
