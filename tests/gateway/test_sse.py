"""Event streams are handed on byte for byte in whole events, and looked into rightly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse

EVENT = 'data: {"choices":[{"delta":{"content":"é🙂"}}]}\n\n'.encode()


@given(st.lists(st.sampled_from([EVENT, EVENT.replace(b"\n", b"\r\n"), b": ping\n\n"]), max_size=6), st.data())
def test_any_cut_gives_the_same_bytes_in_whole_events(events: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    cutter = sse.EventCutter()
    blocks = [cutter.feed(stream[a:b]) for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert b"".join(blocks) == stream
    ends = {0}
    for event in events:
        ends.add(max(ends) + len(event))
    given_on = 0
    for block in blocks:
        given_on += len(block)
        assert given_on in ends


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_another_id_changes_nothing_else(end: bytes) -> None:
    chunk = b'data: {"id":%s,"a":1.50,"choices":[{"delta":{"content":"\\u00e9"}}]}'
    stream = end.join([b": ping", chunk % b'"c"', b"", chunk % b"null", b"", b"data: [DONE]", b"", b""])
    renamed = end.join([b": ping", chunk % b'"own"', b"", chunk % b'"own"', b"", b"data: [DONE]", b"", b""])
    assert sse.renamed(stream, "own") == renamed


def test_half_an_event_is_held_back() -> None:
    cutter = sse.EventCutter()
    assert cutter.feed(EVENT[:-1]) == b""
    assert cutter.feed(EVENT[-1:]) == EVENT


def test_an_event_without_end_is_refused() -> None:
    cutter = sse.EventCutter()
    with pytest.raises(sse.EventTooLong):
        cutter.feed(b"x" * (sse.MAX_EVENT_BYTES + 1))


@pytest.mark.parametrize(
    ("block", "seen"),
    [
        (b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n', sse.Seen()),
        (EVENT, sse.Seen(content=True)),
        (b'data: {"choices":[{"delta":{"reasoning_content":"a"}}]}\n\n', sse.Seen(content=True)),
        (b'data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}\n\n', sse.Seen(content=True)),
        (b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n', sse.Seen(finished=True)),
        (b'data: {"error":{"message":"no"}}\n\n', sse.Seen(error={"message": "no"})),
        (b"data: <html>\n\n", sse.Seen(unreadable=True)),
        (b'data: {"x":' + b"[" * 10_000 + b"\n\n", sse.Seen(unreadable=True)),
        (b": OPENROUTER PROCESSING\n\n", sse.Seen()),
        (b"data: [DONE]\n\n", sse.Seen(done=True)),
        (
            b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n',
            sse.Seen(usage=sse.Tokens(3, 4)),
        ),
    ],
)
def test_a_block_is_understood(block: bytes, seen: sse.Seen) -> None:
    assert sse.look(block) == seen


def test_what_came_before_an_error_is_kept() -> None:
    assert sse.before_fault(EVENT + EVENT + b'data: {"error":{"message":"no"}}\n\n' + EVENT) == EVENT + EVENT


def test_what_comes_after_done_is_no_part_of_the_answer() -> None:
    block = EVENT + b"data: [DONE]\n\n" + b"data: <html>\n\n"
    assert sse.look(block) == sse.Seen(content=True, done=True)
    assert sse.until_done(block) == EVENT + b"data: [DONE]\n\n"
