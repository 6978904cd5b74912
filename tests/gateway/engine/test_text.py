"""Stop strings: any split of a text gives the same answer, cut before the first stop, nothing of it shown."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.text import StopMatcher

LETTERS = st.text(alphabet="ab<>", max_size=40)
STOPS = st.lists(st.text(alphabet="ab<>", min_size=1, max_size=4), max_size=3)


@given(LETTERS, STOPS, st.lists(st.integers(0, 40), max_size=10))
def test_any_split_gives_the_text_before_the_first_stop(text: str, stops: list[str], cuts: list[int]) -> None:
    matcher = StopMatcher(stops)
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    shown = "".join(matcher.feed(text[a:b]) for a, b in itertools.pairwise(edges))
    shown += matcher.finish()
    ends = [position for position in range(len(text) + 1) if any(text[:position].endswith(stop) for stop in stops)]
    assert matcher.stopped == bool(ends)
    if not ends:
        assert shown == text
    else:
        assert not any(stop in shown for stop in stops)
        assert text.startswith(shown)
        assert any(text[len(shown) :].startswith(stop) for stop in stops)
